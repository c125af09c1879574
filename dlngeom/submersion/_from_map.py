"""A submersion from a differentiable map alone, by automatic differentiation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import array_api_compat
import numpy as np

from dlngeom._lib.arrays import Array, Seed, as_generator, namespace, to_numpy
from dlngeom._lib.door import plain, takes_arrays
from dlngeom._lib.vectors import (
    Point,
    Vector,
    batch_axes,
    coordinates,
    from_coordinates,
    parts,
    rebuild,
)
from dlngeom.submersion._from_map_algebra import (
    Jet,
    Split,
    apply,
    back,
    split,
    tangent,
    vertical,
)
from dlngeom.submersion._from_map_calculus import Calculus
from dlngeom.submersion._from_map_checks import (
    require_on_constraint,
    require_rank,
    require_smooth,
    traced,
)
from dlngeom.submersion._from_map_walk import MapWalk
from dlngeom.submersion._given import check_like
from dlngeom.submersion._offers import Walk
from dlngeom.submersion._spaces import BasePoint, LiftedBase, RiemannianSubmersion

__all__ = ["from_map"]

# Random points at which the rank is compared with that at the example.
_TRIALS = 3
# How often noise that leads Newton's method astray is halved.
_HALVINGS = 8
# Steps of the walk along a fibre, each of this length relative to the point.
_STEPS, _STRIDE = 8, 0.3


@takes_arrays("point")
def from_map(
    phi: Callable[[Any], Any],
    point: Point,
    *,
    constraint: Callable[[Any], Any] | None = None,
) -> RiemannianSubmersion:
    r"""Make a submersion from a differentiable map alone.

    .. math:: K = J J^T, \quad J = \mathrm{d}\phi\, P, \qquad
              P_h = J^T K^+ J, \qquad \text{lift}(z) = J^T K^+ z

    The space upstairs is all of ``R^M``, or the zero set of a constraint, with the Frobenius
    metric; the cometric downstairs is ``K``.

    Parameters
    ----------
    phi : callable
        Function, written with jax, of one point without batch axes: an array or a tuple of
        arrays, real or complex.  It returns an array or a tuple of arrays, and its derivative
        on tangent vectors has constant rank, which may be less than the number of entries.
    point : array or tuple of arrays
        An example upstairs, which fixes the shapes and the rank.
    constraint : callable, optional
        Function of one point, written with jax, that vanishes upstairs.  Its equations are
        independent: of a symmetric matrix it returns the upper triangle.

    Returns
    -------
    RiemannianSubmersion
        Points are numpy or jax arrays with any batch axes; numpy's are computed in double
        precision whatever the settings of jax are.  A point of the base is the pair
        ``space.base_point(x)`` of ``phi(x)`` and ``x``, since a value alone has no lift;
        energies see the value.  ``retraction`` returns NaN where the step is too long.

    Raises
    ------
    ValueError
        If the example does not satisfy the constraint, equations depend on each other, or a
        function cannot be differentiated, is not smooth or has another rank at random points;
        later, at points where the rank is another one.
    TypeError
        If an argument is of the wrong type.
    ImportError
        If jax is missing.

    See Also
    --------
    dlngeom.submersion.entropy_gradient : Drift downstairs of the noise along the fibres.
    dlngeom.check_submersion : Numerical check; ``orbits=True`` tells whether there is an entropy.
    dlngeom.pymanopt.from_manifold : Manifolds of pymanopt as submersions.

    Notes
    -----
    Where the fibres are not orbits of isometries, ``K`` and the mean curvature of the fibre
    depend on the point upstairs.  Then there is no entropy downstairs, and ``phi`` of the noise
    is no process of its own.  For the outputs of a network on ``k`` inputs ``K`` is the neural
    tangent kernel.  No ``M x M`` matrix is formed.

    Section 12.1 of Menon, *The geometry of the deep linear network*.

    Examples
    --------
    The complex projective line: the Hopf map of the sphere in ``R^4`` to that in ``R^3``.

    >>> import jax.numpy as jnp
    >>> from dlngeom import from_map
    >>> def hopf(x):
    ...     a, b = x[0] + 1j * x[1], x[2] + 1j * x[3]
    ...     z = 2 * a * b.conj()
    ...     return jnp.stack([z.real, z.imag, abs(a) ** 2 - abs(b) ** 2])
    >>> space = from_map(hopf, [0.6, 0.0, 0.0, 0.8], constraint=lambda x: x @ x - 1)
    >>> space.dim, space.dim_base, space.dim_orbit
    (3, 2, 1)
    """
    for name, function in (("phi", phi), ("constraint", constraint)):
        if not callable(function) and not (name == "constraint" and function is None):
            raise TypeError(f"{name}={function!r}: it must be a function of one point")
    return _MapSubmersion(phi, _example(point), constraint)


def _example(point: Point) -> Point:
    """Copy of a point as numpy arrays in single or double precision."""
    for x in parts(point):
        if isinstance(x, np.ndarray) or array_api_compat.is_jax_array(x):
            continue
        kind = f"{type(x).__module__}.{type(x).__qualname__}"
        raise TypeError(f"point has a part of type {kind}: it must be an array of numpy or jax")
    example = rebuild(point, [np.array(to_numpy(x)) for x in parts(point)])
    if isinstance(point, tuple) and any(x.ndim == 0 for x in parts(example)):
        raise ValueError("point has a number among its arrays: it must have an axis, as x[None]")
    if sum(x.size for x in parts(example)) == 0:
        raise ValueError("point has no entries: it must have some")
    check_like("point", example, example)
    return example


class _MapSubmersion(RiemannianSubmersion):
    """Submersion of :func:`from_map`."""

    def __init__(self, phi: Any, example: Point, constraint: Any) -> None:
        self.phi, self.constraint, self._example = phi, constraint, example
        self._calculus = calculus = Calculus(phi, constraint, example)
        x = coordinates(self._double(example))
        self._value, equations = traced(calculus, x)
        self._size, self._equations = x.shape[0], equations
        jet = Jet(*(a[0] for a in calculus.call("jet", x[None])))
        require_smooth(calculus, x, jet)
        at = split(jet, 0)
        require_rank(at, jet, None)
        require_on_constraint(at, jet, x)
        calculus.rank = int(at.rank)
        self._at(self.random_point(0, (_TRIALS,)), " at a random point")

    def __repr__(self) -> str:
        name = getattr(self.phi, "__qualname__", type(self.phi).__qualname__)
        shapes = ", ".join(str(tuple(x.shape)) for x in parts(self._example))
        return f"from_map({name}, points of shape {shapes}, rank {self.dim_base})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _MapSubmersion, (self.phi, self._example, self.constraint)

    @property
    def dim(self) -> int:
        """Unknowns minus equations."""
        return self._size - self._equations

    @property
    def dim_base(self) -> int:
        """Rank of the derivative of the map."""
        return self._calculus.rank

    @property
    def dim_orbit(self) -> int:
        """Dimension of the fibres."""
        return self.dim - self.dim_base

    @property
    def base(self) -> _MapBase:
        """Geometry downstairs, at pairs ``(phi(x), x)``."""
        return _MapBase(self)

    def random_point(self, rng: Seed, batch: tuple[int, ...] = ()) -> Point:
        """Example plus Gaussian vectors of its size, moved to the constraint."""
        x = coordinates(self._double(self._example))
        noise = as_generator(rng).standard_normal((*batch, self._size))
        size = np.linalg.norm(x) / math.sqrt(self._size) or 1.0
        flat = size * noise.reshape(-1, self._size)
        found = x + flat if self._equations == 0 else self._entered(x, flat)
        points = self._vector(found.reshape(noise.shape), self._example)
        arrays = zip(parts(points), parts(self._example), strict=True)
        return rebuild(points, [a.astype(b.dtype, copy=False) for a, b in arrays])

    def project(self, point: Point) -> Point:
        """Apply the map."""
        x = self._flat("point", point, self._example)
        return self._result(self._call("value", x), self._value, point)

    def base_point(self, point: Point) -> BasePoint:
        """Pair ``(phi(x), x)``, a point of the base."""
        return BasePoint(self.project(point), point)

    def above(self, point: Any) -> Point:
        """Second member of a pair ``(phi(x), x)``.

        Raises
        ------
        ValueError
            If it is no such pair.
        """
        if not isinstance(point, BasePoint):
            raise ValueError(
                "a value downstairs has no lift: a point of the base is the pair of phi(x) and x, "
                "pass space.base_point(x)"
            )
        self._flat("point.above", point.above, self._example)
        return point.above

    def differential(self, point: Point, vector: Vector) -> Vector:
        """Derivative of the map along the tangent part of a vector."""
        _, at = self._at(point)
        flat = apply(at.J, self._flat("vector", vector, self._example))
        return self._result(flat, self._value, point)

    def codifferential(self, point: Point, covector: Any) -> Vector:
        """Apply ``J^T`` to a covector."""
        _, at = self._at(point)
        flat = back(at.J, self._flat("covector", covector, self._value))
        return self._result(flat, self._example, point)

    def tangent_projection(self, point: Point, vector: Vector) -> Vector:
        """Vector without its components normal to the constraint."""
        return self._projected(tangent, point, vector)

    def vertical_projection(self, point: Point, vector: Vector) -> Vector:
        """Tangent vector without its component along ``J^T``."""
        return self._projected(vertical, point, vector)

    def retraction(self, point: Point, vector: Vector, *, order: int = 2) -> Point:
        """Move straight, then back to the constraint along the normal space of the start."""
        x, V = self._flat("point", point, self._example), self._flat("vector", vector, self._example)
        return self._result(self._call("retract", x, V), self._example, point)

    def mean_curvature(self, point: Point) -> Vector:
        """Mean curvature vector of the fibre, by second derivatives."""
        return self._result(self._curvature(point)[0], self._example, point)

    def orbit_point(self, point: Any, rng: Seed) -> Point:
        """End of a random walk along the fibre from the second member of a pair."""
        start, generator = self.above(point), as_generator(rng)
        x = self._flat("point", start, self._example)
        batch, flat = x.shape[:-1], self._rows(to_numpy(x))
        target = flat if self.dim_orbit == 0 else self._calculus.call("value", flat)
        for _ in range(_STEPS if self.dim_orbit else 0):
            flat = self._strolled(flat, target, generator)
        xp = namespace(x)
        found = xp.asarray(flat.reshape(*batch, self._size), dtype=x.dtype)
        return self._result(found, self._example, start)

    def check_point(self, point: Point) -> Point:
        """Require the shapes of the example, the constraint and the rank."""
        point = plain("point", point)
        check_like("point", point, self._example)
        self._at(point, checked=True)
        return point

    def random_walk(self, point: Point) -> Walk:
        """Walk with one compiled step."""
        return MapWalk(self)

    def moved(
        self, point: Point, noise: Vector, covector: Any, time: Any, up: Any, along: Any
    ) -> Point:
        """Step of a walk with vertical noise of size ``up`` and horizontal noise ``along``."""
        x, V = self._flat("point", point, self._example), self._flat("noise", noise, self._example)
        xp = namespace(x)
        zero = xp.zeros((coordinates(self._value).shape[0],), dtype=x.dtype)
        slope = zero if covector is None else self._flat("covector", covector, self._value)
        sizes = [xp.asarray(a, dtype=x.dtype)[..., None] for a in (time, up, along)]
        return self._result(self._call("step", x, V, slope, *sizes), self._example, point)

    def _curvature(self, point: Point) -> tuple[Array, Array]:
        """Mean curvature vector, and minus the same pushed down."""
        x, _ = self._at(point)
        H, push = self._call("curvature", x)
        return H, push

    def _projected(
        self, project: Callable[[Split, Array], Array], point: Point, vector: Vector
    ) -> Vector:
        _, at = self._at(point)
        flat = project(at, self._flat("vector", vector, self._example))
        return self._result(flat, self._example, point)

    def _at(
        self, point: Point, where: str = "", *, checked: bool = False
    ) -> tuple[Array, Split]:
        """Flat points and the splittings there, once the rank is found to be right.

        Only checked points must satisfy the constraint: stages of a flow are a little off.
        """
        x = self._flat("point", point, self._example)
        jet = Jet(*self._call("jet", x))
        at = split(jet, self.dim_base)
        if not _is_traced(x):
            require_rank(at, jet, self.dim_base, where)
            if checked:
                require_on_constraint(at, jet, x)
        return x, at

    def _call(self, name: str, *arrays: Array) -> Any:
        """Call a compiled function on arrays with any batch axes."""
        xp = namespace(*arrays)
        batch = np.broadcast_shapes(*(x.shape[:-1] for x in arrays))
        rows = [self._rows(xp.broadcast_to(x, (*batch, x.shape[-1]))) for x in arrays]

        def shaped(x: Array) -> Array:
            return xp.reshape(x, (*batch, *x.shape[1:]))

        found = self._calculus.call(name, *rows)
        if isinstance(found, tuple):
            return tuple(shaped(x) for x in found)
        return shaped(found)

    def _rows(self, x: Array) -> Array:
        return namespace(x).reshape(x, (-1, x.shape[-1]))

    def _flat(self, name: str, value: Vector, like: Vector) -> Array:
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
        return coordinates(self._double(value), batch)

    def _double(self, value: Vector) -> Vector:
        def double(x: Array) -> Array:
            if not isinstance(x, (np.ndarray, np.generic, float)):
                return x
            kind = np.complex128 if np.iscomplexobj(x) else np.float64
            return np.asarray(x, dtype=kind)

        return rebuild(value, [double(x) for x in parts(value)])

    def _vector(self, flat: Array, like: Vector) -> Vector:
        """Arrays of the shapes of ``like`` from coordinates."""
        if not isinstance(flat, np.ndarray):
            like = self._calculus.like(flat, like)
        return from_coordinates(flat, like)

    def _result(self, flat: Array, like: Vector, point: Point) -> Vector:
        """Arrays with the precision of a point."""
        single = all(x.dtype in (np.float32, np.complex64) for x in parts(point))
        if single and isinstance(flat, np.ndarray):
            flat = flat.astype(np.float32)
        return self._vector(flat, like)

    def _entered(self, x: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Points of the constraint near ``x + noise``, with less noise where there is none."""
        found = self._calculus.call("enter", x + noise)
        for _ in range(_HALVINGS):
            bad = ~np.isfinite(found).all(axis=-1)
            if not bad.any():
                return np.asarray(found)
            noise = np.where(bad[:, None], noise / 2, noise)
            found = np.where(bad[:, None], self._calculus.call("enter", x + noise), found)
        raise ValueError(
            "Newton's method finds no points of the constraint near the example, which must be "
            "a point where its equations are smooth and independent"
        )

    def _strolled(
        self, flat: np.ndarray, target: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Points after one vertical step, which is halved where it leads astray."""
        at = split(Jet(*self._calculus.call("jet", flat)), self.dim_base)
        V = vertical(at, rng.standard_normal(flat.shape))
        ratio = np.linalg.norm(flat, axis=-1) / np.linalg.norm(V, axis=-1)
        V = _STRIDE * ratio[:, None] * V
        found = flat * np.nan
        for _ in range(_HALVINGS):
            bad = ~np.isfinite(found).all(axis=-1)
            if not bad.any():
                return found
            found = np.where(bad[:, None], self._calculus.call("settle", flat + V, target), found)
            V = V / 2
        return np.where(np.isfinite(found), found, flat)


class _MapBase(LiftedBase):
    """Base of :func:`from_map`, at pairs ``(phi(x), x)``."""

    space: _MapSubmersion

    def inverse_cometric(self, point: Any, vector: Vector) -> Any:
        """Apply the pseudo-inverse of ``K``."""
        above, space = self.space.above(point), self.space
        _, at = space._at(above)
        inside = apply(at.root, space._flat("vector", vector, space._value))
        return space._result(back(at.root, inside), space._value, above)

    def check_point(self, point: Any) -> Any:
        """Require a pair of ``phi(x)`` and ``x``."""
        above = self.space.check_point(self.space.above(point))
        value = self.space.project(above)
        given = coordinates(point.value, batch_axes(point.value, self.space._value))
        gap = given - coordinates(value, batch_axes(value, self.space._value))
        if np.max(np.abs(to_numpy(gap))) > 1e-6 * (1 + np.max(np.abs(to_numpy(given)))):
            raise ValueError("point.value is not phi of point.above: pass space.base_point(x)")
        return point

    def random_walk(self, point: Any) -> Walk:
        """Walk upstairs by horizontal steps, seen from below."""
        return MapWalk(self.space, below_only=True)


def _is_traced(x: Array) -> bool:
    """Whether an array of jax is being compiled and has no values yet."""
    return not isinstance(x, np.ndarray) and not hasattr(x, "addressable_shards")
