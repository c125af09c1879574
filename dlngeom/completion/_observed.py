"""Kernels on the observed entries of a matrix: nothing of size ``m x n`` is ever formed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from dlngeom._lib.arrays import NumpyArray
from dlngeom.points import SVD

__all__ = [
    "MapFunction",
    "Observed",
    "entries",
    "held_out_mask",
    "layer_bytes",
    "left_and_right",
    "observed_entries",
    "require_dense_memory",
    "require_memory",
    "require_scale",
    "rms",
]


# Applies a function to independent blocks: ``map`` itself, or the ``map`` of a pool of threads.
MapFunction = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]

# Entries gathered at once: 2 x 1.3 MB at rank 10, which stays in the cache of one core.
GATHERED = 2**14

ENTRIES_PER_TASK = 2**20

# Numbers in one block of a product.
PRODUCT_NUMBERS = 2**20

# Numbers in a matrix that is also kept dense, if products with it cost less.
DENSE_NUMBERS = 2**22

# Above this density a product of dense matrices is faster than one with a sparse matrix.
DENSE = 0.1


@dataclass(frozen=True)
class Observed:
    """Observed entries of an ``m x n`` matrix, by rows.

    Attributes
    ----------
    matrix : csr_array (m, n)
        In canonical format; every stored entry is observed, zeros included.
    """

    matrix: Any

    @cached_property
    def rows(self) -> NumpyArray:
        """Row of every entry, in the order of ``matrix.data``."""
        m = self.matrix.shape[0]
        index = np.arange(m, dtype=self.matrix.indices.dtype)
        return np.repeat(index, np.diff(self.matrix.indptr))

    @property
    def columns(self) -> NumpyArray:
        """Column of every entry."""
        return np.asarray(self.matrix.indices)

    @property
    def values(self) -> NumpyArray:
        """The entries."""
        return np.asarray(self.matrix.data)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape ``(m, n)`` of the matrix."""
        m, n = self.matrix.shape
        return int(m), int(n)

    @cached_property
    def ones(self) -> NumpyArray:
        """Vector of ones, one for each entry."""
        return np.ones(len(self.values))

    @cached_property
    def transposed(self) -> Observed:
        """The transpose, by rows; it shares ``ones``."""
        other = Observed(self.matrix.T.tocsr())
        other.__dict__["ones"] = self.ones
        return other

    @cached_property
    def dense(self) -> tuple[NumpyArray, NumpyArray] | None:
        """Mask of zeros and ones, and entries between zeros; none where they cost more."""
        m, n = self.shape
        if not self.is_dense or m * n > DENSE_NUMBERS:
            return None
        return self.with_values(self.ones).toarray(), self.matrix.toarray()

    def times(self, frame: NumpyArray) -> NumpyArray:
        """Multiply the entries, with zeros between them, by ``frame``."""
        matrix = self.matrix if self.dense is None else self.dense[1]
        return np.asarray(matrix @ frame)

    def with_values(self, values: NumpyArray) -> Any:
        """Sparse matrix with the same structure, which it shares, and other values."""
        m = self.matrix
        return sparse.csr_array((values, m.indices, m.indptr), shape=m.shape, copy=False)

    def residual(self, left: NumpyArray, right: NumpyArray, apply: MapFunction = map) -> Any:
        r"""Residual, that is the gradient of half its squared norm, as a sparse matrix.

        .. math:: P_S(L R^T - X)

        Parameters
        ----------
        left : array (m, r)
        right : array (n, r)
        apply : callable
            Maps a function over blocks.

        Returns
        -------
        csr_array (m, n)
        """
        values = self.entries_of(left, right, apply)
        values -= self.values
        return self.with_values(values)

    def gap(self, left: NumpyArray, right: NumpyArray, apply: MapFunction = map) -> Any:
        """Residual, dense where that costs less: the same as of :meth:`residual` for products."""
        if self.dense is None:
            return self.residual(left, right, apply)
        mask, values = self.dense
        gap = left @ right.T
        gap *= mask
        gap -= values
        return gap

    def rms_of(self, gap: Any) -> float:
        """Root mean square over the entries of what :meth:`gap` returns."""
        values = gap.ravel() if isinstance(gap, np.ndarray) else gap.data
        return math.sqrt(float(np.vdot(values, values)) / max(len(self.values), 1))

    def entries_of(
        self, left: NumpyArray, right: NumpyArray, apply: MapFunction = map
    ) -> NumpyArray:
        """Entries of ``left @ right.T`` where this matrix is observed, in the cheaper way."""
        if self.is_dense:
            return self._entries_of_products(left, right, apply)
        return entries(left, right, self.rows, self.columns, apply)

    @property
    def is_dense(self) -> bool:
        """Whether products of dense matrices, block after block, cost less than single entries."""
        m, n = self.shape
        return len(self.values) > DENSE * m * n

    def _entries_of_products(
        self, left: NumpyArray, right: NumpyArray, apply: MapFunction
    ) -> NumpyArray:
        (m, n), ends, out = self.shape, self.matrix.indptr, np.empty(len(self.values))
        step = max(1, PRODUCT_NUMBERS // n)

        def task(a: int) -> None:
            b = min(a + step, m)
            part = slice(ends[a], ends[b])
            place = (self.rows[part] - a).astype(np.intp) * n + self.columns[part]
            np.take(left[a:b] @ right.T, place, out=out[part], mode="clip")

        for _ in apply(task, range(0, m, step)):
            pass
        return out

    def select(self, chosen: NumpyArray) -> Observed:
        """Keep the entries that a mask over ``values`` chooses."""
        ends = np.concatenate([[0], np.cumsum(chosen)])[self.matrix.indptr]
        indptr = ends.astype(self.matrix.indptr.dtype)
        data, indices = self.values[chosen], self.columns[chosen]
        return Observed(sparse.csr_array((data, indices, indptr), shape=self.shape))


def left_and_right(point: SVD) -> tuple[NumpyArray, NumpyArray]:
    """Factors ``L`` and ``R`` of a matrix ``L R^T``, by rows as the kernels read them."""
    return np.asarray(point.u * point.s), np.ascontiguousarray(point.vt.T)


def rms(x: NumpyArray) -> float:
    """Root mean square; zero for an empty vector."""
    return math.sqrt(float(np.vdot(x, x)) / max(len(x), 1))


def entries(
    left: NumpyArray,
    right: NumpyArray,
    rows: NumpyArray,
    columns: NumpyArray,
    apply: MapFunction = map,
) -> NumpyArray:
    r"""Entries of a low-rank matrix.

    .. math:: (L R^T)_{ij} = \sum_k L_{ik} R_{jk}

    Parameters
    ----------
    left : array (m, r)
    right : array (n, r)
    rows, columns : int array (e,)
        Valid and not negative.
    apply : callable
        Maps a function over blocks.

    Returns
    -------
    array (e,)
    """
    out = np.empty(len(rows))

    def task(start: int) -> None:
        stop = min(start + ENTRIES_PER_TASK, len(rows))
        size = min(GATHERED, stop - start)
        a, b = (np.empty((size, left.shape[1])) for _ in range(2))
        for begin in range(start, stop, GATHERED):
            part = slice(begin, min(begin + GATHERED, stop))
            k = part.stop - part.start
            # With ``out`` the mode must not be "raise", or numpy copies the result once more.
            np.take(left, rows[part], axis=0, out=a[:k], mode="clip")
            np.take(right, columns[part], axis=0, out=b[:k], mode="clip")
            np.einsum("ij,ij->i", a[:k], b[:k], out=out[part])

    for _ in apply(task, range(0, len(rows), ENTRIES_PER_TASK)):
        pass
    return out


GIB = 2**30

# Bytes per observed entry and per unknown that a fit needs, measured and rounded up; a descent
# keeps more points and directions.
BYTES_PER_ENTRY = 150

BYTES_PER_UNKNOWN = 100

BYTES_PER_UNKNOWN_OF_A_DESCENT = 160

# Per layer and entry of an r x r matrix, of which the retraction of a descent holds some.
BYTES_PER_LAYER = 80


def observed_entries(values: Any) -> Observed:
    """Observed entries of a matrix: not NaN if it is dense, stored if it is a ``csr_array``.

    Both as ``_door.as_matrix`` returns them; the arrays are shared, and only read.

    Raises
    ------
    ValueError
        If an entry is infinite, or one that a sparse matrix stores is NaN.
    """
    if sparse.issparse(values):
        matrix = values.astype(np.float64, copy=False)
        _require_finite(Observed(matrix), "NaN: leave missing entries out")
        return Observed(matrix)
    values = np.asarray(values, dtype=np.float64)
    present = ~np.isnan(values)
    indptr = np.concatenate([[0], np.cumsum(np.count_nonzero(present, axis=1))])
    columns = np.nonzero(present)[1]
    kind = np.int32 if values.size < 2**31 else np.int64
    index = (values[present], columns.astype(kind), indptr.astype(kind))
    observed = Observed(sparse.csr_array(index, shape=values.shape))
    _require_finite(observed, "")
    return observed


def _require_finite(observed: Observed, otherwise: str) -> None:
    bad = np.flatnonzero(~np.isfinite(observed.values))
    if not len(bad):
        return
    value = observed.values[bad[0]]
    i, j = observed.rows[bad[0]], observed.columns[bad[0]]
    if math.isnan(value):
        raise ValueError(f"sparse entry [{i}, {j}] is {otherwise}")
    raise ValueError(f"entry [{i}, {j}] is {value} (infinity): entries must be finite or missing")


def require_scale(values: NumpyArray) -> None:
    """Refuse entries whose squares would over- or underflow.

    Raises
    ------
    ValueError
        If the largest is not zero, nor between 1e-100 and 1e100.
    """
    largest = float(np.max(np.abs(values)))
    if largest != 0 and not 1e-100 < largest < 1e100:
        raise ValueError(f"the largest entry is {largest:.3g}: rescale to between 1e-100 and 1e100")


def layer_bytes(depth: int, rank: int) -> int:
    """Bytes that the layers of a descent take."""
    return BYTES_PER_LAYER * depth * rank**2


def require_memory(
    observed: Observed, rank: int, limit: float, solver: str = "alternating", depth: int = 1
) -> None:
    """Refuse a fit that needs more memory than allowed.

    Raises
    ------
    ValueError
        If it does; the message has the GiB that it needs.
    """
    m, n = observed.shape
    descends = solver != "alternating"
    unknown = BYTES_PER_UNKNOWN_OF_A_DESCENT if descends else BYTES_PER_UNKNOWN
    need = BYTES_PER_ENTRY * len(observed.values) + unknown * (m + n) * (rank + 2)
    what = f"a fit to {len(observed.values)} entries at rank {rank}" + f" and {depth=}" * descends
    _refuse(need + layer_bytes(depth, rank) * descends + GIB / 8, limit, what)


def require_dense_memory(shape: tuple[int, int], itemsize: int, limit: float) -> None:
    """Refuse a dense result that needs more memory than allowed.

    Raises
    ------
    ValueError
        If it does; the message has the GiB that it needs.
    """
    m, n = shape
    _refuse(m * n * itemsize, limit, f"a dense {m} x {n} matrix (predict gives single entries)")


def _refuse(need: float, limit: float, what: str) -> None:
    if need > limit * GIB:
        raise ValueError(f"{what} needs {need / GIB:.3g} GiB: memory_limit={limit} allows less")


def held_out_mask(observed: Observed, fraction: float, seed: int) -> NumpyArray:
    """Mask of held-out entries, by a hash of their positions: it does not change as data grow.

    It holds out at least one entry, and leaves at least one.
    """
    mixed = observed.rows.astype(np.uint64) << np.uint64(32)
    mixed |= observed.columns.astype(np.uint64)
    mixed ^= np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    # The finaliser of splitmix64, in place: every bit of the position moves every bit of the hash.
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    mask = mixed < np.uint64(int(fraction * 2**63) * 2)
    if not mask.any():
        mask[np.argmin(mixed)] = True
    if mask.all():
        mask[np.argmax(mixed)] = False
    return np.asarray(mask)
