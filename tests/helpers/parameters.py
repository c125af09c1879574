"""Parameters of which the fast suite runs a part, and the slow one the rest."""

from itertools import product

import pytest


def slow(*values):
    """One set of values for the slow suite alone."""
    return pytest.param(*values, marks=pytest.mark.slow)


def crossed(*axes):
    """All combinations; those with two or more values that are not the first ones are slow.

    Every value of every axis thus stays in the fast suite, beside the first of the others.
    """
    return [
        slow(*values)
        if sum(x is not axis[0] for x, axis in zip(values, axes, strict=True)) > 1
        else pytest.param(*values)
        for values in product(*axes)
    ]
