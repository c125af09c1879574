"""Fiber bundles of geomstats as Riemannian submersions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import geomstats.backend as gs
import numpy as np
from geomstats.geometry.fiber_bundle import FiberBundle
from geomstats.geometry.group_action import (
    SpecialOrthogonalComposeAction,
)

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, Seed, as_generator, symmetric
from dlngeom._lib.stiefel import log_orthogonal_volume, random_frame
from dlngeom.geomstats._forms import as_array
from dlngeom.submersion import RiemannianSubmersion

__all__ = ["from_bundle"]


def from_bundle(total_space: Any) -> RiemannianSubmersion:
    r"""Turn a total space of geomstats, whose group rotates from the right, into a submersion.

    .. math:: \phi(X Q) = \phi(X), \qquad S = \tfrac12 \log \det \langle X A_i, X A_j \rangle
              + \log \mathrm{vol}\, O_m

    Parameters
    ----------
    total_space : geomstats.geometry.manifold.Manifold
        After ``equip_with_group_action`` and ``equip_with_quotient``, with the metric of its
        ambient matrices ``(k, m)``: ``PreShapeSpace`` with ``"rotations"``, or
        ``FullRankMatrices`` with ``SpecialOrthogonalComposeAction``.

    Returns
    -------
    RiemannianSubmersion
        Frozen and picklable; points upstairs are numpy arrays ``(..., k, m)``.

    Raises
    ------
    ValueError
        If the total space is of another kind, or the backend is not numpy; the message says why.

    See Also
    --------
    dlngeom.pymanopt.from_manifold : The same for embedded manifolds of pymanopt.
    dlngeom.langevin.riemannian_langevin : Sampler that takes the result.
    dlngeom.geomstats.BalancedBundle : The bundle of the deep linear network.

    Notes
    -----
    Where geomstats represents shapes by pre-shapes, ``phi(X) = X X^T``.  Its fibres are orbits of
    ``O_m``, each of which consists of two orbits of ``SO_m``: a shape and its mirror image become
    one point.  ``S`` counts both, and so exceeds the entropy for ``SO_m`` by ``log 2``; nothing
    else changes.  The ``A_i`` are orthonormal antisymmetric matrices.  The entropy is that of
    Section 12.1 of Menon, *The geometry of the deep linear network*.
    """
    if gs.__name__ != "geomstats.numpy":
        raise ValueError(f"the backend is {gs.__name__}: only the numpy backend is supported")
    kind = _kind(total_space)
    bundle = getattr(total_space, "fiber_bundle", None)
    if bundle is None:
        raise ValueError(f"{kind}: it has no fiber bundle, call equip_with_quotient first")
    space = _Bundle(total_space, f"from_bundle({kind}, {total_space.shape}, {_kind(bundle)})")
    reason = _misfit(space)
    if reason:
        raise ValueError(f"{space}: {reason}")
    return space


@dataclass(frozen=True, repr=False)
class _Bundle(RiemannianSubmersion):
    """Submersion of :func:`from_bundle`: matrices modulo orthogonal matrices from the right."""

    total_space: Any = field(compare=False)
    name: str

    def __repr__(self) -> str:
        return self.name

    @property
    def dim(self) -> int:
        """Dimension of the total space."""
        return int(self.total_space.dim)

    @property
    def dim_base(self) -> int:
        """Dimension of the total space less that of the group."""
        return self.dim - self.dim_orbit

    @property
    def dim_orbit(self) -> int:
        """Dimension ``m (m - 1) / 2`` of the group."""
        columns = int(self.total_space.shape[-1])
        return columns * (columns - 1) // 2

    @property
    def _bundle(self) -> Any:
        return self.total_space.fiber_bundle

    @property
    def _explicit(self) -> bool:
        """Whether geomstats has points downstairs, rather than representatives upstairs."""
        own = type(self._bundle).riemannian_submersion
        return own is not FiberBundle.riemannian_submersion

    def check_point(self, point: Any) -> Array:
        """Return a point of the total space.

        Raises
        ------
        ValueError
            If its shape or dtype is another, an entry is not finite, or it does not belong to it.
        """
        point = as_array(point)
        shape = tuple(self.total_space.shape)
        checks.matrix("the point", point)
        checks.shape("the point", point, shape)
        checks.finite("the point", point)
        if 0 in point.shape:
            return point
        limit = checks.relative_tolerance(point)
        belongs = np.asarray(_flat(partial(self.total_space.belongs, atol=limit), point))
        if not belongs.all():
            where = f"the point {int(np.argmin(belongs))}" if belongs.ndim else "the point"
            raise ValueError(
                f"{where} does not belong to {_kind(self.total_space)} up to {limit:g}: its "
                "projection gives one that does"
            )
        return point

    def random_point(self, rng: Seed, batch: tuple[int, ...] = ()) -> Array:
        """Projections of Gaussian matrices on the total space."""
        # geomstats would draw from the global state of numpy.
        ambient = as_generator(rng).standard_normal((*batch, *self.total_space.shape))
        return _flat(self.total_space.projection, ambient)

    def project(self, point: Array) -> Array:
        """Submersion of the bundle, or the Gram matrix ``X X^T``."""
        if self._explicit:
            return _flat(self._bundle.riemannian_submersion, point)
        return point @ point.mT

    def differential(self, point: Array, vector: Array) -> Array:
        """Differential of the bundle, or symmetric ``V X^T + X V^T``."""
        if self._explicit:
            return _flat(self._bundle.tangent_riemannian_submersion, vector, point)
        return 2 * symmetric(vector @ point.mT)

    def codifferential(self, point: Array, covector: Array) -> Array:
        """Pair the covector with the images of all ambient directions, or ``P (G + G^T) X``."""
        if not self._explicit:
            return self.tangent_projection(point, 2 * symmetric(covector) @ point)
        size = point.shape[-2] * point.shape[-1]
        basis = np.eye(size).reshape(size, *point.shape[-2:])
        points = np.broadcast_to(point[..., None, :, :], (*point.shape[:-2], *basis.shape))
        images = self.differential(points, self.tangent_projection(points, basis))
        pairs = np.sum(images * covector[..., None, :, :], axis=(-2, -1))
        return pairs.reshape(point.shape)

    def tangent_projection(self, point: Array, vector: Array) -> Array:
        """Projection of the total space."""
        return _flat(self.total_space.to_tangent, vector, point)

    def vertical_projection(self, point: Array, vector: Array) -> Array:
        """Projection of the bundle, for tangent vectors, after that of the total space."""
        tangent = self.tangent_projection(point, vector)
        return _flat(self._bundle.vertical_projection, tangent, point)

    def retraction(self, point: Array, vector: Array, *, order: int = 2) -> Array:
        """Exponential map of the total space."""
        return _flat(self.total_space.metric.exp, vector, point)

    def orbit_point(self, point: Array, rng: Seed) -> Array:
        """Point over a point downstairs, turned by a uniform random orthogonal matrix."""
        columns = self.total_space.shape[-1]
        turn = random_frame(as_generator(rng), columns, columns, point.shape[:-2])
        return self._lift(point) @ turn

    def log_orbit_volume(self, point: Array) -> Array:
        """Entropy, from the velocities ``X A`` of the group."""
        fields = _fundamental(self._lift(point))
        gram = np.einsum("...iab,...jab->...ij", fields, fields)
        return np.linalg.slogdet(gram).logabsdet / 2 + log_orthogonal_volume(
            int(self.total_space.shape[-1])
        )

    def _lift(self, point: Array) -> Array:
        """Find some point upstairs."""
        if self._explicit:
            return _flat(self._bundle.lift, point)
        columns = self.total_space.shape[-1]
        values, q = np.linalg.eigh(point)
        root = q[..., -columns:] * np.sqrt(np.maximum(values[..., None, -columns:], 0))
        # A small eigenvalue has an eigenvector that is not quite centred.
        return _flat(self.total_space.projection, root)


def _flat(function: Callable[..., Any], *arrays: Array) -> Array:
    """Call a function of geomstats, which takes one batch axis, with any number of them."""
    matrices = np.broadcast_arrays(*arrays)
    batch = matrices[0].shape[:-2]
    # One memory layout, on which the order of sums and so the last bits depend.
    flat = (np.ascontiguousarray(x).reshape(-1, *x.shape[-2:]) for x in matrices)
    values = np.asarray(function(*flat))
    return values.reshape((*batch, *values.shape[1:]))


def _fundamental(point: Array) -> Array:
    """Velocities ``X A`` ``(..., i, k, m)`` for an orthonormal basis of antisymmetric matrices."""
    columns = point.shape[-1]
    rows, others = np.triu_indices(columns, k=1)
    basis, index = np.zeros((len(rows), columns, columns)), np.arange(len(rows))
    basis[index, rows, others] = np.sqrt(0.5)
    basis[index, others, rows] = -np.sqrt(0.5)
    return point[..., None, :, :] @ basis


def _misfit(space: _Bundle) -> str | None:
    """Say why a total space does not fit, by tests at a random point."""
    total, rng = space.total_space, np.random.default_rng(0)
    x = space.random_point(rng)
    V, W = (total.to_tangent(rng.standard_normal(x.shape), x) for _ in range(2))
    inner = [(total.metric.inner_product(V, Z, x), np.sum(V * Z)) for Z in (V, W)]
    if not all(np.isclose(own, euclidean) for own, euclidean in inner):
        return "its metric is not the Euclidean one of the ambient space"
    action = getattr(total, "group_action", None)
    if not (action == "rotations" or isinstance(action, SpecialOrthogonalComposeAction)):
        return f"its group action is {action!r}, only rotations from the right are supported"
    if np.linalg.matrix_rank(x) < x.shape[-1]:
        return "its group action is not free, since reflections leave points where they are"
    fields = _fundamental(x)
    vertical = space.vertical_projection(np.broadcast_to(x, fields.shape), fields)
    if not np.allclose(vertical, fields):
        return "the vertical vectors of its bundle are not those of the group action"
    below, other = space.project(x), space.project(x * np.r_[-1, np.ones(x.shape[-1] - 1)])
    if below.ndim != 2 or not np.allclose(below, other):
        return "its submersion gives no matrices that reflections leave as they are"
    return None


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
