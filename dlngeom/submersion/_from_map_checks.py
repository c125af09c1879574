"""Checks of a map, its constraint and its points, with one clear error each."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlngeom._lib.arrays import Array, namespace, to_numpy
from dlngeom._lib.vectors import parts, rebuild
from dlngeom.submersion._from_map_algebra import Jet, Split, solve_normal
from dlngeom.submersion._from_map_calculus import Calculus, double_precision

__all__ = ["require_on_constraint", "require_rank", "require_smooth", "traced"]

# Distance from the constraint, relative to the point, and errors of differences of the map.
_NEAR = 1e-6
_STEP = 1e-5


def traced(calculus: Calculus, x: np.ndarray) -> tuple[Any, int]:
    """Trace both functions; return zeros like a value of the map, and the number of equations.

    Raises
    ------
    ValueError, TypeError
        If jax cannot evaluate or differentiate one of them.
    """
    shapes = [_traced(calculus, name, x) for name in ("phi", "constraint")]
    value = rebuild(shapes[0], [np.zeros(y.shape, y.dtype) for y in parts(shapes[0])])
    zeros = () if shapes[1] is None else parts(shapes[1])
    equations = sum(np.zeros(y.shape, y.dtype).size * (1 + (y.dtype.kind == "c")) for y in zeros)
    if equations >= x.shape[0]:
        raise ValueError(
            f"constraint returns {equations} equations for {x.shape[0]} unknowns: there must be "
            "fewer, and independent ones"
        )
    return value, equations


def _traced(calculus: Calculus, name: str, x: np.ndarray) -> Any:
    """Shapes of what a function returns, after jax has evaluated and differentiated it."""
    function = getattr(calculus, name)
    if function is None:
        return None
    alone = Calculus(function, None, calculus.example)
    try:
        with double_precision(calculus.jax):
            shapes = calculus.jax.eval_shape(lambda z: alone.outputs(z)[0], x)
            _require_numbers(name, shapes)
            calculus.jax.eval_shape(calculus.jax.vmap(alone.jet), x[None])
    except _UnfitError:
        raise
    except Exception as error:  # Functions of callers fail in any way.
        raise ValueError(_reason(calculus, name, error)) from error
    return shapes


class _UnfitError(ValueError):
    """What a function returned is of no use."""


def _require_numbers(name: str, shapes: Any) -> None:
    arrays = parts(shapes)
    for y in arrays:
        if y.dtype.kind not in "fc":
            raise _UnfitError(
                f"{name} returns dtype {y.dtype}: it must return real or complex numbers"
            )
    if isinstance(shapes, tuple) and any(not y.shape for y in arrays):
        raise _UnfitError(
            f"{name} returns a number in a tuple: it must have an axis, as x[None] has"
        )
    if sum(int(np.prod(y.shape)) for y in arrays) == 0:
        raise _UnfitError(f"{name} returns no entries: it must return some")


def _reason(calculus: Calculus, name: str, error: Exception) -> str:
    errors = calculus.jax.errors
    if isinstance(error, errors.TracerArrayConversionError):
        return f"{name} calls numpy: it must be made of functions of jax.numpy"
    if isinstance(error, errors.ConcretizationTypeError):
        return f"{name} asks for values of its argument, as `if` does: use jax.numpy.where"
    text = str(error).strip().partition("\n")[0]
    if "immutable" in text or "does not support item assignment" in text:
        return f"{name} changes its argument in place: it must return new arrays, as x.at[i].set"
    shapes = [tuple(p.shape) for p in parts(calculus.example)]
    return (
        f"{name} fails for a point of shapes {shapes}, {type(error).__name__}: {text}; it must be "
        "a differentiable jax function of one point without batch axes"
    )


def require_smooth(calculus: Calculus, x: np.ndarray, jet: Jet) -> None:
    """Require that the derivatives at the example are finite and those of the functions.

    Raises
    ------
    ValueError
        If differences of a function, one step away, do not agree with them.
    """
    V = np.random.default_rng(0).standard_normal(x.shape)
    V *= (np.linalg.norm(x) or 1.0) / np.linalg.norm(V)
    steps = _STEP * np.array([1.0, -1.0, 0.1, -0.1])
    values = calculus.call("flat", x + steps[:, None] * V)
    own = ((jet.value, jet.derivative), (jet.defect, jet.normal))
    for name, (y0, slope), rest in zip(("phi", "constraint"), own, values, strict=True):
        y = [y0, *rest]
        if not (np.isfinite([*y]).all() and np.isfinite(slope).all()):
            raise ValueError(f"{name} or its derivative is not finite at the example point")
        size = np.linalg.norm(slope) * np.linalg.norm(V) + np.linalg.norm(y[0])
        bends = [np.linalg.norm(y[i] + y[i + 1] - 2 * y[0]) / steps[i - 1] for i in (1, 3)]
        if bends[1] > max(0.5 * bends[0], _NEAR * size):
            raise ValueError(f"{name} has a kink at the example point: it must be smooth there")
        gap = np.linalg.norm((y[1] - y[2]) / (2 * _STEP) - slope @ V)
        if gap > 1e-3 * size:
            raise ValueError(
                f"{name} changes at other rates than its derivative says, by {gap:.2g} at the "
                "example point: it must be smooth and free of stop_gradient"
            )


def require_rank(at: Split, jet: Jet, rank: int | None, where: str = "") -> None:
    """Require independent equations, and the rank of the map where one is known.

    Raises
    ------
    ValueError
        If equations depend on each other, or the rank is zero or another one.
    """
    if not bool(namespace(at.rank).all(at.regular)):
        C = to_numpy(jet.normal).reshape(-1, *jet.normal.shape[-2:])
        lengths = np.linalg.norm(C, axis=-1, keepdims=True)
        values = np.linalg.svd(C / np.where(lengths > 0, lengths, 1), compute_uv=False)
        found = int(np.min(np.sum(values > 1e-5 * np.maximum(values[:, :1], 1e-300), axis=-1)))
        raise ValueError(
            f"the derivative of constraint has rank {found}{where or ' at the point'}, of "
            f"{C.shape[1]} equations: they must be independent on the whole space"
        )
    lowest, highest = (int(f(to_numpy(at.rank))) for f in (np.min, np.max))
    if rank is None and highest == 0:
        raise ValueError("phi is constant near the example point: its derivative has rank 0 there")
    if rank is not None and not lowest == highest == rank:
        other = lowest if lowest != rank else highest
        raise ValueError(
            f"phi has rank {other}{where or ' at the point'} and {rank} at the example: the rank "
            "of its derivative on tangent vectors must be constant"
        )


def require_on_constraint(at: Split, jet: Jet, x: Array) -> None:
    """Require points that satisfy the constraint.

    Raises
    ------
    ValueError
        If Newton's method would move one.
    """
    if jet.defect.shape[-1] == 0:
        return
    away = np.linalg.norm(to_numpy(solve_normal(at.N, at.triangle, jet.defect)), axis=-1)
    size = np.linalg.norm(to_numpy(x), axis=-1) + 1e-300
    single = 1e3 if "32" in str(x.dtype) else 1.0
    if np.any(away > single * _NEAR * size):
        defect = np.max(np.abs(to_numpy(jet.defect)))
        raise ValueError(
            f"the point is not one of the space: constraint is {defect:.2g} there, and must be 0"
        )
