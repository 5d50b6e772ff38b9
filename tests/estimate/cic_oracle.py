"""Changes in changes, the slow obvious way: distribution functions and their two inverses, written out."""

from __future__ import annotations

import math


def cdf(sample, y):
    """F(y)."""
    return sum(v <= y for v in sample) / len(sample)


def inverse(sample, q):
    """F^-1(q) = inf{y: F(y) >= q}."""
    return min(y for y in sample if cdf(sample, y) >= q - 1e-12)


def other_inverse(sample, q):
    """F^(-1)(q) = sup{y in the support or -inf: F(y) <= q}."""
    return max([y for y in sample if cdf(sample, y) <= q + 1e-12], default=-math.inf)


def untreated_cdf(treated, before, after, y):
    """(lower, point, upper) of F_Y(0) at y: Athey & Imbens 2006, theorems 4.1 and 4.2."""
    q = cdf(after, y)
    lower = cdf(treated, other_inverse(before, q)) if other_inverse(before, q) > -math.inf else 0.0
    upper = cdf(treated, inverse(before, q))
    from_, to = cdf(before, other_inverse(before, q)), cdf(before, inverse(before, q))
    share = 0.0 if to <= from_ + 1e-12 else (q - from_) / (to - from_)
    return lower, lower + (upper - lower) * share, upper


def effects(treated, observed, before, after, quantiles):
    """[(lower, point, upper)] of the effect on the mean and on each quantile, all treated inside the support."""
    support = sorted(set(after))
    curves = [untreated_cdf(treated, before, after, y) for y in support]
    out = []
    for j in (2, 1, 0):  # the highest distribution function is the lowest outcome, the largest effect
        steps = [curves[0][j], *(b[j] - a[j] for a, b in zip(curves[:-1], curves[1:], strict=True))]
        row = [sum(observed) / len(observed) - sum(m * y for m, y in zip(steps, support, strict=True))]
        for q in quantiles:
            reached = min(y for y, curve in zip(support, curves, strict=True) if curve[j] >= q - 1e-9)
            row.append(inverse(observed, q) - reached)
        out.append(row)
    return list(zip(out[2], out[1], out[0], strict=True))
