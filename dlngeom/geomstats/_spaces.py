"""End-to-end matrices as manifolds of geomstats: as matrices, and as vectors of their entries."""

from __future__ import annotations

import geomstats.backend as gs
from geomstats.geometry.manifold import Manifold
from geomstats.geometry.matrices import Matrices

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, eps, namespace
from dlngeom.geomstats._forms import Form, as_array, random_seed
from dlngeom.geomstats._metrics import DeepLinearMetric
from dlngeom.points import dense
from dlngeom.points._covectors import components

__all__ = ["DeepLinearCoordinates", "EndToEndMatrices"]


class _EndToEndShapes(Manifold):  # type: ignore[misc]
    """Matrices of one shape and rank, stored in a given form."""

    def __init__(self, form: Form, shape: tuple[int, ...], equip: bool) -> None:
        self.form = form
        dim = form.rank * (form.m + form.n - form.rank)
        super().__init__(dim=dim, shape=shape, intrinsic=form.open, equip=equip)

    def default_metric(self) -> tuple[type, dict[str, float]]:
        """Metric ``g^N`` of the depth of the space."""
        return DeepLinearMetric, {"depth": self.form.depth}

    def belongs(self, point: Array, atol: float = gs.atol) -> Array:
        """Whether points have the shape and the rank, up to ``atol``."""
        point = as_array(point)
        batch = point.shape[: -self.point_ndim]
        if tuple(point.shape[-self.point_ndim :]) != self.shape:
            return gs.zeros(batch, dtype=bool)
        W = self.form.matrices(point)
        xp = namespace(W)
        # A matrix that is not finite counts as zero, which has no rank.
        s = xp.linalg.svdvals(xp.where(xp.isfinite(W), W, xp.zeros_like(W)))
        finite = xp.all(xp.isfinite(W), axis=(-2, -1))
        smallest = max(W.shape[-2:]) * eps(s) * s[..., 0]
        belongs = finite & (s[..., self.form.rank - 1] > smallest)
        if self.form.rank < s.shape[-1]:
            belongs = belongs & (s[..., self.form.rank] <= atol)
        return belongs

    def is_tangent(
        self, vector: Array, base_point: Array | None = None, atol: float = gs.atol
    ) -> Array:
        """Whether vectors lie in the tangent space, up to ``atol``."""
        vector = as_array(vector)
        gap = gs.abs(vector - self.to_tangent(vector, base_point))
        return gs.all(gap <= atol, axis=tuple(range(-self.point_ndim, 0)))

    def to_tangent(self, vector: Array, base_point: Array | None = None) -> Array:
        r"""Project vectors on the tangent space.

        .. math:: Z - (I - UU^T) Z (I - VV^T)
        """
        vector = as_array(vector)
        if self.form.open:
            batch = vector.shape if base_point is None else as_array(base_point).shape
            return gs.broadcast_to(vector, batch) if len(batch) > vector.ndim else gs.copy(vector)
        if base_point is None:
            raise ValueError("base_point=None: below full rank the tangent space depends on it")
        point = self.form.point(base_point)
        return self.form.array(dense((point, components(point, self.form.matrices(vector)))))

    def projection(self, point: Array) -> Array:
        """Nearest matrix of the rank; where singular values vanish, a matrix close to it."""
        W = self.form.matrices(as_array(point))
        checks.matrix("the point", W)
        checks.finite("the point", W)
        xp = namespace(W)
        u, s, vt = xp.linalg.svd(W, full_matrices=False)
        r = self.form.rank
        lowest = xp.where(s[..., :1] > 0, gs.atol * s[..., :1], gs.atol * xp.ones_like(s[..., :1]))
        s = xp.maximum(s[..., :r], lowest)
        return self.form.array((u[..., :r] * s[..., None, :]) @ vt[..., :r, :])

    def random_point(self, n_samples: int = 1, bound: float = 1.0) -> Array:
        """Uniform singular vectors; singular values of the layers uniform in ``(0, bound]``."""
        batch = () if n_samples == 1 else (n_samples,)
        point = self.form.space.random_point(random_seed(), batch)
        size = bound ** (1.0 if self.form.depth == float("inf") else self.form.depth)
        return self.form.array(as_array(size * dense(point)))

    def riemannian_gradient(self, euclidean_gradient: Array, base_point: Array) -> Array:
        """Riemannian gradient of the metric that the space is equipped with."""
        return self.metric.riemannian_gradient(euclidean_gradient, base_point)


class EndToEndMatrices(_EndToEndShapes):
    r"""Matrices ``(m, n)`` of one rank, with the metric ``g^N``.

    .. math:: \{ W \in \mathbb{R}^{m \times n} : \mathrm{rank}\, W = r \}, \qquad
              \dim = r (m + n - r)

    Parameters
    ----------
    m, n : int
        Rows and columns.
    rank : int
        Between 1 and ``min(m, n)``.
    depth : int or inf
        Number of layers; ``inf`` for square matrices of full rank.
    equip : bool
        Whether to equip the space with :class:`DeepLinearMetric`.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    dlngeom.geomstats.BalancedMatrices : The balanced networks above.
    dlngeom.geomstats.DeepLinearCoordinates : Matrices of full rank as vectors of their entries.
    dlngeom.EndToEndGeometry : The same manifold for flows and samplers.
    dlngeom.pymanopt.EndToEnd : The same manifold for pymanopt.

    Notes
    -----
    Points are arrays ``(..., m, n)``.  ``ToTangentSpace`` of geomstats takes square matrices
    alone; :class:`DeepLinearCoordinates` has others as vectors.  Equations (4.17) and (4.20) and
    Theorem 3 of Menon, *The geometry of the deep linear network*.
    """

    def __init__(self, m: int, n: int, rank: int, depth: float, equip: bool = True) -> None:
        m, n = checks.integer("m", m, 1), checks.integer("n", n, 1)
        form = Form(m, n, rank, depth)
        self.embedding_space = Matrices(m, n, equip=False)
        super().__init__(form, (m, n), equip)

    def new(self, equip: bool = True) -> EndToEndMatrices:
        """Make another space of the same parameters."""
        form = self.form
        return EndToEndMatrices(form.m, form.n, form.rank, form.depth, equip=equip)


class DeepLinearCoordinates(_EndToEndShapes):
    r"""Matrices of full rank as vectors of their entries, for tools that need coordinates.

    .. math:: x = (W_{11}, W_{12}, \dots, W_{dn}) \in \mathbb{R}^{d n}, \qquad
              \mathrm{rank}\, W = \min(d, n)

    Parameters
    ----------
    width : int
        Rows ``d``.
    depth : int or inf
        Number of layers; ``inf`` for square matrices.
    equip : bool
        Whether to equip the space with :class:`DeepLinearMetric`.
    columns : int, optional
        Columns ``n``; ``d`` by default.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    dlngeom.geomstats.EndToEndMatrices : The same matrices as matrices, of any shape and rank.
    dlngeom.langevin.brownian_motion : Brownian motion of any shape and rank.

    Notes
    -----
    Points are arrays ``(..., d n)`` of intrinsic coordinates, so ``BrownianMotion`` of geomstats
    runs on it.  Its generator is ``Delta / 2``, that of ``beta=2`` here.  The metric is (4.17) of
    Menon, *The geometry of the deep linear network*.
    """

    def __init__(
        self, width: int, depth: float, equip: bool = True, *, columns: int | None = None
    ) -> None:
        m = checks.integer("width", width, 1)
        n = m if columns is None else checks.integer("columns", columns, 1)
        super().__init__(Form(m, n, min(m, n), depth, flat=True), (m * n,), equip)

    def new(self, equip: bool = True) -> DeepLinearCoordinates:
        """Make another space of the same parameters."""
        form = self.form
        return DeepLinearCoordinates(form.m, form.depth, equip=equip, columns=form.n)

    def to_matrix(self, point: Array) -> Array:
        """Matrices ``(..., d, n)`` of points or vectors."""
        return self.form.matrices(as_array(point))

    def to_vector(self, matrix: Array) -> Array:
        """Inverse of :meth:`to_matrix`."""
        return self.form.array(as_array(matrix))
