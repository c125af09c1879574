"""The array libraries that results must keep."""

import importlib

import numpy as np
import pytest

NAMESPACES = ("numpy", "array_api_strict", "torch", "jax")
# For what jax compiles for many seconds, while something like it stays in the fast suite.
JAX_IS_SLOW = (*NAMESPACES[:-1], pytest.param("jax", marks=pytest.mark.slow))


def with_every_library(values):
    """Pairs of a library and a value; of those with jax, only that of the first value is fast."""
    return [
        pytest.param(library, value, marks=[pytest.mark.slow] if library == "jax" and i > 0 else [])
        for library in NAMESPACES
        for i, value in enumerate(values)
    ]


class Namespace:
    """Carries nested tuples of numpy arrays into an array library and back."""

    def __init__(self, name):
        self.name = name
        self.module = importlib.import_module("jax.numpy" if name == "jax" else name)
        if name == "jax":
            config = importlib.import_module("jax").config
            config.update("jax_enable_x64", True)
            # Compiling is nearly all of the time here, and speed of the code does not matter.
            config.update("jax_disable_most_optimizations", True)

    def array(self, value, dtype=None):
        """Array of this library, read-only where the library has such a thing."""
        if isinstance(value, tuple):
            return _rebuild(value, [self.array(x, dtype) for x in value])
        copy = np.array(value, dtype=dtype)
        if self.name == "torch":
            return self.module.from_numpy(copy)
        if self.name == "numpy":
            copy.flags.writeable = False
            return copy
        return self.module.asarray(copy)

    def numpy(self, value):
        """Back to numpy, after checking that the array belongs to this library."""
        if isinstance(value, tuple):
            return _rebuild(value, [self.numpy(x) for x in value])
        assert type(value) is type(self.array(0.0)) or isinstance(value, np.generic), type(value)
        return np.asarray(value if self.name != "array_api_strict" else value._array)

    def dtypes(self, value):
        """Names of the dtypes of all arrays in a nested tuple."""
        if isinstance(value, tuple):
            return set().union(*(self.dtypes(x) for x in value))
        return {str(value.dtype).rpartition(".")[2]}


def _rebuild(like, items):
    return type(like)(*items) if hasattr(like, "_fields") else tuple(items)
