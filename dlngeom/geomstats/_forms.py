"""Forms in which geomstats stores end-to-end matrices, and their translation to our points."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import geomstats.backend as gs
import numpy as np
from geomstats.geometry.full_rank_matrices import FullRankMatrices
from geomstats.geometry.general_linear import GeneralLinear
from geomstats.geometry.spd_matrices import SPDMatrices

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, namespace, symmetric
from dlngeom._lib.door import plain
from dlngeom.dln import EndToEndGeometry, InfinitelyDeepNetwork
from dlngeom.points import SVD, svd
from dlngeom.points._checks import require_definite, require_rank, require_symmetric
from dlngeom.points._covectors import is_operator

__all__ = ["Form", "as_array", "broadcast", "form_of", "in_groups", "random_seed"]

# Entries of the matrices in one group of :func:`in_groups`.
_GROUP = 100_000


@dataclass(frozen=True)
class Form:
    """Shape and rank of matrices, and the form in which geomstats stores them.

    Attributes
    ----------
    m, n, rank : int
    depth : int or inf
    symmetric : bool
        Whether they are symmetric positive definite, so that an eigendecomposition is enough.
    flat : bool
        Whether points are vectors ``(..., m n)``, row by row.
    """

    m: int
    n: int
    rank: int
    depth: float
    symmetric: bool = False
    flat: bool = False

    def __post_init__(self) -> None:
        depth = checks.depth(self.depth)
        m, n = checks.integer("m", self.m, 1), checks.integer("n", self.n, 1)
        checks.integer("rank", self.rank, 1, min(m, n))
        if depth == math.inf and not self.m == self.n == self.rank:
            raise ValueError(
                f"depth=inf needs square matrices of full rank, not {self.m} x {self.n} of rank "
                f"{self.rank}"
            )

    @property
    def space(self) -> EndToEndGeometry | InfinitelyDeepNetwork:
        """The same matrices as a space for flows and geodesics."""
        if self.depth == math.inf:
            return InfinitelyDeepNetwork(self.n)
        return EndToEndGeometry(self.m, self.n, self.rank, int(self.depth))

    @property
    def open(self) -> bool:
        """Whether the entries are coordinates, all directions being tangent."""
        return self.rank == min(self.m, self.n) and not self.symmetric

    def matrices(self, x: Array) -> Array:
        """Matrices ``(..., m, n)`` of points or vectors."""
        if not self.flat:
            return x
        if x.ndim == 0 or x.shape[-1] != self.m * self.n:
            wanted = (self.m * self.n,)
            raise ValueError(
                f"the point or vector has shape {tuple(x.shape)}: it must end in {wanted}"
            )
        return namespace(x).reshape(x, (*x.shape[:-1], self.m, self.n))

    def array(self, matrices: Array) -> Array:
        """Inverse of :meth:`matrices`, exactly symmetric if ``symmetric`` is set."""
        if self.symmetric:
            return symmetric(matrices)
        if self.flat:
            return namespace(matrices).reshape(matrices, (*matrices.shape[:-2], self.m * self.n))
        return matrices

    def point(self, x: Array, *, ordered: bool = True) -> SVD:
        """Factorise points, with singular values in descending order if ``ordered`` is set.

        Raises
        ------
        ValueError
            If the shape or rank is another, or they are not symmetric or not positive definite
            where they must be.
        """
        W = self.matrices(as_array(x))
        checks.matrix("the point", W)
        checks.shape("the point", W, (self.m, self.n))
        if self.symmetric:
            return _eigenvectors(W, ordered)
        at = svd(W)
        require_rank("the point", at.s, self.rank, max(self.m, self.n))
        return SVD(at.u[..., : self.rank], at.s[..., : self.rank], at.vt[..., : self.rank, :])


def _eigenvectors(W: Array, ordered: bool) -> SVD:
    """Singular value decomposition of symmetric positive definite matrices."""
    checks.finite("the point", W)
    require_symmetric("the point", W)
    xp = namespace(W)
    s, u = xp.linalg.eigh(W)
    require_definite("the point", s)
    if ordered:
        order = xp.arange(W.shape[-1] - 1, -1, -1)
        s, u = xp.take(s, order, axis=-1), xp.take(u, order, axis=-1)
    return SVD(u, s, u.mT)


def form_of(space: Any, depth: float) -> Form:
    """Find the form of the points of a space.

    Raises
    ------
    ValueError
        If the metric is not defined on the space.
    """
    if isinstance(space, SPDMatrices):
        return Form(space.n, space.n, space.n, depth, symmetric=True)
    if isinstance(space, GeneralLinear):
        return Form(space.n, space.n, space.n, depth)
    if isinstance(space, FullRankMatrices):
        return Form(space.n, space.k, space.rank, depth)
    own = getattr(space, "form", None)
    if isinstance(own, Form):
        if own.depth != depth:
            raise ValueError(f"depth={depth}: the space has depth {own.depth}")
        return own
    raise ValueError(
        f"DeepLinearMetric is not defined on {type(space).__name__}: use EndToEndMatrices, "
        "DeepLinearCoordinates, GeneralLinear, FullRankMatrices or SPDMatrices"
    )


def broadcast(axes: int, *arrays: Array) -> list[Array]:
    """Give arrays the same leading axes, in front of the last ``axes``."""
    arrays = tuple(as_array(x) for x in arrays)
    batches = [tuple(x.shape[: x.ndim - axes]) for x in arrays]
    try:
        batch = np.broadcast_shapes(*batches)
    except ValueError:
        raise ValueError(f"leading axes {batches} of points and vectors do not agree") from None
    xp = namespace(*arrays)
    return [xp.broadcast_to(x, (*batch, *x.shape[x.ndim - axes :])) for x in arrays]


def in_groups(function: Callable[..., Array], *arrays: Array) -> Array:
    """Call a function of matrices ``(count, m, n)`` of one shape on groups that fit into caches."""
    shape = tuple(arrays[0].shape)
    alike = len(shape) == 3 and all(tuple(x.shape) == shape for x in arrays)
    size = max(1, _GROUP // max(1, shape[-1] * shape[-2])) if alike else 0
    if not alike or shape[0] <= size:
        return function(*arrays)
    starts = range(0, shape[0], size)
    try:
        values = [function(*(x[i : i + size] for x in arrays)) for i in starts]
    except ValueError:
        return function(*arrays)  # The error then names an index of the whole batch.
    return namespace(*values).concat(values)


def as_array(x: Any) -> Array:
    """Return a plain array of real numbers of the backend, without a copy where it is one.

    Raises
    ------
    TypeError, ValueError
        If it is nothing of this kind.
    """
    name = "the point or vector"
    if isinstance(x, (list, tuple)):
        x = _stacked(name, x)
    if not gs.is_array(x) or isinstance(x, np.ndarray):
        x = plain(name, x)
        if is_operator(x):
            raise TypeError(f"{name} is a {type(x).__name__}: it must be dense")
        x = x if gs.is_array(x) else gs.array(x)
    if namespace(x).isdtype(x.dtype, "complex floating"):
        raise ValueError(f"{name} has dtype {x.dtype}: it must be real")
    return x


def _stacked(name: str, rows: Any) -> Any:
    """Array of a list of numbers, of lists or of arrays, which is a batch in geomstats."""
    rows = [as_array(x) if hasattr(x, "shape") else x for x in rows]
    try:
        return gs.array(rows)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is a list of parts that do not make one array") from None


def random_seed() -> int:
    """Draw a seed from the generator that geomstats shares, so that its seed fixes ours."""
    return int(gs.random.randint(0, 2**31 - 1, (1,))[0])
