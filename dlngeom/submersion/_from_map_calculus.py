"""Derivatives of a map and of its constraint by jax, at flat points, compiled and in batches."""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Callable
from typing import Any

import array_api_compat
import numpy as np

from dlngeom._lib.arrays import Array, eps
from dlngeom._lib.vectors import Point, coordinates, from_coordinates, norm, parts, rebuild
from dlngeom.submersion._from_map_algebra import (
    Jet,
    apply,
    back,
    normals,
    solve_normal,
    split,
    vertical,
)

__all__ = ["Calculus", "double_precision", "library"]

_ROUNDS = 50
# Unit vectors whose second derivatives are taken together.
_CHUNK = 64
# Fewer small points are filled up to this number: compiling takes longer than computing them.
_FEW, _SMALL = 4, 256


def library() -> Any:
    """Return jax, which is loaded when a map is first used.

    Raises
    ------
    ImportError
        If it is missing.
    """
    try:
        return importlib.import_module("jax")
    except ImportError as error:
        raise ImportError('from_map needs jax: pip install "dlngeom[jax]"') from error


def as_output(value: Any) -> Any:
    """Tuples instead of lists, and arrays instead of numbers, in what a function returned."""
    if isinstance(value, (tuple, list)):
        return tuple(as_output(x) for x in value)
    return importlib.import_module("jax.numpy").asarray(value)


class Calculus:
    """Functions of flat points ``(chain, M)`` of numpy or jax, compiled when first called.

    Parameters
    ----------
    phi, constraint : callable
        Functions of one point; ``constraint`` may be None.
    example : Point
        A point of numpy arrays, which fixes shapes.
    """

    def __init__(self, phi: Any, constraint: Any, example: Point) -> None:
        self.jax, self.phi, self.constraint = library(), phi, constraint
        self.example, self.rank = example, 0
        self._compiled: dict[str, Any] = {}

    def call(self, name: str, *arrays: Any) -> Any:
        """Call a method on batches; results are arrays of the library of the first argument."""
        if name not in self._compiled:
            self._compiled[name] = self.jax.jit(self.jax.vmap(getattr(self, name)))
        function = self._compiled[name]
        if array_api_compat.is_jax_array(arrays[0]):
            return function(*arrays)
        count = arrays[0].shape[0]
        few = 0 < count < _FEW and arrays[0].shape[1] <= _SMALL
        if few:
            arrays = tuple(np.concatenate([x, *[x[-1:]] * (_FEW - count)]) for x in arrays)
        with double_precision(self.jax):
            found = function(*arrays)
        take = (lambda x: np.asarray(x)[:count]) if few else np.asarray
        return self.jax.tree_util.tree_map(take, found)

    def outputs(self, x: Array) -> tuple[Any, Any]:
        """Return what the functions return at a flat point; without a constraint, nothing."""
        point = from_coordinates(x, self.like(x, self.example))
        if self.constraint is None:
            return as_output(self.phi(point)), ()
        return as_output(self.phi(point)), as_output(self.constraint(point))

    def value(self, x: Array) -> Array:
        """Value of the map, flat."""
        return coordinates(as_output(self.phi(from_coordinates(x, self.like(x, self.example)))))

    def jet(self, x: Array) -> Jet:
        """Values and derivatives of both functions."""
        counts = [x_.shape[0] for x_ in self.jax.eval_shape(self.flat, x)]
        few = sum(counts) <= x.shape[0]
        derive = self.jax.jacrev if few else self.jax.jacfwd
        (D, C), (y, c) = derive(self._twice, has_aux=True)(x)
        return Jet(y, D, c, C)

    def retract(self, x: Array, vector: Array) -> Array:
        """Second-order retraction: back to the constraint along the normal space of the start."""
        if self.constraint is None:
            return x + vector
        C, _ = self.jax.jacrev(self._defect, has_aux=True)(x)
        return self._along(normals(C)[0], x + vector)

    def step(
        self,
        x: Array,
        noise: Array,
        covector: Array,
        time: Array,
        up: Array,
        along: Array,
    ) -> Array:
        """Step of a walk with vertical noise of size ``up`` and horizontal noise ``along``.

        The sizes are arrays of one entry.
        """
        at = split(self.jet(x), self.rank)
        V = up * vertical(at, noise) + along * back(at.B, apply(at.B, noise))
        V = V - time * back(at.J, covector)
        return x + V if self.constraint is None else self._along(at.N, x + V)

    def curvature(self, x: Array) -> tuple[Array, Array]:
        """Mean curvature vector of the fibre, and the same with the sign changed pushed down.

        The second is the trace of ``P_v Hess phi``, where the Hessian of the space is that of
        the ambient one minus the multipliers times that of the constraint.
        """
        jet = self.jet(x)
        at = split(jet, self.rank)
        total = self._trace(x, importlib.import_module("jax.numpy").concatenate([at.N, at.B]))
        push = total[0] - apply(jet.derivative, solve_normal(at.N, at.triangle, total[1]))
        return -back(at.B, apply(at.root, push)), push

    def settle(self, x: Array, target: Array) -> Array:
        """Nearby point of the fibre ``phi = target`` by Newton's method; NaN where it fails."""

        def step(y: Array) -> Array:
            jet = self.jet(y)
            at = split(jet, self.rank)
            normal = -solve_normal(at.N, at.triangle, jet.defect)
            missing = target - jet.value - apply(jet.derivative, normal)
            return normal + back(at.B, apply(at.root, missing))

        return self._newton(step, x)

    def enter(self, x: Array) -> Array:
        """Nearby point of the constraint by Newton's method; NaN where it fails."""

        def step(y: Array) -> Array:
            C, c = self.jax.jacrev(self._defect, has_aux=True)(y)
            N, triangle, _ = normals(C)
            return -solve_normal(N, triangle, c)

        return x if self.constraint is None else self._newton(step, x)

    def like(self, x: Array, model: Point) -> Point:
        """Zeros of jax with the shapes of a model and the precision of ``x``."""
        jnp = importlib.import_module("jax.numpy")
        arrays = [
            jnp.zeros(p.shape, np.result_type(x.dtype, np.complex64) if _complex(p) else x.dtype)
            for p in parts(model)
        ]
        return rebuild(model, arrays)

    def flat(self, x: Array) -> tuple[Array, Array]:
        """Values of the two functions, flat."""
        jnp = importlib.import_module("jax.numpy")
        y, c = self.outputs(x)
        return coordinates(y), coordinates(c) if parts(c) else jnp.zeros(0, x.dtype)

    def _twice(self, x: Array) -> tuple[Any, Any]:
        values = self.flat(x)
        return values, values

    def _defect(self, x: Array) -> tuple[Array, Array]:
        """Value of the constraint, twice."""
        value = coordinates(
            as_output(self.constraint(from_coordinates(x, self.like(x, self.example))))
        )
        return value, value

    def _along(self, N: Array, start: Array) -> Array:
        """Point of the constraint in the affine space through ``start`` with directions ``N``."""
        linalg = importlib.import_module("jax.numpy").linalg

        def step(y: Array) -> Array:
            c, slope = self.jax.linearize(lambda z: self._defect(z)[0], y)
            change: Array = -back(N, linalg.solve(self.jax.vmap(slope)(N).mT, c))
            return change

        return self._newton(step, start)

    def _newton(self, step: Callable[[Array], Array], start: Array) -> Array:
        """Repeat steps until one is so short that the next is below rounding."""
        jnp, lax = importlib.import_module("jax.numpy"), self.jax.lax
        enough = 0.1 * eps(start) ** 0.5

        def unfinished(state: Any) -> Array:
            y, last, count = state
            far: Array = (last > enough * norm(y)) & (count < _ROUNDS)
            return far

        def body(state: Any) -> Any:
            y, _, count = state
            change = step(y)
            return y + change, norm(change), count + 1

        first = (start, jnp.full((), np.inf, start.dtype), 0)
        y, last, _ = lax.while_loop(unfinished, body, first)
        reached: Array = jnp.where(last <= enough * norm(y), y, np.nan)
        return reached

    def _second(self, x: Array, v: Array) -> tuple[Array, Array]:
        """Second derivatives of both functions along a vector."""

        def slope(z: Array) -> Any:
            return self.jax.jvp(self.flat, (z,), (v,))[1]

        values: tuple[Array, Array] = self.jax.jvp(slope, (x,), (v,))[1]
        return values

    def _traces(self, x: Array, rows: Array, signs: Array) -> list[Array]:
        """Sum of the second derivatives along vectors, with signs."""
        found = self.jax.vmap(functools.partial(self._second, x))(rows)
        return [signs @ values for values in found]

    def _trace(self, x: Array, without: Array) -> list[Array]:
        """Sum of the second derivatives over the complement of orthonormal rows.

        It is that over all unit vectors, a few at a time, minus that over the rows.
        """
        jnp, size = importlib.import_module("jax.numpy"), x.shape[0]
        minus = -jnp.ones(without.shape[0], x.dtype)
        if size <= _CHUNK:
            rows = jnp.concatenate([jnp.eye(size, dtype=x.dtype), without])
            return self._traces(x, rows, jnp.concatenate([jnp.ones(size, x.dtype), minus]))
        chosen = jnp.arange(-(-size // _CHUNK) * _CHUNK).reshape(-1, _CHUNK)

        def part(total: Any, indices: Array) -> Any:
            rows = (indices[:, None] == jnp.arange(size)).astype(x.dtype)
            found = self._traces(x, rows, jnp.ones(_CHUNK, x.dtype))
            return [s + t for s, t in zip(total, found, strict=True)], None

        return list(self.jax.lax.scan(part, self._traces(x, without, minus), chosen)[0])


def _complex(x: Array) -> bool:
    return "complex" in str(x.dtype)


def double_precision(jax: Any) -> Any:
    """Context in which jax computes in double precision, whatever its settings are."""
    if jax.config.jax_enable_x64:
        return contextlib.nullcontext()
    # The newer name came after the older one, which newer versions lack.
    enable = jax.enable_x64 if "enable_x64" in dir(jax) else jax.experimental.enable_x64
    return enable(True)
