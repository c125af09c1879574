"""Points and vectors as flat real arrays, and points that Newton's method finds."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlngeom._lib.arrays import Array, namespace
from dlngeom._lib.vectors import (
    Point,
    Vector,
    batch_axes,
    coordinates,
    from_coordinates,
    parts,
    rebuild,
)
from dlngeom.submersion._from_map_algebra import Jet, split, vertical
from dlngeom.submersion._from_map_calculus import Calculus

__all__ = ["Chart", "double", "entered", "rows", "strolled"]

# How often noise that leads Newton's method astray is halved.
_HALVINGS = 8
# Length of a step along a fibre, relative to the point.
_STRIDE = 0.3


class Chart:
    """Coordinates of points and values, of numpy in double precision or of jax.

    Parameters
    ----------
    calculus : Calculus
    example, value : Point
        A point and a value of numpy arrays, which fix shapes.
    """

    def __init__(self, calculus: Calculus, example: Point, value: Vector) -> None:
        self._calculus, self.example, self.value = calculus, example, value

    def flat(self, name: str, value: Vector) -> Array:
        """Coordinates ``(..., M)`` of points or vectors upstairs."""
        return _flat(name, value, self.example)

    def flat_below(self, name: str, value: Vector) -> Array:
        """Coordinates ``(..., k)`` of values, vectors or covectors downstairs."""
        return _flat(name, value, self.value)

    def up(self, flat: Array, point: Point) -> Vector:
        """Point or vector upstairs with given coordinates, in the precision of a point."""
        return self._result(flat, self.example, point)

    def down(self, flat: Array, point: Point) -> Vector:
        """Value or vector downstairs with given coordinates, in the precision of a point."""
        return self._result(flat, self.value, point)

    def call(self, name: str, *arrays: Array) -> Any:
        """Call a compiled function on arrays with any batch axes."""
        xp = namespace(*arrays)
        batch = np.broadcast_shapes(*(x.shape[:-1] for x in arrays))
        flat = [rows(xp.broadcast_to(x, (*batch, x.shape[-1]))) for x in arrays]

        def shaped(x: Array) -> Array:
            return xp.reshape(x, (*batch, *x.shape[1:]))

        found = self._calculus.call(name, *flat)
        if isinstance(found, tuple):
            return tuple(shaped(x) for x in found)
        return shaped(found)

    def vector(self, flat: Array, like: Vector) -> Vector:
        """Arrays of the shapes of ``like`` from coordinates."""
        if not isinstance(flat, np.ndarray):
            like = self._calculus.like(flat, like)
        return from_coordinates(flat, like)

    def _result(self, flat: Array, like: Vector, point: Point) -> Vector:
        """Arrays with the precision of a point."""
        single = all(x.dtype in (np.float32, np.complex64) for x in parts(point))
        if single and isinstance(flat, np.ndarray):
            flat = flat.astype(np.float32)
        return self.vector(flat, like)


def _flat(name: str, value: Vector, like: Vector) -> Array:
    """Real coordinates ``(..., size)``; of numpy arrays in double precision."""
    given, wanted = parts(value), parts(like)
    fits = len(given) == len(wanted) and all(
        np.shape(x)[np.ndim(x) - y.ndim :] == y.shape
        for x, y in zip(given, wanted, strict=True)
        if np.ndim(x) >= y.ndim
    )
    batch = batch_axes(value, like) if fits else -1
    if batch < 0 or any(x.ndim - y.ndim != batch for x, y in zip(given, wanted, strict=True)):
        shapes = [tuple(np.shape(x)) for x in given]
        expected = [("...", *y.shape) for y in wanted]
        raise ValueError(f"{name} has shapes {shapes}: it must have {expected}")
    return coordinates(double(value), batch)


def double(value: Vector) -> Vector:
    """Return arrays of numpy in double precision, others as they are."""

    def widened(x: Array) -> Array:
        if not isinstance(x, (np.ndarray, np.generic, float)):
            return x
        kind = np.complex128 if np.iscomplexobj(x) else np.float64
        return np.asarray(x, dtype=kind)

    return rebuild(value, [widened(x) for x in parts(value)])


def rows(x: Array) -> Array:
    """Arrays with one batch axis."""
    return namespace(x).reshape(x, (-1, x.shape[-1]))


def entered(calculus: Calculus, x: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Points of the constraint near ``x + noise``, with less noise where there is none."""
    found = calculus.call("enter", x + noise)
    for _ in range(_HALVINGS):
        bad = np.logical_not(np.isfinite(found).all(axis=-1))
        if not bad.any():
            return np.asarray(found)
        noise = np.where(bad[:, None], noise / 2, noise)
        found = np.where(bad[:, None], calculus.call("enter", x + noise), found)
    raise ValueError(
        "Newton's method finds no points of the constraint near the example, which must be "
        "a point where its equations are smooth and independent"
    )


def strolled(
    calculus: Calculus, flat: np.ndarray, target: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Points after one vertical step, which is halved where it leads astray."""
    at = split(Jet(*calculus.call("jet", flat)), calculus.rank)
    V: Any = vertical(at, rng.standard_normal(flat.shape))
    ratio = np.linalg.norm(flat, axis=-1) / np.linalg.norm(V, axis=-1)
    V = _STRIDE * ratio[:, None] * V
    found = flat * np.nan
    for _ in range(_HALVINGS):
        bad = np.logical_not(np.isfinite(found).all(axis=-1))
        if not bad.any():
            return found
        found = np.where(bad[:, None], calculus.call("settle", flat + V, target), found)
        V = V / 2
    return np.where(np.isfinite(found), found, flat)
