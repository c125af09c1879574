"""End-to-end matrices with the depth-N metric as a manifold for pymanopt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from pymanopt.manifolds.manifold import Manifold
from pymanopt.tools import ndarraySequenceMixin
from scipy.sparse.linalg import svds

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, Seed, as_separate_generator, project_out
from dlngeom._lib.stiefel import random_frame, random_spectrum
from dlngeom.endtoend import _kernels, _lifts
from dlngeom.endtoend._kernels import Metric
from dlngeom.points import SVD, LowRank, Tangent, _covectors
from dlngeom.points._checks import check_svd, require_weights
from dlngeom.points._covectors import Covector
from dlngeom.pymanopt import _factor_derivatives
from dlngeom.pymanopt._collapse import Descent
from dlngeom.pymanopt._factor_derivatives import FactorTriple

__all__ = ["EndToEnd", "Point", "TangentVector", "ambient_direction", "unusable"]


class _Scalable(ndarraySequenceMixin):  # type: ignore[misc]
    """Arithmetic entry by entry, as on the points of pymanopt's own manifolds."""

    _make: Any

    def __mul__(self, other: float) -> Any:
        return self._make(other * x for x in self)

    __rmul__ = __mul__

    def __truediv__(self, other: float) -> Any:
        return self._make(x / other for x in self)

    def __neg__(self) -> Any:
        return self._make(-x for x in self)


class Point(_Scalable, SVD):  # type: ignore[misc]
    """Point ``(u, s, vt)`` of :class:`EndToEnd`, which keeps the weights of the metric.

    Parameters
    ----------
    u, s, vt : array (m, r), (r,), (r, n)
        Singular value decomposition of ``u diag(s) vt``.

    See Also
    --------
    dlngeom.pymanopt.TangentVector : Tangent vectors at a point.
    dlngeom.SVD : The tuple that it extends.
    """

    _weights: tuple[float, bytes, Metric | None] | None = None
    # The run that the point belongs to.
    _descent: Descent | None = None
    # Shapes of the manifold that has made or checked the point.
    _checked: tuple[tuple[int, ...], ...] | None = None

    def descent(self) -> Descent:
        """Return the run that the point belongs to, or begin one."""
        if self._descent is None:
            self._descent = Descent()
        return self._descent

    def metric(self, depth: float) -> Metric | None:
        """Weights of the metric of a given depth here, computed when first asked for."""
        # Arrays may be changed in place, and the weights with them.
        values = np.asarray(self.s).tobytes()
        if self._weights is None or self._weights[:2] != (depth, values):
            require_weights("s", self.s, depth)
            self._weights = (depth, values, _kernels.metric(self.s, depth))
        return self._weights[2]


class TangentVector(_Scalable, Tangent):  # type: ignore[misc]
    """Tangent vector ``(Up, M, Vp)`` of :class:`EndToEnd`, with arithmetic entry by entry.

    Parameters
    ----------
    Up, M, Vp : array (m, r), (r, r), (n, r)
        Parts of ``u M vt + Up vt + u Vp^T``, with ``u^T Up = 0`` and ``vt Vp = 0``.

    See Also
    --------
    dlngeom.pymanopt.Point : Points.
    dlngeom.Tangent : The tuple that it extends.
    """

    def __add__(self, other: Any) -> Any:
        return TangentVector(*(x + y for x, y in zip(self, other, strict=True)))

    def __sub__(self, other: Any) -> Any:
        return TangentVector(*(x - y for x, y in zip(self, other, strict=True)))


class _Direction(FactorTriple):
    """Direction in the factors of a point, and that point, without which it means nothing."""

    base: SVD


def ambient_direction(point: Sequence[Array], direction: Sequence[Array]) -> LowRank:
    r"""Ambient matrix of a direction in the factors, for hand-written Hessians.

    .. math:: Z = (u' \Sigma + u \Sigma')\, v^T + u \Sigma\, v'^T

    Parameters
    ----------
    point : (u, s, vt)
        Arrays ``(m, r)``, ``(r,)``, ``(r, n)``.
    direction : (u', s', vt')
        Arrays of the same shapes, as pymanopt passes them to a Euclidean Hessian.

    Returns
    -------
    LowRank
        ``Z`` with factors of ``2 r`` columns; ``dlngeom.dense`` forms the matrix.

    Raises
    ------
    ValueError
        If the shapes differ.

    See Also
    --------
    dlngeom.pymanopt.EndToEnd : The manifold whose Hessians receive such directions.
    dlngeom.points.dense : Forms the matrix.

    Notes
    -----
    The derivative of ``u diag(s) vt``, the SVD (5.17) of Menon, *The geometry of the deep linear
    network*.
    """
    x = SVD(*point)
    du, ds, dvt = _factor_derivatives.check_triple("direction", x, FactorTriple(*direction))
    U = np.concatenate([du * x.s + x.u * ds, x.u * x.s], axis=-1)
    V = np.concatenate([x.vt.T, dvt.T], axis=-1)
    return LowRank(U, np.eye(U.shape[-1], dtype=U.dtype), V)


class EndToEnd(Manifold):  # type: ignore[misc]
    r"""Matrices of fixed rank with the metric of the deep linear network of a given depth.

    .. math:: g^N(W)(Z, Z) = \mathrm{tr}(Z^T \mathcal{A}_{N,W}^{-1} Z)

    A drop-in for ``pymanopt.manifolds.FixedRankEmbedded``: a point is ``(u, s, vt)``, a tangent
    vector ``(Up, M, Vp)`` stands for ``u M vt + Up vt + u Vp^T``.  ``depth=1`` is the embedded
    geometry of that class.

    Parameters
    ----------
    m, n : int
        Shape of the matrices.
    rank : int
        Rank ``1 <= r <= min(m, n)``.
    depth : int or inf
        Number of layers; ``inf`` needs ``m = n = rank``.
    retraction : {"second-order", "projection"}
        A second-order retraction for ``g^N``, needed by TrustRegions for its fast local
        convergence, or the cheaper truncated SVD of ``W + Z``.
    rng : numpy.random.Generator or seed, optional
        Source of :meth:`random_point` and :meth:`random_tangent_vector`;
        a seed gives other numbers than ``numpy.random.default_rng`` makes of it.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    dlngeom.pymanopt.Balanced : The balanced networks above.
    dlngeom.endtoend.gradient : The same geometry as functions of arrays.
    dlngeom.geomstats.EndToEndMatrices : The same manifold for geomstats.

    Notes
    -----
    The metric is (4.16), the gradient that of Theorem 3 of Menon, *The geometry of the deep linear
    network*.

    In a product with other manifolds, TrustRegions needs :class:`Product` of this module; other
    optimizers work with pymanopt's own too.

    Euclidean gradients and Hessians may be factor triples ``(g_u, g_s, g_vt)`` from automatic
    differentiation, dense ``(m, n)`` arrays, scipy sparse arrays, a ``LinearOperator``, or
    low-rank tuples ``(U, S, V)`` with a two-dimensional ``S``.  No ``m x n`` matrix is formed.

    **Rank collapse.**  At depth two and more the metric has a boundary where a singular value
    vanishes, and descent can end there although the Euclidean gradient does not vanish: on square
    matrices of full rank where the determinants of start and minimum differ in sign, and where
    start and minimum have the same columns.  A run that ends so by the default tolerance of its
    optimizer warns once, by a RuntimeWarning; :meth:`aligned_point` is a better start.  A cost
    that is not smooth at lower rank, such as ``sum(s)``, may have its minimum where it warns.

    The one difference from ``FixedRankEmbedded`` is :meth:`embedding`: a Euclidean Hessian
    receives ``(u, s, vt, u', s', vt')``, see :func:`ambient_direction`.
    """

    def __init__(
        self,
        m: int,
        n: int,
        rank: int,
        depth: float,
        *,
        retraction: str = "second-order",
        rng: Seed = None,
    ) -> None:
        self._m, self._n = checks.integer("m", m, 1), checks.integer("n", n, 1)
        self._rank = checks.integer("rank", rank, 1, min(self._m, self._n))
        self._depth = checks.depth(depth)
        if self._depth == math.inf and not self._m == self._n == self._rank:
            raise ValueError(f"depth=inf needs m = n = rank, got {m}, {n}, {rank}")
        if retraction not in ("second-order", "projection"):
            raise ValueError(f"retraction={retraction!r}: 'second-order' or 'projection'")
        self._retraction = retraction
        self._shapes = ((self._m, self._rank), (self._rank,), (self._rank, self._n))
        self._rng = as_separate_generator(rng)
        name = f"End-to-end {m}x{n} matrices of rank {rank} with the metric of depth {depth}"
        dimension = (self._m + self._n - self._rank) * self._rank
        super().__init__(name, dimension, point_layout=3)

    @property
    def depth(self) -> float:
        """Number of layers."""
        return self._depth

    @property
    def rank(self) -> int:
        """Rank of the matrices."""
        return self._rank

    @property
    def typical_dist(self) -> float:
        r"""Scale of the manifold, from which TrustRegions takes its radii.

        .. math:: \sqrt{N r}

        the distance from zero of a matrix with ``r`` singular values one; at ``depth=1`` the
        dimension, as in ``FixedRankEmbedded``.
        """
        if self._depth == 1:
            return float(self.dim)
        layers = 1.0 if self._depth == math.inf else self._depth
        return math.sqrt(layers * self._rank)

    def inner_product(
        self, point: Sequence[Array], tangent_vector_a: Any, tangent_vector_b: Any
    ) -> float:
        """Inner product of two tangent vectors, the metric ``g^N`` of (4.17)."""
        at = self._metric(point)
        (Up, M, Vp), (other_Up, other_M, other_Vp) = tangent_vector_a, tangent_vector_b
        if at is None:
            return float(np.vdot(Up, other_Up) + np.vdot(M, other_M) + np.vdot(Vp, other_Vp))
        # Optimizers call this ten times a step, so it forms no array as large as a vector.
        columns = np.einsum("ij,ij->j", Up, other_Up) + np.einsum("ij,ij->j", Vp, other_Vp)
        return float(np.sum(M * other_M / at.core) + np.sum(columns / at.perpendicular))

    def norm(self, point: Sequence[Array], tangent_vector: Any) -> float:
        """Length of a tangent vector."""
        return math.sqrt(self.inner_product(point, tangent_vector, tangent_vector))

    def projection(
        self, point: Sequence[Array], vector: Covector | Sequence[Array]
    ) -> TangentVector:
        """Orthogonal (Frobenius) projection of an ambient matrix on the tangent space.

        The matrix may also be a direction in the factors, as :meth:`embedding` returns it.
        """
        x = self._at(point)
        if isinstance(vector, _Direction):
            vector = ambient_direction(vector.base, vector)
        elif isinstance(vector, (tuple, list)) and len(vector) == 3 and np.ndim(vector[1]) == 1:
            raise ValueError(
                "vector is a direction in the factors of an unknown point: pass what embedding "
                "returns as it is, or dlngeom.pymanopt.ambient_direction(point, direction)"
            )
        return TangentVector(*_covectors.components(x, self._covector("vector", vector)))

    def to_tangent_space(self, point: Sequence[Array], vector: Any) -> TangentVector:
        """Remove rounding errors: components of ``Up`` along ``u``, and of ``Vp`` along ``v``."""
        x, (Up, M, Vp) = self._at(point), vector
        return TangentVector(project_out(x.u, Up), M, project_out(x.vt.T, Vp))

    def embedding(self, point: Sequence[Array], tangent_vector: Any) -> FactorTriple:
        r"""Direction in the factors that moves ``(u * s) @ vt`` along a tangent vector.

        .. math:: u' = (u M + U_p) \Sigma^{-1}, \qquad s' = 0, \qquad v' = V_p \Sigma^{-1}
        """
        x, (Up, M, Vp) = self._at(point), tangent_vector
        direction = _Direction((x.u @ M + Up) / x.s, np.zeros_like(x.s), (Vp / x.s).T)
        direction.base = x
        return direction

    def euclidean_to_riemannian_gradient(
        self, point: Sequence[Array], euclidean_gradient: Any
    ) -> TangentVector:
        """Riemannian gradient ``A(E'(W))`` of a Euclidean gradient in any accepted form."""
        x, derivative = self._at(point), self._derivative("gradient", point, euclidean_gradient)
        if isinstance(derivative, FactorTriple):
            flat = _factor_derivatives.euclidean_gradient(x, derivative)
        else:
            flat = _covectors.components(x, derivative)
        _require_finite("gradient", flat)
        gradient = TangentVector(*_kernels.scaled(flat, x.metric(self._depth), 1.0))
        if self._depth > 1:
            x.descent().watch(x, flat, gradient, self._depth)
        return gradient

    def euclidean_to_riemannian_hessian(
        self,
        point: Sequence[Array],
        euclidean_gradient: Any,
        euclidean_hessian: Any,
        tangent_vector: Any,
    ) -> TangentVector:
        """Riemannian Hessian along a tangent vector, from derivatives in any accepted form."""
        x, Z = self._at(point), Tangent(*tangent_vector)
        G = self._derivative("gradient", point, euclidean_gradient)
        H = self._derivative("Hessian", point, euclidean_hessian)
        if isinstance(H, FactorTriple):
            if not isinstance(G, FactorTriple):
                G = (_covectors.apply(G, x.vt.T), _covectors.apply_transpose(G, x.u))
            return TangentVector(*_factor_derivatives.riemannian_hessian(x, Z, G, H, self._depth))
        if isinstance(G, FactorTriple):
            raise ValueError(
                "an ambient Euclidean Hessian needs an ambient Euclidean gradient: "
                "the factor gradient does not determine its derivative across the frames"
            )
        return TangentVector(*_kernels.hessian_of_covectors(x, Z, G, H, self._depth))

    def retraction(self, point: Sequence[Array], tangent_vector: Any) -> Point:
        """Move along a tangent vector and stay on the manifold."""
        x, Z = self._at(point), Tangent(*tangent_vector)
        x.metric(self._depth)  # It can be divided by, or an error says so.
        try:
            if self._retraction == "projection":
                u, s, vt = _kernels.truncated_svd(x, Z)
            else:
                u, s, vt = _lifts.second_order_retraction(x, Z, self._depth)
        except np.linalg.LinAlgError as error:
            raise ValueError(unusable(Z)) from error
        if not math.isfinite(s[0]):
            raise ValueError(unusable(Z))
        moved = self._ours(_keep_rank(u, s, vt, float(x.s[-1])))
        moved._descent = x.descent()
        moved._descent.moved = True
        return moved

    def transport(
        self, point_a: Sequence[Array], point_b: Sequence[Array], tangent_vector_a: Any
    ) -> TangentVector:
        """Vector transport that never lengthens a vector; projection at ``depth=1``."""
        a, b = self._at(point_a), self._at(point_b)
        here, there = self._metric(point_a), self._metric(point_b)
        return TangentVector(*_kernels.transport(a, b, Tangent(*tangent_vector_a), here, there))

    def log(self, point_a: Sequence[Array], point_b: Sequence[Array]) -> TangentVector:
        """Tangent vector ``P_a(b - a)``: inverse of the projection retraction to first order.

        Not the Riemannian logarithm; it serves derivative-free optimizers.
        """
        a, b = self._at(point_a), self._at(point_b)
        low_rank = LowRank(b.u * b.s, np.eye(b.s.shape[0], dtype=b.s.dtype), b.vt.T)
        Up, M, Vp = _covectors.components(a, low_rank)
        return TangentVector(Up, M - np.diag(a.s), Vp)

    def dist(self, point_a: Sequence[Array], point_b: Sequence[Array]) -> float:
        """Length of :meth:`log`: the Riemannian distance to first order, not symmetric."""
        return self.norm(point_a, self.log(point_a, point_b))

    def pair_mean(self, point_a: Sequence[Array], point_b: Sequence[Array]) -> Point:
        """Best approximation of rank ``r`` of ``a`` plus half of :meth:`log`."""
        half = Tangent(*(self.log(point_a, point_b) / 2))
        moved = _kernels.truncated_svd(self._at(point_a), half)
        return self._ours(_keep_rank(*moved, float(point_a[1][-1])))

    def random_point(self) -> Point:
        """Uniform singular vectors, singular values uniform in (0, 1) and sorted.

        With a seed, they are independent of data that ``numpy.random.default_rng`` drew of the same
        seed.  Their columns would else be those of such data, and half of the runs at depth two and
        three lost rank on the way to a Gaussian matrix of 6 x 5, where now none does.
        """
        u, v = (random_frame(self._rng, size, self._rank) for size in (self._m, self._n))
        return self._ours(Point(u, random_spectrum(self._rng, self._rank), v.T))

    def aligned_point(self, euclidean_gradient: Any, *, scale: float = 1.0) -> Point:
        r"""Return a point where descent goes down at once: frames of the gradient at zero.

        .. math:: W = c\, U V^T, \qquad -E'(0) = U \Sigma V^T \text{ (the largest } r)

        A start whose singular vectors fit those of the minimum does not lose rank on the way.

        Parameters
        ----------
        euclidean_gradient : array (m, n), sparse, LinearOperator or LowRank
            ``E'(0)``, at the matrix zero.
        scale : float
            All singular values ``c``; best no larger than those that are looked for.

        Returns
        -------
        Point
        """
        c = checks.positive("scale", scale)
        G, r, smaller = (
            self._covector("gradient", euclidean_gradient),
            self._rank,
            min(self._m, self._n),
        )
        if _covectors.is_operator(G) and r < smaller:
            u, s, vt = svds(G, k=r, v0=self._rng.standard_normal(smaller))
            u, s, vt = u[:, ::-1], s[::-1], vt[::-1]
        else:
            u, s, vt = np.linalg.svd(_covectors.to_dense(G), full_matrices=False)
        return self._ours(Point(-u[:, :r], np.full(r, c, dtype=s.dtype), vt[:r].copy()))

    def random_tangent_vector(self, point: Sequence[Array]) -> TangentVector:
        """Tangent vector of length one, uniform on the unit sphere of ``g^N``."""
        x = self._at(point)
        sizes = ((self._m, self._rank), (self._rank, self._rank), (self._n, self._rank))
        noise = TangentVector(*(self._rng.standard_normal(size) for size in sizes))
        flat = self.to_tangent_space(x, noise)
        vector = TangentVector(*_kernels.scaled(flat, self._metric(point), 0.5))
        return vector / self.norm(x, vector)  # type: ignore[no-any-return]

    def zero_vector(self, point: Sequence[Array]) -> TangentVector:
        """Zero of the tangent space."""
        x = self._at(point)
        return TangentVector(np.zeros_like(x.u), np.zeros((self._rank,) * 2), np.zeros_like(x.vt.T))

    def _metric(self, point: Sequence[Array]) -> Metric | None:
        return self._at(point).metric(self._depth)

    def _at(self, point: Sequence[Array]) -> Point:
        """Return a point of this manifold; one that it did not make itself is checked once."""
        if isinstance(point, Point) and point._checked == self._shapes:
            return point
        if isinstance(point, Tangent):
            raise ValueError("a tangent vector stands where a point (u, s, vt) is wanted")
        own = point if isinstance(point, Point) else Point(*point)
        found = tuple(tuple(np.shape(x)) for x in own)
        if found != self._shapes:
            raise ValueError(
                f"the point has shapes {found}: on this manifold they are {self._shapes}; "
                f"dlngeom.svd(W, {self._rank}) makes a point of a matrix"
            )
        check_svd(own)
        return self._ours(own)

    def _ours(self, point: Point) -> Point:
        point._checked = self._shapes
        return point

    def _covector(self, name: str, value: Any) -> Covector:
        if isinstance(value, (tuple, list)):
            value = LowRank(*value)
        if not isinstance(value, LowRank) and getattr(value, "ndim", 2) != 2:
            raise ValueError(f"the {name} has shape {np.shape(value)}: it must be a matrix")
        return _covectors.as_covector(name, value, self._m, self._n, check_finite=False)

    def _derivative(self, name: str, point: Sequence[Array], value: Any) -> Covector | FactorTriple:
        """Tell a factor triple from an ambient covector by its middle entry."""
        if isinstance(value, (tuple, list)) and not isinstance(value, LowRank):
            if len(value) != 3:
                raise ValueError(f"the Euclidean {name} has {len(value)} parts: it must have 3")
            if np.ndim(value[1]) != 2:
                triple = FactorTriple(*map(np.asarray, value))
                return _factor_derivatives.check_triple(name, self._at(point), triple)
        return self._covector(name, value)


def unusable(vector: Sequence[Array]) -> str:
    """Say what is wrong with a tangent vector that cannot be moved along."""
    if all(np.all(np.isfinite(x)) for x in vector):
        size = max(float(np.max(np.abs(x))) for x in vector)
        return f"the tangent vector has entries up to {size:.2g}: too long, shorten it"
    return (
        "the tangent vector has entries that are not finite: so has a derivative of the cost, "
        "or the cost itself"
    )


def _require_finite(name: str, Z: Tangent) -> None:
    """Reject derivatives whose tangent part is not finite."""
    # The squares of some finite entries overflow: those are looked at one by one.
    if not all(math.isfinite(np.vdot(x, x)) or np.all(np.isfinite(x)) for x in Z):
        raise ValueError(f"the Euclidean {name} has entries that are not finite")


def _keep_rank(u: Array, s: Array, vt: Array, smallest: float) -> Point:
    """Point whose singular values stay far enough from zero to divide by their squares.

    A start whose ``smallest`` is nearer to zero may stay there.
    """
    # Rank r is open and dense: a singular value of zero is an accident of rounding.
    least = min(np.finfo(s.dtype).tiny ** 0.5, smallest)
    return Point(u, np.maximum(s, max(np.finfo(s.dtype).eps ** 2 * s[0], least)), vt)
