"""How far the share of something may be from what was counted of it."""

from __future__ import annotations


def clopper_pearson(count: int, of: int, tail: float) -> tuple[float, float]:
    """The lowest and the highest share, 0 to 1, that so many of all leave likely; `tail` of probability beyond each.

    The exact limits of Clopper & Pearson (1934), "The use of confidence or fiducial limits illustrated in the case of
    the binomial". For a count of 0 and a tail of 0.05 the upper one is about 3/N.
    """
    from scipy.special import betaincinv  # scipy.stats has the same, and takes the daemon a second more to import

    low = float(betaincinv(count, of - count + 1, tail)) if count else 0.0
    high = float(betaincinv(count + 1, of - count, 1.0 - tail)) if count < of else 1.0
    return low, high
