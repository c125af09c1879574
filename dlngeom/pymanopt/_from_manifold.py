"""Manifolds of pymanopt as submersions, for flows and samplers: which are taken, and how."""

from __future__ import annotations

import hashlib
import pickle
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from pymanopt.manifolds import FixedRankEmbedded
from pymanopt.manifolds.manifold import Manifold, RetrAsExpMixin, RiemannianSubmanifold
from pymanopt.manifolds.product import Product

from dlngeom._lib.arrays import Array
from dlngeom._lib.orbits import adjoint
from dlngeom.pymanopt._ambient import AmbientMatrices, AmbientVectors, HorizontalVectors
from dlngeom.pymanopt._given_manifolds import (
    EmbeddedManifold,
    RotationQuotient,
    seeded,
    works,
)
from dlngeom.pymanopt._product_space import ProductSpace
from dlngeom.pymanopt._quotient import Quotient
from dlngeom.submersion import RiemannianSubmersion
from dlngeom.submersion._offers import HasBasePoint

__all__ = ["from_manifold"]

_CROOKED = "its projection is not the orthogonal one on its tangent vectors"
_NEITHER = (
    "it is no RiemannianSubmanifold of pymanopt, nor a quotient of matrices by rotations from the "
    "right"
)


def from_manifold(manifold: Any) -> RiemannianSubmersion:
    r"""Turn a manifold of pymanopt into a submersion: an embedded one, a quotient or a product.

    .. math:: \phi(x) = x \quad\text{or}\quad \phi(X) = X X^*

    Parameters
    ----------
    manifold : pymanopt.manifolds.manifold.Manifold
        With the metric of the ambient space: embedded (``Sphere``, ``Stiefel``, ``Oblique``,
        ``SpecialOrthogonalGroup``, ``FixedRankEmbedded`` and their like, over themselves), a
        quotient by the orthogonal or unitary group from the right (``Grassmann``,
        ``PSDFixedRank``, ``Elliptope``, complex ones, over ``X X^*``), a ``Product`` of such, or a
        :class:`Quotient`, which gives its space back.

    Returns
    -------
    RiemannianSubmersion
        Frozen and picklable; points are numpy arrays ``(..., *shape)``, dense ones for matrices of
        fixed rank, tuples of them for a product.

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
    Retractions are of second order, by differences of the curve ``c(t) = R(t V)`` at a random
    point: ``exp`` where it is a geodesic, else the retraction where its acceleration ``c''`` is
    normal, else the retraction at ``V - P c''(0) / 2``.  The guide has a table of all manifolds.
    Without a group, the equation (12.3) of Menon, *The geometry of the deep linear network*, is
    the Langevin equation (10.5).
    """
    if isinstance(manifold, Quotient):
        return manifold.space
    if isinstance(manifold, Product):
        return _product(manifold)
    if not isinstance(manifold, Manifold):
        raise ValueError(f"{_kind(manifold)}: it is no manifold of pymanopt")
    with seeded(0):
        ambient = _in_ambient_arrays(manifold)
        points = [ambient.random_point() for _ in range(3)]
        reason = _misfit(ambient, points[0])
    if reason:
        raise ValueError(f"{manifold}: {reason}")
    return _space(manifold, ambient, points)


def _product(manifold: Product) -> RiemannianSubmersion:
    try:
        spaces = tuple(from_manifold(x) for x in manifold.manifolds)
    except ValueError as error:
        raise ValueError(f"a factor of the product cannot be taken: {error}") from error
    for space in spaces:
        if isinstance(space, HasBasePoint):
            raise ValueError(
                f"a factor of the product cannot be taken: points under {space} are pairs"
            )
    return ProductSpace(spaces)


def _in_ambient_arrays(manifold: Manifold) -> Any:
    """Manifold whose points and vectors are ambient arrays, where it can be seen so."""
    if isinstance(manifold, FixedRankEmbedded):
        return AmbientMatrices(manifold)
    point = manifold.random_point()
    if not isinstance(point, np.ndarray):
        return manifold
    if not isinstance(manifold, RiemannianSubmanifold):
        matrices = point.ndim > 1 and works(manifold.euclidean_to_riemannian_gradient, point, point)
        return HorizontalVectors(manifold) if matrices else manifold
    V = manifold.random_tangent_vector(point)
    image = manifold.embedding(point, V)
    same = image.shape == point.shape and np.allclose(image, V)
    return manifold if same else AmbientVectors(manifold)


def _space(manifold: Manifold, ambient: Any, points: list[Array]) -> EmbeddedManifold:
    """Space of a manifold that fits, with the fastest way to move that is of second order."""
    is_complex = any(np.iscomplexobj(x) for x in points)
    kind = RotationQuotient if isinstance(ambient, HorizontalVectors) else EmbeddedManifold
    space = kind(ambient, points[0].shape, is_complex, _name(manifold))
    # Exponential maps of quotients are those of horizontal vectors alone.
    ways = ("retraction",) if kind is RotationQuotient else ("exp", "retraction")
    found = [way for way in ways if _is_second_order(manifold, space, way, points[0])]
    used = ("projection", found[0] if found else "retraction")
    together = frozenset(x for x in used if _takes_batches(ambient, x, points))
    return replace(space, moves=found[0] if found else "corrected", together=together)


def _misfit(manifold: Any, point: Any) -> str | None:
    """Say why a manifold does not fit, from a random point and two tangent vectors."""
    if not isinstance(point, np.ndarray):
        return f"its points are {type(point).__name__}, not arrays"
    first, second = (manifold.random_tangent_vector(point) for _ in range(2))
    is_quotient = isinstance(manifold, HorizontalVectors)
    off = not is_quotient and not np.allclose(manifold.projection(point, first), first)
    # Vectors of another form reach the metric by the projection.
    if off and isinstance(manifold, AmbientVectors):
        return _CROOKED
    for V in (first, second):
        if not np.isclose(manifold.inner_product(point, first, V), np.vdot(first, V).real):
            return "its metric is not the Euclidean one of the ambient space"
    if not isinstance(manifold, (RiemannianSubmanifold, AmbientVectors)) or (
        is_quotient and not _is_rotation_quotient(manifold, point)
    ):
        return _NEITHER
    if off or not _is_orthogonal(manifold, point):
        return _CROOKED
    if not any(works(getattr(manifold, move), point, first) for move in ("exp", "retraction")):
        return "it has neither exp nor retraction"
    return None


def _noise(point: Array) -> Array:
    """Gaussian ambient vector, drawn as pymanopt draws."""
    x, y = (np.random.standard_normal(point.shape) for _ in range(2))  # noqa: NPY002
    return x + 1j * y if np.iscomplexobj(point) else x


def _is_orthogonal(manifold: Any, point: Array) -> bool:
    """Whether a projection is idempotent and symmetric."""
    vectors = [_noise(point) for _ in range(2)]
    images = [manifold.projection(point, V) for V in vectors]
    crossed = np.vdot(vectors[0], images[1]) - np.vdot(images[0], vectors[1])
    again = manifold.projection(point, images[0])
    return bool(np.allclose(again, images[0]) and abs(crossed.real) < 1e-8)


def _is_rotation_quotient(manifold: Any, point: Array) -> bool:
    """Whether rotations from the right are symmetries of the projection and the retraction."""
    V = manifold.projection(point, _noise(point))
    q = np.linalg.svd(adjoint(point) @ _noise(point))[0]
    for method, W in ((manifold.projection, _noise(point)), (manifold.retraction, V)):
        if not works(method, point, W):
            return False
        if not np.allclose(method(point @ q, W @ q), method(point, W) @ q):
            return False
    return True


def _is_second_order(manifold: Manifold, space: EmbeddedManifold, way: str, point: Array) -> bool:
    """Whether a way to move is implemented, and has the derivatives of a geodesic: not all do."""
    if way == "exp" and isinstance(manifold, RetrAsExpMixin):
        return False
    with seeded(1):  # Not the seed of the point, which may be made of the same numbers.
        V = space.tangent_projection(point, _noise(point))
    if not works(getattr(space.manifold, way), point, V):
        return False
    size, V = (float(np.linalg.norm(point)) or 1.0), V / (np.linalg.norm(V) or 1.0)
    step = 1e-3 * size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ahead, behind = (space.each(way, point, s * V) for s in (step, -step))
    bend = space.tangent_projection(point, ahead + behind - 2 * point) / step**2
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
