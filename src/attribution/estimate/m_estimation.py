"""Standard errors that count how the weights themselves were estimated (M-estimation)."""

from __future__ import annotations

import numpy as np

from ..errors import EstimationError
from ..results import WeightModel


def m_estimation(
    x: np.ndarray, y: np.ndarray, w: np.ndarray, used: np.ndarray, model: WeightModel | None, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Scores (groups, k), S'S the covariance, and coefficients (k,) of least squares under estimated weights.

    Estimator : stack the normal equations sum w_i(theta) x_i e_i = 0 on those of theta. To first order beta moves by
        B [sum w_i e_i x_i + (sum e_i x_i dw_i/dtheta') (theta - truth)], B = (X'WX)^-1, and theta - truth is the sum of
        `model.influence` (Stefanski & Boos 2002). No correction for degrees of freedom.
    Checked : reference/match ipw_*, cbps_att_lalonde (WeightIt 1.4.0), stata_teffects_cattaneo2 ipw.

    Parameters
    ----------
    x : (m, k) regressors, y, w : (m,) outcome and weight, of the units `used` : (n,) bool. model : of the design.
    groups : (n,) numbers of independent groups; -1 where a unit stands alone or was left out.
    """
    if model is None:
        raise EstimationError("a design with estimated weights", "no weight model",
                              "build the design with weight, or choose another vcov")  # fmt: skip
    bread = np.linalg.inv((x * w[:, None]).T @ x)
    beta = bread @ (x * w[:, None]).T @ y
    residual = (y - x @ beta)[:, None] * x
    rows = model.influence @ (model.slopes[used].T @ residual @ bread)
    rows[used] += (residual * w[:, None]) @ bread
    alone = groups < 0
    codes = np.unique(groups[~alone], return_inverse=True)[1]
    if not len(codes) or codes.max() + 1 == len(codes):
        return rows, beta
    sums = np.zeros((int(codes.max()) + 1, x.shape[1]))
    np.add.at(sums, codes, rows[~alone])
    return np.vstack([sums, rows[alone]]), beta
