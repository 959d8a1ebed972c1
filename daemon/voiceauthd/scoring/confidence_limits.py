"""Confidence limits of a proportion."""

from __future__ import annotations


def clopper_pearson(count: int, of: int, tail: float) -> tuple[float, float]:
    """Return the lower and upper limit, 0 to 1, of a proportion of which `count` of `of` were observed.

    tail  probability beyond each limit

    The exact limits of Clopper & Pearson (1934), "The use of confidence or fiducial limits illustrated in the case of
    the binomial". For a count of 0 and a tail of 0.05 the upper limit is about 3/N.
    """
    from scipy.special import betaincinv  # importing the same from scipy.stats takes a second longer

    low = float(betaincinv(count, of - count + 1, tail)) if count else 0.0
    high = float(betaincinv(count + 1, of - count, 1.0 - tail)) if count < of else 1.0
    return low, high
