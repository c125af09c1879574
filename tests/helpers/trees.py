"""Nested tuples of arrays, such as layers, frames and SVDs, one array after the other."""

import numpy as np


def leaves(value):
    """All arrays in a nested tuple, in order."""
    if isinstance(value, tuple):
        return [leaf for item in value for leaf in leaves(item)]
    return [value]


def pick(value, index):
    """One element of a batch."""
    if isinstance(value, tuple):
        items = [pick(item, index) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value[index]


def same(one, two):
    """Whether two nested tuples hold the same numbers, to the bit."""
    return all(np.array_equal(x, y) for x, y in zip(leaves(one), leaves(two), strict=True))
