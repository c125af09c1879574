"""Functions of a matrix with a formula for their derivative.

What depends on singular values and vectors can be smooth where the vectors are not, at equal and at
zero singular values: torch and jax must not differentiate them there.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import array_api_compat
import numpy as np

from dlngeom._lib.arrays import Array
from dlngeom._lib.derivatives import is_differentiated

__all__ = ["Known", "with_derivative"]

Along: TypeAlias = Callable[[Array, Array, Any], Array]


class Known(NamedTuple):
    """A function of a matrix and of data, its derivative and the adjoint of that.

    Attributes
    ----------
    value : callable
        Of the matrix and the data.
    along : callable
        Derivative, of the matrix, a direction and the data.
    adjoint : callable
        The adjoint of the derivative, of the matrix, a covector of the value and the data.
    """

    value: Callable[[Array, Any], Array]
    along: Along
    adjoint: Along


def with_derivative(known: Known, X: Array, data: Any) -> Array:
    """Value at ``X``, which torch and jax differentiate by the formula.

    Second derivatives are those of the formula.
    """
    found: Array
    if type(X) is not np.ndarray and array_api_compat.is_jax_array(X):
        found = _of_jax(known, data)(X)
        return found
    if is_differentiated(X):
        found = _of_torch().apply(X, known, data)
        return found
    return known.value(X, data)


def _of_jax(known: Known, data: Any) -> Any:
    jax: Any = importlib.import_module("jax")
    rule = jax.custom_jvp(lambda X: known.value(X, data))

    @rule.defjvp  # type: ignore[untyped-decorator]
    def _(primals: Any, tangents: Any) -> Any:
        return rule(primals[0]), known.along(primals[0], tangents[0], data)

    return rule


@functools.cache
def _of_torch() -> Any:
    torch: Any = importlib.import_module("torch")

    class Function(torch.autograd.Function):  # type: ignore[misc]
        """A function of a matrix with a formula for its derivative."""

        generate_vmap_rule = True

        @staticmethod
        def forward(X: Any, known: Known, data: Any) -> Any:
            return known.value(X, data)

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            X, ctx.known, ctx.data = inputs
            ctx.save_for_backward(X)
            ctx.save_for_forward(X)

        @staticmethod
        def backward(ctx: Any, upstream: Any) -> Any:
            (X,) = ctx.saved_tensors
            return ctx.known.adjoint(X, upstream, ctx.data), None, None

        @staticmethod
        def jvp(ctx: Any, tangent: Any, *_: Any) -> Any:
            (X,) = ctx.saved_tensors
            return ctx.known.along(X, tangent, ctx.data)

    return Function
