"""Rewards as the rational numbers that they are, so that equal ones compare as equal.

A reward is mostly a share (subgoals done of all), which a float only approximates: 1/12 + 11/12
and 1/2 + 1/2 are the same sum, but their floats can differ in the last bit, and so could two plans
that earned the same. Every comparison of mean rewards goes through `exact` or `exact_mean`.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

LARGEST_DENOMINATOR = 10**6
TOLERANCE = Fraction(1, 10**13)
"""How far a float may lie from the fraction that it stands for: hundreds of times what adding up a
few doubles loses, and a tenth of the least by which two such fractions differ."""


@lru_cache(maxsize=100_000)
def exact(value: float) -> Fraction:
    """The fraction that a float stands for.

    The one with a denominator up to `LARGEST_DENOMINATOR` that lies within `TOLERANCE`; where there
    is none, the float's own value.
    """
    value_itself = Fraction(value)
    fraction = value_itself.limit_denominator(LARGEST_DENOMINATOR)
    return fraction if abs(fraction - value_itself) <= TOLERANCE else value_itself


def exact_mean(values: Sequence[float]) -> Fraction:
    """The mean of the fractions that at least one float stands for."""
    return mean_of([exact(value) for value in values])


def mean_of(fractions: Sequence[Fraction]) -> Fraction:
    """The mean of at least one fraction."""
    return sum(fractions, Fraction()) / len(fractions)
