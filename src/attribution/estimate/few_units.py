"""Few units in an arm, after a design or from a table: Student's t, with degrees of freedom from the weights.

The rule of `few_clusters` for estimates that are weighted means of arms. Standard errors stay as they are, but for
Abadie and Imbens': with the t of so few units, the others were seen to reject a true null in at most 7 % of draws
(tests/recovery/test_few_units.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..inference import FEW_TREATED, Support

ARMS = ("treated", "comparison")


def few_units(
    weights: np.ndarray, block: np.ndarray, turn: np.ndarray, *, arms: np.ndarray | None = None,
    groups: np.ndarray | None = None, slopes: float = 0.0, models: bool = False,
) -> Support | None:  # fmt: skip
    """How many units carry each estimate, in the arm with fewest; None where no estimate rests on few.

    A mean is worth c = (sum a^2)^2 / sum a^4 units, a^2 the sum of squared weights of a unit or of a
    cluster (Satterthwaite 1946; identity working covariance, as CR2). One block a mean keeps sum a^2 and sum a^4, so
    that combinations of means are exact and no array is as long as the sample.

    Parameters
    ----------
    weights : (m,) >= 0. block : (m,) number 0 to B - 1 of the mean that a unit belongs to. turn : (B, K) estimates as
    combinations of means. arms : (B,) arm of each mean; None: treated first, then comparison, as many of each.
    groups : (m,) clusters named by the caller. slopes : fitted in each arm, which cost an arm of few as many units.
    models : of outcomes take what weights leave: from 20 units in each mean on all count alike.
    """
    mean = len(turn)
    n = np.bincount(block, minlength=mean)
    if models and n.min() >= FEW_TREATED:
        weights = np.ones(len(block))
    arms = np.repeat([0, 1], mean // 2) if arms is None else np.asarray(arms)
    share = weights / np.bincount(block, weights=weights, minlength=mean)[block]
    if groups is None:
        square, at = share**2, block
    else:
        group = np.unique(groups, return_inverse=True)[1]
        found, place = np.unique(block * (group.max() + 1) + group, return_inverse=True)
        square, at = np.bincount(place, weights=share**2), found // (group.max() + 1)
    total = np.bincount(at, weights=square, minlength=mean)
    worth = total**2 / np.bincount(at, weights=square**2, minlength=mean)
    worth = np.maximum(worth - np.where(n < FEW_TREATED, slopes * n / np.bincount(arms, weights=n)[arms], 0.0), 1.0)
    support = Support(sizes=worth, arms=arms, loadings=np.diag(np.sqrt(total / worth))).combine(turn.T)
    return None if support.dof is None else support


def few_note(
    support: Support | None, n: float, dof: np.ndarray | None = None, *, enlarged: bool = False, what: str = "units",
    terms: Sequence[str] = (),
) -> tuple[str, ...]:  # fmt: skip
    """The sentence that says what was done where few units carry an estimate; none where nobody is few.

    n : units of the smallest arm. dof : where they are not those of `support`. enlarged : did standard errors grow?
    """
    if support is None:
        return ()
    few = support.units < FEW_TREATED - 1e-6
    used = (support.dof if dof is None else dof)[few]  # type: ignore[index]
    seen = [name for arm, name in enumerate(ARMS) if (Support(
        sizes=support.sizes, arms=np.where(support.arms == arm, 0, 1), loadings=np.where(
            (support.arms == arm)[:, None], support.loadings, 0.0)).units < FEW_TREATED - 1e-6).any()]  # fmt: skip
    which = f"{few.sum()} of {len(few)} estimates" if len(few) > 1 else "this estimate"
    if len(terms):
        which = f"the estimate of {', '.join(np.asarray(terms)[few])}"
    low, high = f"{used.min():.3g}", f"{used.max():.3g}"
    grown = ", standard errors enlarged by n / (n - 1)" if enlarged else ""
    by = "" if n < FEW_TREATED else ", by their weights"
    return (f"Fewer than {FEW_TREATED} {' or '.join(seen)} {what} carry {which}{by}: Student's t with {low}"
            f"{f' to {high}' if high != low else ''} degrees of freedom{grown}.",)  # fmt: skip
