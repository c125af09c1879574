"""Embedded manifolds of pymanopt as submersions, for flows and samplers."""

from __future__ import annotations

import hashlib
import math
import pickle
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pymanopt.manifolds.manifold import RetrAsExpMixin, RiemannianSubmanifold

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, Seed, as_generator
from dlngeom.submersion import RiemannianSubmersion

_GLOBAL_STATE = threading.RLock()

__all__ = ["from_manifold"]

# Step of the central differences of a retraction, relative to the point.
_STEP = 1e-4
_METHODS = ("projection", "exp", "retraction")


def from_manifold(manifold: Any) -> RiemannianSubmersion:
    r"""Turn an embedded manifold of pymanopt into a submersion with the trivial group.

    .. math:: \phi(x) = x, \qquad \mathrm{d}\phi^*(G) = P G

    Parameters
    ----------
    manifold : pymanopt.manifolds.manifold.RiemannianSubmanifold
        Its points and tangent vectors are ambient arrays, with the metric of the ambient space:
        ``Sphere``, ``Stiefel``, ``Oblique``, ``Euclidean``, ``Symmetric`` and their like.

    Returns
    -------
    RiemannianSubmersion
        Frozen and picklable; points are numpy arrays ``(..., *shape)``.

    Raises
    ------
    ValueError
        If the manifold is of another kind; the message says why.

    See Also
    --------
    dlngeom.geomstats.from_bundle : The same for fiber bundles of geomstats.
    dlngeom.langevin.riemannian_langevin : Sampler that takes the result.
    dlngeom.flow.gradient_flow : Flow that takes the result.

    Notes
    -----
    Retractions are of second order: ``exp`` where the manifold has one, else its retraction at
    ``V - P c''(0) / 2``, with the acceleration ``c''`` from differences of ``c(t) = R(t V)``.
    Without a group, the equation (12.3) of Menon, *The geometry of the deep linear network*, is
    the Langevin equation (10.5).
    """
    if not isinstance(manifold, RiemannianSubmanifold):
        raise ValueError(f"{_kind(manifold)}: it is no RiemannianSubmanifold of pymanopt")
    with _seeded(0):
        points = [manifold.random_point() for _ in range(3)]
        reason = _misfit(manifold, points[0])
        if reason:
            raise ValueError(f"{manifold}: {reason}")
        V = manifold.random_tangent_vector(points[0])
    exact = _is_second_order(manifold, points[0], V)
    together = frozenset(method for method in _METHODS if _takes_batches(manifold, method, points))
    is_complex = any(np.iscomplexobj(x) for x in points)
    shape = points[0].shape
    return _EmbeddedManifold(manifold, shape, exact, together, is_complex, _name(manifold))


@dataclass(frozen=True, repr=False)
class _EmbeddedManifold(RiemannianSubmersion):
    """Submersion of :func:`from_manifold`: the identity of an embedded manifold."""

    manifold: Any = field(compare=False)
    shape: tuple[int, ...]
    exact: bool
    together: frozenset[str]
    complex: bool
    name: str

    def __repr__(self) -> str:
        return self.name

    @property
    def dim(self) -> int:
        """Dimension of the manifold."""
        return int(self.manifold.dim)

    @property
    def dim_base(self) -> int:
        """Dimension of the manifold."""
        return self.dim

    @property
    def dim_orbit(self) -> int:
        """Dimension zero of the orbits, which are points."""
        return 0

    def check_point(self, point: Any) -> Array:
        """Return a point that is on the manifold.

        Raises
        ------
        ValueError
            If its shape or dtype is another, an entry is not finite, or it is off the manifold.
        """
        if not isinstance(point, np.ndarray):
            raise TypeError(f"the point is a {type(point).__name__}: it must be an array of numpy")
        shape = tuple(point.shape)
        if shape[len(shape) - len(self.shape) :] != self.shape or len(shape) < len(self.shape):
            raise ValueError(f"the point has shape {shape}: it must end in {self.shape}")
        if not (self.complex and point.dtype.kind == "c"):
            checks.floating("the point", point)
        checks.finite("the point", point)
        if 0 not in point.shape:
            self._require_on_manifold(point)
        return point

    def _require_on_manifold(self, point: Array) -> None:
        limit = checks.relative_tolerance(point)
        with np.errstate(all="ignore"):
            for off in _distances_off(self, point):
                if not off <= limit:
                    raise ValueError(
                        f"the point is not on {self.manifold}: off by {off:.2g} relative, allowed "
                        f"{limit:g}; start from one that is, such as random_point gives"
                    )

    def random_point(self, rng: Seed, batch: tuple[int, ...] = ()) -> Array:
        """Random points of pymanopt."""
        with _seeded(rng):
            points = [self.manifold.random_point() for _ in range(math.prod(batch))]
        return np.asarray(points).reshape(*batch, *self.shape)

    def project(self, point: Array) -> Array:
        """Return a copy of the point, since an energy may change its argument."""
        return np.array(point)

    def differential(self, point: Array, vector: Array) -> Array:
        """Return the vector itself."""
        return vector

    def codifferential(self, point: Array, covector: Array) -> Array:
        """Tangent part of a covector."""
        return self.tangent_projection(point, covector)

    def tangent_projection(self, point: Array, vector: Array) -> Array:
        """Projection of pymanopt."""
        return self._each("projection", point, vector)

    def vertical_projection(self, point: Array, vector: Array) -> Array:
        """Zero: nothing is vertical."""
        return 0 * vector

    def retraction(self, point: Array, vector: Array, *, order: int = 2) -> Array:
        """Exponential map, or a corrected retraction."""
        if self.exact:
            return self._each("exp", point, vector)
        direction = vector if order == 1 else self._corrected(point, vector)
        return self._each("retraction", point, direction)

    def orbit_point(self, point: Array, rng: Seed) -> Array:
        """Return the point itself."""
        return point

    def log_orbit_volume(self, point: Array) -> Array:
        """Zero: an orbit is one point."""
        return np.zeros(point.shape[: point.ndim - len(self.shape)])

    def _corrected(self, point: Array, vector: Array) -> Array:
        """Subtract half of the tangential acceleration of the retraction along a vector."""
        length, size = self._length(vector), self._length(point)
        step = _STEP * np.where(size > 0, size, 1) / np.where(length > 0, length, 1)
        ahead, behind = (self._each("retraction", point, s * vector) for s in (step, -step))
        bend = self._each("projection", point, ahead + behind - 2 * point)
        corrected: Array = vector - bend / (2 * step**2)
        return corrected

    def _length(self, vector: Array) -> Array:
        axes = tuple(range(-len(self.shape), 0))
        return np.asarray(np.sqrt(np.sum(np.abs(vector) ** 2, axis=axes, keepdims=True)))

    def _each(self, method: str, point: Array, vector: Array) -> Array:
        """Call a method for each chain, or for all at once where that gives the same."""
        point, vector = np.broadcast_arrays(point, vector)
        # One memory layout, on which the order of sums and so the last bits depend.
        flat = [np.ascontiguousarray(x).reshape(-1, *self.shape) for x in (point, vector)]
        call = getattr(self.manifold, method)
        if method in self.together:
            return np.asarray(call(*flat)).reshape(point.shape)
        values = [call(x, V) for x, V in zip(*flat, strict=True)]
        return np.asarray(values).reshape(point.shape)


def _distances_off(space: _EmbeddedManifold, point: Array) -> Iterator[float]:
    """How far points are from a manifold, relative to their size, by what holds on it.

    A retraction of zero leaves them where they are; where it only adds, the manifold is flat and
    differences of points are tangent; projections on tangent spaces are idempotent.
    """
    known, noise = space.random_point(0), np.random.default_rng(0).standard_normal(space.shape)
    size = np.maximum(space._length(point), np.finfo(point.dtype).tiny)

    def largest(gap: Array) -> float:
        return float(np.max(space._length(gap), initial=0.0))

    if _works(space.manifold.retraction, known, 0 * known):
        yield largest((space._each("retraction", point, 0 * point) - point) / size)
        step = space.tangent_projection(known, noise)
        if np.array_equal(space._each("retraction", known, step), known + step):
            apart = point - known
            yield largest((space.tangent_projection(known, apart) - apart) / size)
    tangent = space.tangent_projection(point, noise) / space._length(noise)
    yield largest(space.tangent_projection(point, tangent) - tangent)


@contextmanager
def _seeded(rng: Seed) -> Iterator[None]:
    """Seed the global state of numpy, which pymanopt draws from, and restore it afterwards."""
    # All of this is legacy, and there is no other way to seed pymanopt.
    # One thread at a time: the state is shared by all spaces of the process.
    with _GLOBAL_STATE:
        state = np.random.get_state()  # noqa: NPY002
        np.random.seed(as_generator(rng).integers(2**32))  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002


def _misfit(manifold: Any, point: Any) -> str | None:
    """Say why a manifold does not fit, from a random point and two tangent vectors."""
    if not isinstance(point, np.ndarray):
        return f"its points are {type(point).__name__}, not arrays"
    first, second = (manifold.random_tangent_vector(point) for _ in range(2))
    images = (manifold.embedding(point, first), manifold.projection(point, first))
    if not all(x.shape == point.shape and np.allclose(x, first) for x in images):
        return "its tangent vectors are not ambient vectors"
    for V in (first, second):
        if not np.isclose(manifold.inner_product(point, first, V), np.vdot(first, V).real):
            return "its metric is not the Euclidean one of the ambient space"
    if not any(_works(getattr(manifold, move), point, first) for move in ("exp", "retraction")):
        return "it has neither exp nor retraction"
    return None


def _works(method: Callable[[Any, Any], Any], point: Array, vector: Array) -> bool:
    """Whether a method is implemented."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            method(point, vector)
    except NotImplementedError:
        return False
    return True


def _is_second_order(manifold: Any, point: Array, vector: Array) -> bool:
    """Whether ``exp`` is implemented, and has the derivatives of a geodesic: not all do."""
    if isinstance(manifold, RetrAsExpMixin) or not _works(manifold.exp, point, vector):
        return False
    size = float(np.linalg.norm(point)) or 1.0
    V = vector / np.linalg.norm(vector)
    step = 1e-3 * size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ahead, behind = (manifold.exp(point, s * V) for s in (step, -step))
    bend = manifold.projection(point, ahead + behind - 2 * point) / step**2
    velocity = (ahead - behind) / (2 * step)
    return bool(np.linalg.norm(velocity - V) < 1e-3 and np.linalg.norm(bend) * size < 1e-3)


def _takes_batches(manifold: Any, method: str, points: list[Array]) -> bool:
    """Whether a method gives for stacked points what it gives for each of them."""
    call, rng = getattr(manifold, method), np.random.default_rng(0)
    # Vectors with normal parts and of unequal lengths, which expose sums over all chains.
    vectors = [rng.standard_normal(x.shape) for x in points]
    if method != "projection":
        vectors = [manifold.projection(x, V) for x, V in zip(points, vectors, strict=True)]
    try:
        expected = np.stack([call(x, V) for x, V in zip(points, vectors, strict=True)])
        found = np.asarray(call(np.stack(points), np.stack(vectors)))
    except Exception:  # A method may fail in any way on shapes that it was not made for.
        return False
    return found.shape == expected.shape and np.allclose(found, expected, rtol=1e-12, atol=1e-13)


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _name(manifold: Any) -> str:
    """Name a manifold for checkpoints; the names of pymanopt leave out parameters."""
    try:
        mark = hashlib.sha256(pickle.dumps(manifold)).hexdigest()[:12]
    except (pickle.PicklingError, AttributeError, TypeError):
        mark = hex(id(manifold))
    return f"from_manifold({manifold}, {_kind(manifold)}, {mark})"
