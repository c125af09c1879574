"""Numerical check of the defining properties of a Riemannian submersion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dlngeom._lib.arrays import Array, Seed, as_generator, constant, namespace, to_numpy
from dlngeom._lib.door import takes_arrays
from dlngeom._lib.vectors import (
    Point,
    Vector,
    combine,
    coordinates,
    from_coordinates,
    norm,
    parts,
    rebuild,
    unit_vector,
)
from dlngeom.submersion._given import named
from dlngeom.submersion._offers import HasBasePoint
from dlngeom.submersion._spaces import (
    BasePoint,
    LiftedBase,
    RiemannianSubmersion,
    base_point,
    cometric,
    embedding,
    entropy_gradient,
    inverse_cometric,
    lift,
    mean_curvature,
)
from dlngeom.submersion._untouched import require_untouched

__all__ = ["check_submersion"]

# Relative to the size of the vectors: linear identities hold up to rounding.
_LINEAR = 1e-9
# For derivatives by fourth-order differences.
_DERIVATIVE = 1e-6
# Steps, relative to the point, over which errors must fall with their order.
_STEPS = 2.0 ** -np.arange(6, 12)
_SLOPE = 0.1


@takes_arrays("point")
def check_submersion(
    space: RiemannianSubmersion, point: Point, rng: Seed, *, orbits: bool = False
) -> dict[str, float]:
    r"""Check numerically, at a point, that a space is a Riemannian submersion.

    .. math:: \mathrm{d}\phi\,\mathrm{d}\phi^* = A \circ \phi, \qquad
              \mathrm{grad}\,(S \circ \phi) = -H

    Parameters
    ----------
    space : RiemannianSubmersion
        Space to check.
    point : Point
        One generic point upstairs, without batch axes, not too near a singularity.
    rng : numpy.random.Generator or seed
        Source of the test vectors.
    orbits : bool
        Whether to check also that the cometric and the mean curvature, pushed down, are constant
        along fibres, as where they are orbits of isometries.  Only then is there an entropy
        downstairs.

    Returns
    -------
    dict
        Error of each property, or the shortfall of an order of convergence.  The properties are
        the dimensions, the two projections, the differential and its adjoint, the orbit, both
        orders of the retraction, the metric downstairs, batches, and the entropy if there is a
        formula for it.

    Raises
    ------
    ValueError
        If properties fail, the likely cause first, with the error and the limit of each; if a
        method changes its arguments in place; or if the point does not fit.
    TypeError
        If ``space`` is not a ``RiemannianSubmersion``.

    See Also
    --------
    dlngeom.submersion.RiemannianSubmersion : The interface.
    dlngeom.geomstats.from_bundle : Submersion from a fiber bundle of geomstats.

    Notes
    -----
    Section 12.1 of Menon, *The geometry of the deep linear network*, with the sign of (2)
    corrected.

    Examples
    --------
    >>> from dlngeom import DeepLinearNetwork, check_submersion
    >>> space = DeepLinearNetwork((2, 2, 2))
    >>> errors = check_submersion(space, space.random_point(0), rng=1)
    >>> len(errors), errors["batches"] < 1e-12
    (14, True)
    """
    _require_point(space, point)
    # Spawned, so that no test vector equals a point drawn from the same seed.
    vectors, others = as_generator(rng).spawn(2)
    require_untouched(space, point, others)
    at = _CheckedPlace(space, point, vectors)
    errors: dict[str, float] = {}
    failures: list[str] = []
    for name, check in (_CHECKS | (_ORBITS if orbits else {})).items():
        try:
            error = check(at)
        except Exception as reason:
            if not failures:
                raise
            failures.append(f"{name}: {type(reason).__name__}")
            continue
        if error is not None:
            errors[name] = error
            if not error <= _limit(name):
                failures.append(f"{name}: error {error:.2g}, allowed {_limit(name):g}")
    if failures:
        follows = "; mend this first, since it spoils others: " + "; ".join(failures[1:])
        raise ValueError(
            f"{named(space)} is no Riemannian submersion: {failures[0]}"
            + follows * (len(failures) > 1)
        )
    return errors


def _require_point(space: Any, point: Point) -> None:
    if not isinstance(space, RiemannianSubmersion):
        raise TypeError(f"space={named(space)}: it must be a RiemannianSubmersion")
    given, like = parts(point), parts(space.random_point(0))
    shapes = [[tuple(x.shape) for x in value] for value in (given, like)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"the point has shapes {shapes[0]}: one point of {named(space)} has {shapes[1]}"
        )
    if not all(np.all(np.isfinite(to_numpy(x))) for x in given):
        raise ValueError("the point is not finite: all entries must be")


def _limit(name: str) -> float:
    if name.startswith(("order", "the differential is")):
        return _SLOPE
    return _DERIVATIVE if name.startswith(("the gradient", "orbits")) else _LINEAR


class _CheckedPlace:
    """A point with the random test vectors that all checks share."""

    def __init__(self, space: RiemannianSubmersion, point: Point, rng: np.random.Generator):
        self.space, self.point, self.rng = space, point, rng
        self.position = embedding(space, point)
        self.below = space.project(point)
        self.pair = base_point(space, point)
        self.size = float(to_numpy(norm(self.position)))
        self.ambient = [self.random(self.position) for _ in range(2)]
        self.tangent = [space.tangent_projection(point, x) for x in self.ambient]
        self.vertical = space.vertical_projection(point, self.ambient[0])
        self.covector = [self.random(self.below) for _ in range(2)]
        self.lifted = [space.codifferential(point, x) for x in self.covector]

    def random(self, like: Vector) -> Vector:
        flat = coordinates(like)
        values = constant(self.rng.standard_normal(flat.shape), flat)
        return from_coordinates(values / values.shape[0] ** 0.5, like)

    def moved(self, vector: Vector, t: float, order: int = 2) -> Point:
        step = rebuild(vector, [t * x for x in parts(vector)])
        return self.space.retraction(self.point, step, order=order)


def _gap(first: Vector, second: Vector) -> float:
    """Distance of two vectors, relative to the longer one if that is longer than one."""
    a, b = coordinates(first), coordinates(second)
    return _size(a - b) / max(_size(a), _size(b), 1.0)


def _zero(like: Vector) -> Vector:
    return rebuild(like, [x * 0 for x in parts(like)])


def _size(flat: Array) -> float:
    return float(np.linalg.norm(to_numpy(flat)))


def _dot(first: Vector, second: Vector) -> float:
    return float(to_numpy(namespace(*parts(first)).sum(coordinates(first) * coordinates(second))))


def _dimensions(at: _CheckedPlace) -> float:
    """Compare the ranks of the two projections and of the cometric with the dimensions."""
    space = at.space
    size, below = coordinates(at.position).shape[0], coordinates(at.below).shape[0]
    tangent = vertical = 0.0
    for i in range(size):
        e = unit_vector(i, at.position)
        tangent += _dot(e, space.tangent_projection(at.point, e))
        vertical += _dot(e, space.vertical_projection(at.point, e))
    rows = [space.codifferential(at.point, unit_vector(i, at.below)) for i in range(below)]
    values = np.linalg.svd(np.stack([to_numpy(coordinates(x)) for x in rows]), compute_uv=False)
    rank = np.sum(values > max(1e-11 * values[0], 1e-14))
    wrong = [tangent - space.dim, vertical - space.dim_orbit, rank - space.dim_base]
    wrong += [space.dim - space.dim_base - space.dim_orbit, space.base.dim - space.dim_base]
    return float(np.max(np.abs(wrong)))


def _projection(name: str) -> Callable[[_CheckedPlace], float]:
    """Check that a projection is idempotent, symmetric and into the tangent space."""

    def check(at: _CheckedPlace) -> float:
        project: Any = getattr(at.space, name)
        images = [project(at.point, x) for x in at.ambient]
        crossed = _dot(images[0], at.ambient[1]) - _dot(at.ambient[0], images[1])
        again = _gap(project(at.point, images[0]), images[0])
        inside = _gap(at.space.tangent_projection(at.point, images[0]), images[0])
        return max(abs(crossed), again, inside)

    return check


def _kernel(at: _CheckedPlace) -> float:
    """Check that vertical vectors map to zero; by the dimensions, no others do."""
    return _gap(at.space.differential(at.point, at.vertical), _zero(at.covector[0]))


def _adjoint(at: _CheckedPlace) -> float:
    pushed = at.space.differential(at.point, at.tangent[0])
    return abs(_dot(at.covector[0], pushed) - _dot(at.lifted[0], at.tangent[0])) / max(
        _size(coordinates(at.lifted[0])), 1.0
    )


def _horizontal(at: _CheckedPlace) -> float:
    tangent = _gap(at.space.tangent_projection(at.point, at.lifted[0]), at.lifted[0])
    vertical = at.space.vertical_projection(at.point, at.lifted[0])
    return max(tangent, _gap(vertical, _zero(vertical)))


def _excess(errors: list[float], order: int, size: float) -> float:
    """Shortfall of the observed order of convergence from ``order``."""
    kept = [e for e in errors if e > 1e-12 * max(size, 1.0)]
    if len(kept) < 3:
        return 0.0
    slope = float(np.median(-np.diff(np.log2(kept))))
    return max(order - slope, 0.0)


def _differential(at: _CheckedPlace) -> float:
    below, excess = coordinates(at.below), []
    for V in at.tangent:
        pushed = coordinates(at.space.differential(at.point, V))
        reached = [(t, coordinates(at.space.project(at.moved(V, t)))) for t in _STEPS * at.size]
        errors = [_size(y - below - t * pushed) for t, y in reached]
        excess.append(_excess(errors, 2, _size(below)))
    return max(excess)


def _retraction(order: int) -> Callable[[_CheckedPlace], float]:
    """Check the velocity of a retraction and, for order 2, its tangential acceleration."""

    def check(at: _CheckedPlace) -> float:
        def error(V: Vector, t: float) -> float:
            reached = embedding(at.space, at.moved(V, t, order))
            gap = combine(1.0, combine(1.0, reached, -1.0, at.position), -t, V)
            gap = gap if order == 1 else at.space.tangent_projection(at.point, gap)
            return _size(coordinates(gap))

        curves = [[error(V, t) for t in _STEPS * at.size] for V in at.tangent]
        return max(_excess(errors, order + 1, at.size) for errors in curves)

    return check


def _orbit(at: _CheckedPlace) -> float:
    """Check that random points of an orbit have the same projection and cometric."""
    other, third = (at.space.orbit_point(at.pair, at.rng) for _ in range(2))
    G = at.covector[0]
    pairs = zip(parts(other), parts(third), strict=True)
    if at.space.dim_orbit and all(bool((x == y).all()) for x, y in pairs):
        return float("inf")
    gap = _gap(at.space.project(other), at.below)
    if isinstance(at.space, HasBasePoint):
        return gap  # Points downstairs say where they come from, the metric may depend on it.
    metric = _gap(cometric(at.space, other, G), cometric(at.space, at.point, G))
    return max(metric, gap)


def _isometries(at: _CheckedPlace) -> float:
    """Compare the cometrics at random points of an orbit."""
    values = [cometric(at.space, x, at.covector[0]) for x in (at.point, *_along_orbit(at))]
    return max(_gap(x, values[0]) for x in values[1:])


def _same_drift(at: _CheckedPlace) -> float:
    """Compare the mean curvatures, pushed down, at random points of an orbit."""
    values = [entropy_gradient(at.space, x) for x in (at.point, *_along_orbit(at))]
    return max(_gap(x, values[0]) for x in values[1:])


def _along_orbit(at: _CheckedPlace) -> list[Point]:
    return [at.space.orbit_point(at.pair, at.rng) for _ in range(2)]


def _closed_form(at: _CheckedPlace) -> float:
    """Compare a cometric and an inner product downstairs with those from lifting."""
    base, lifted = at.space.base, LiftedBase(at.space)
    Z, other = (cometric(at.space, at.point, G) for G in at.covector)
    gap = _gap(base.cometric(at.pair, at.covector[0]), Z)
    inner = base.inner(at.pair, Z, other) - lifted.inner(at.pair, Z, other)
    # A covector is determined up to one that vanishes on tangent vectors.
    covector = inverse_cometric(base, at.pair, Z)
    back = _gap(cometric(at.space, at.point, covector), Z)
    V = lift(at.space, at.point, Z)
    square = _dot(at.lifted[0], at.lifted[0])
    size = max(1.0, square, _dot(at.lifted[1], at.lifted[1]))
    length = _dot(V, V) - square
    return max(gap, back, abs(float(to_numpy(inner))) / size, abs(length) / size)


def _shadow(at: _CheckedPlace) -> float:
    """Compare the retraction downstairs with the projection of that upstairs, to second order."""
    Z, errors = cometric(at.space, at.point, at.covector[0]), []
    for t in _STEPS * at.size:
        step = rebuild(Z, [t * x for x in parts(Z)])
        reached = at.space.base.retraction(at.pair, step)
        shadow = at.space.project(at.moved(at.lifted[0], t))
        reached = reached.value if isinstance(reached, BasePoint) else reached
        errors.append(_size(coordinates(reached) - coordinates(shadow)))
    return _excess(errors, 3, _size(coordinates(at.below)))


def _batches(at: _CheckedPlace) -> float:
    """Check that every method takes batch axes and treats each point independently."""
    space, points = at.space, at.space.random_point(at.rng, (2,))
    vectors = from_coordinates(
        at.rng.standard_normal((2, coordinates(at.position).shape[0])), embedding(space, points), 1
    )
    covectors = from_coordinates(
        at.rng.standard_normal((2, coordinates(at.below).shape[0])), space.project(points), 1
    )

    def results(x: Point, V: Vector, G: Vector) -> list[Vector]:
        tangent = space.tangent_projection(x, V)
        moved = embedding(space, space.retraction(x, tangent))
        pulled, pushed = space.codifferential(x, G), space.differential(x, tangent)
        return [tangent, moved, pulled, pushed, space.vertical_projection(x, V), space.project(x)]

    together, gaps = results(points, vectors, covectors), []
    below = space.project(points)
    other = space.orbit_point(base_point(space, points), at.rng)
    gaps.append(_gap(space.project(other), below))
    for i in range(2):
        chosen = [_pick(value, i) for value in (points, vectors, covectors)]
        alone = results(*chosen)
        gaps += [_gap(_pick(x, i), y) for x, y in zip(together, alone, strict=True)]
    return max(gaps)


def _pick(value: Vector, index: int) -> Vector:
    return rebuild(value, [x[index, ...] for x in parts(value)])


def _entropy(at: _CheckedPlace) -> float | None:
    """Compare derivatives of the entropy along horizontal vectors with the mean curvature."""
    try:
        at.space.log_orbit_volume(at.below)
    except NotImplementedError:
        return None
    H, errors = mean_curvature(at.space, at.point), []
    for V in at.lifted:
        length = max(_size(coordinates(V)), 1e-300)
        unit = rebuild(V, [x / length for x in parts(V)])

        def entropy(t: float, unit: Vector = unit) -> float:
            moved = at.space.project(at.moved(unit, t))
            return float(to_numpy(at.space.log_orbit_volume(moved)))

        step = 1e-3 * at.size
        near, far = (entropy(k * step) - entropy(-k * step) for k in (1, 2))
        errors.append(abs((8 * near - far) / (12 * step) + _dot(H, unit)))
    return max(errors) / max(_size(coordinates(H)), 1 / at.size)


# A check comes after those of the methods that it uses, so that the first failure is the cause.
_CHECKS: dict[str, Callable[[_CheckedPlace], float | None]] = {
    "tangent_projection is an orthogonal projection": _projection("tangent_projection"),
    "vertical_projection is an orthogonal projection": _projection("vertical_projection"),
    "order 1 of the retraction": _retraction(1),
    "order 2 of the retraction": _retraction(2),
    "the differential is the derivative of project": _differential,
    "vertical vectors go to zero": _kernel,
    "codifferential is the adjoint of differential": _adjoint,
    "codifferential is horizontal": _horizontal,
    "dimensions": _dimensions,
    "orbit_point stays on the orbit, where dphi dphi* is constant": _orbit,
    "base is the geometry that lifting gives": _closed_form,
    "order 2 of the retraction of the base": _shadow,
    "the gradient of log_orbit_volume is minus the mean curvature": _entropy,
    "batches": _batches,
}
_ORBITS: dict[str, Callable[[_CheckedPlace], float | None]] = {
    "orbits: dphi dphi* is constant along fibres": _isometries,
    "orbits: the mean curvature, pushed down, is constant along fibres": _same_drift,
}
