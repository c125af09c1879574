"""Manifolds of pymanopt as submersions: embedded ones, and quotients by rotations."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, Seed, as_generator, constant
from dlngeom._lib.orbits import adjoint, log_pair_means, solve_lyapunov
from dlngeom._lib.stiefel import log_orthogonal_volume, log_unitary_volume, random_frame
from dlngeom.submersion import RiemannianSubmersion

__all__ = [
    "EmbeddedManifold",
    "RotationQuotient",
    "rotation_part",
    "seeded",
    "works",
]

_GLOBAL_STATE = threading.RLock()
# Step of the central differences of a retraction, relative to the point.
_STEP = 1e-4


@dataclass(frozen=True, repr=False)
class EmbeddedManifold(RiemannianSubmersion):
    """Submersion of :func:`from_manifold`: the identity of an embedded manifold."""

    manifold: Any = field(compare=False)
    shape: tuple[int, ...]
    complex: bool
    name: str
    moves: str = "corrected"
    together: frozenset[str] = frozenset()

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
        with seeded(rng):
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
        return self.each("projection", point, vector)

    def vertical_projection(self, point: Array, vector: Array) -> Array:
        """Zero: nothing is vertical."""
        return 0 * vector

    def retraction(self, point: Array, vector: Array, *, order: int = 2) -> Array:
        """Exponential map, or a retraction, corrected where it is of first order."""
        if self.moves == "exp":
            return self.each("exp", point, vector)
        corrects = order > 1 and self.moves == "corrected"
        direction = self._corrected(point, vector) if corrects else vector
        return self.each("retraction", point, direction)

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
        ahead, behind = (self.each("retraction", point, s * vector) for s in (step, -step))
        bend = self.tangent_projection(point, ahead + behind - 2 * point)
        corrected: Array = vector - bend / (2 * step**2)
        return corrected

    def _length(self, vector: Array) -> Array:
        axes = tuple(range(-len(self.shape), 0))
        return np.asarray(np.sqrt(np.sum(np.abs(vector) ** 2, axis=axes, keepdims=True)))

    def each(self, method: str, point: Array, vector: Array) -> Array:
        """Call a method for each chain, or for all at once where that gives the same."""
        point, vector = np.broadcast_arrays(point, vector)
        # One memory layout, on which the order of sums and so the last bits depend.
        flat = [np.ascontiguousarray(x).reshape(-1, *self.shape) for x in (point, vector)]
        call = getattr(self.manifold, method)
        if method in self.together:
            return np.asarray(call(*flat)).reshape(point.shape)
        values = [call(x, V) for x, V in zip(*flat, strict=True)]
        return np.asarray(values).reshape(point.shape)


@dataclass(frozen=True, repr=False)
class RotationQuotient(EmbeddedManifold):
    r"""Submersion of :func:`from_manifold`: matrices over the products with their adjoints.

    .. math:: \phi(X) = X X^*, \qquad X \mapsto X Q

    Its group is ``O_p`` or ``U_p``, and the volume of an orbit depends on the singular values.
    """

    @property
    def dim(self) -> int:
        """Dimension upstairs."""
        return self.dim_base + self.dim_orbit

    @property
    def dim_base(self) -> int:
        """Dimension of the manifold."""
        return int(self.manifold.dim)

    @property
    def dim_orbit(self) -> int:
        """Dimension of the group."""
        p, copies = self.shape[-1], math.prod(self.shape[:-2])
        return copies * (p * p if self.complex else p * (p - 1) // 2)

    def project(self, point: Array) -> Array:
        """Product ``X X^*``."""
        return point @ adjoint(point)

    def differential(self, point: Array, vector: Array) -> Array:
        """Hermitian ``V X^* + X V^*``."""
        half = vector @ adjoint(point)
        return half + adjoint(half)

    def codifferential(self, point: Array, covector: Array) -> Array:
        """Horizontal part of ``(G + G^*) X``."""
        return self.each("projection", point, (covector + adjoint(covector)) @ point)

    def tangent_projection(self, point: Array, vector: Array) -> Array:
        """Projection of pymanopt, which is horizontal, and a rotation."""
        return self.each("projection", point, vector) + self.vertical_projection(point, vector)

    def vertical_projection(self, point: Array, vector: Array) -> Array:
        """Rotation ``X A``."""
        return rotation_part(point, vector)

    def orbit_point(self, point: Array, rng: Seed) -> Array:
        """Uniform random factor."""
        p, batch = self.shape[-1], tuple(point.shape[:-2])
        values, q = np.linalg.eigh(point)
        root = q[..., -p:] * np.sqrt(np.maximum(values[..., None, -p:], 0))
        if self.complex:
            x = as_generator(rng).standard_normal((2, *batch, p, p))
            u, _, vt = np.linalg.svd(x[0] + 1j * x[1])
            return np.asarray(root @ constant(u @ vt, point))
        return np.asarray(root @ constant(random_frame(rng, p, p, batch), point))

    def log_orbit_volume(self, point: Array) -> Array:
        """Entropy by the squares of singular values."""
        p, copies = self.shape[-1], len(self.shape) - 2
        values = np.maximum(np.linalg.eigvalsh(point)[..., -p:], 0)
        volume = log_pair_means(values) + log_orthogonal_volume(p)
        if self.complex:
            phases = np.sum(np.log(values), axis=-1) / 2
            volume = 2 * log_pair_means(values) + phases + log_unitary_volume(p)
        return np.asarray(np.sum(volume, axis=tuple(range(-copies, 0))))


def rotation_part(point: Array, vector: Array) -> Array:
    """Nearest vector ``X A`` to a given one, with ``A`` antisymmetric or skew-Hermitian."""
    inside = adjoint(point) @ vector
    return point @ solve_lyapunov(adjoint(point) @ point, inside - adjoint(inside), -1)


def _distances_off(space: EmbeddedManifold, point: Array) -> Iterator[float]:
    """How far points are from a manifold, relative to their size, by what holds on it.

    A retraction of zero leaves them where they are; where it only adds, the manifold is flat and
    differences of points are tangent; projections on tangent spaces are idempotent.
    """
    known, noise = space.random_point(0), np.random.default_rng(0).standard_normal(space.shape)
    size = np.maximum(space._length(point), np.finfo(point.dtype).tiny)

    def largest(gap: Array) -> float:
        return float(np.max(space._length(gap), initial=0.0))

    if works(space.manifold.retraction, known, 0 * known):
        yield largest((space.each("retraction", point, 0 * point) - point) / size)
        step = space.tangent_projection(known, noise)
        if np.array_equal(space.each("retraction", known, step), known + step):
            apart = point - known
            yield largest((space.tangent_projection(known, apart) - apart) / size)
    tangent = space.tangent_projection(point, noise) / space._length(noise)
    yield largest(space.tangent_projection(point, tangent) - tangent)


@contextmanager
def seeded(rng: Seed) -> Iterator[None]:
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


def works(method: Callable[[Any, Any], Any], point: Array, vector: Array) -> bool:
    """Whether a method is implemented."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            method(point, vector)
    except NotImplementedError:
        return False
    return True
