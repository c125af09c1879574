"""Covectors ``E'(W)`` in all accepted forms: dense, sparse, ``LinearOperator``, ``LowRank``.

A covector is only applied to thin matrices, so no ``m x n`` matrix is formed unless the caller
passes one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeGuard

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

from dlngeom._lib import checks
from dlngeom._lib.arrays import (
    Array,
    constant,
    is_square,
    namespace,
    remainder,
)
from dlngeom._lib.door import plain
from dlngeom.points._tuples import SVD, LowRank, Tangent, dense

__all__ = [
    "Covector",
    "apply",
    "apply_transpose",
    "as_covector",
    "check_batch",
    "checked_covector",
    "checked_gradient",
    "components",
    "energy_at",
    "is_operator",
    "to_dense",
]


# SciPy gives its classes no types.
Covector: TypeAlias = Array | LowRank | Any


def as_covector(
    name: str,
    value: Covector,
    rows: int,
    columns: int,
    *,
    like: Array | None = None,
    check_finite: bool = True,
) -> Covector:
    """Check a covector of shape ``(rows, columns)`` and return it.

    Raises
    ------
    ValueError
        If its shape or dtype does not fit, or an entry is not finite.
    TypeError
        If it belongs to another array library than ``like``.
    """
    if isinstance(value, LowRank):
        _check_low_rank(name, value, rows, columns, check_finite)
    elif is_operator(value):
        _check_operator(name, value, rows, columns, check_finite)
    else:
        checks.matrix(name, value)
        checks.shape(name, value, (rows, columns))
        if check_finite:
            checks.finite(name, value)
    if like is not None:
        _check_library(name, value, like)
    return value


def check_batch(name: str, value: Covector, batch: tuple[int, ...]) -> None:
    """Require the leading axes of a covector to broadcast with those of a point.

    Raises
    ------
    ValueError
        If they do not, or if a batch of points comes with a sparse matrix or an operator.
    """
    if is_operator(value):
        if batch:
            raise ValueError(f"{name} is one operator and the point a batch {batch}: make it dense")
        return
    own = tuple((value.S if isinstance(value, LowRank) else value).shape[:-2])
    try:
        np.broadcast_shapes(own, batch)
    except ValueError:
        raise ValueError(f"{name} has batch {own} and the point {batch}: they must agree") from None


def _check_operator(name: str, value: Any, rows: int, columns: int, check_finite: bool) -> None:
    if tuple(value.shape) != (rows, columns):
        raise ValueError(f"{name} has shape {tuple(value.shape)}: it must be ({rows}, {columns})")
    if value.dtype is not None and np.dtype(value.dtype).kind == "c":
        raise ValueError(f"{name} has dtype {value.dtype}: it must be real")
    if check_finite and sparse.issparse(value):
        checks.finite(f"{name}.data", value.tocoo().data)


def _check_library(name: str, value: Covector, like: Array) -> None:
    if is_operator(value):
        # SciPy's operators multiply numpy arrays only.
        namespace(like, np.empty(0))
        return
    arrays = value if isinstance(value, LowRank) else (value,)
    namespace(like, *arrays)
    checks.same_dtype(f"{name} and the point", like, *arrays)


def _check_low_rank(name: str, value: LowRank, rows: int, columns: int, check_finite: bool) -> None:
    U, S, V = value
    checks.matrix(f"{name}.S", S)
    checks.shape(f"{name}.U", U, (rows, S.shape[-2]))
    checks.shape(f"{name}.V", V, (columns, S.shape[-1]))
    if check_finite:
        for field, x in zip("USV", value, strict=True):
            checks.finite(f"{name}.{field}", x)


def apply(covector: Covector, x: Array) -> Array:
    """Product ``G x`` with a thin matrix ``x`` of shape ``(..., n, k)``."""
    if isinstance(covector, LowRank):
        return covector.U @ (covector.S @ (covector.V.mT @ x))
    if is_operator(covector):
        product: Array = (covector @ x).astype(x.dtype, copy=False)
        return product
    return covector @ x


def apply_transpose(covector: Covector, x: Array) -> Array:
    """Product ``G^T x`` with a thin matrix ``x`` of shape ``(..., m, k)``."""
    if isinstance(covector, LowRank):
        return covector.V @ (covector.S.mT @ (covector.U.mT @ x))
    if isinstance(covector, LinearOperator):
        return _adjoint_product(covector, x)
    if is_operator(covector):
        product: Array = (covector.T @ x).astype(x.dtype, copy=False)
        return product
    return covector.mT @ x


def _adjoint_product(operator: LinearOperator, x: Array) -> Array:
    try:
        product: Array = operator.rmatmat(x).astype(x.dtype, copy=False)
    except (TypeError, NotImplementedError):
        raise ValueError("a LinearOperator covector must define rmatvec or rmatmat") from None
    return product


def is_operator(covector: Covector) -> TypeGuard[Any]:
    """Whether a covector is a sparse matrix or an operator, which have no batch axes."""
    return bool(sparse.issparse(covector)) or isinstance(covector, LinearOperator)


def to_dense(covector: Covector) -> Array:
    """Dense matrix of a covector, only for results of that size."""
    if isinstance(covector, LowRank):
        return dense(covector)
    if is_operator(covector):
        if isinstance(covector, LinearOperator):
            return np.asarray(covector @ np.eye(covector.shape[1], dtype=covector.dtype))
        return np.asarray(covector.toarray())
    return covector


def components(point: SVD, covector: Covector) -> Tangent:
    r"""Orthogonal projection of a covector on the tangent space, in factored form.

    .. math:: M = u^T G v, \qquad U_p = (I - u u^T)\, G v, \qquad V_p = (I - v v^T)\, G^T u
    """
    v = point.vt.mT
    if is_square(point.u) and is_square(v):
        M = point.u.mT @ apply(covector, v)
        none = namespace(M).broadcast_to(M[..., :1, :1] * 0, M.shape)
        return Tangent(none, M, none)
    return components_of_actions(point, apply(covector, v), apply_transpose(covector, point.u))


def components_of_actions(point: SVD, Gv: Array, Gtu: Array) -> Tangent:
    """Tangent components from the two thin products ``G v`` and ``G^T u``."""
    u, v = point.u, point.vt.mT
    M = u.mT @ Gv
    return Tangent(remainder(u, Gv, M), M, remainder(v, Gtu, M.mT))


EnergyGradient = Callable[[Any], Covector]


def energy_at(energy_gradient: Callable[[Any], Any], single: bool) -> EnergyGradient:
    """Wrap an energy gradient that expects a chain axis, for a single dense point too."""
    if not single:
        return energy_gradient

    def gradient(point: Any) -> Covector:
        return _first(energy_gradient(point if isinstance(point, SVD) else point[None, ...]))

    return gradient


def _first(value: Covector) -> Covector:
    """Drop a chain axis of length one, where there is one."""
    if isinstance(value, LowRank):
        return LowRank(*(_without_chain(x) for x in value))
    return _without_chain(value)


def _without_chain(value: Any) -> Any:
    extra = getattr(value, "ndim", 2) == 3 and value.shape[0] == 1
    return value[0, ...] if extra else value


def checked_gradient(
    value: Covector, m: int, n: int, like: Array, batch: tuple[int, ...]
) -> Covector:
    """Check what an energy gradient returned for a batch of matrices."""
    name = "energy_gradient"
    if not (isinstance(value, (tuple, list)) or hasattr(value, "shape")):
        raise TypeError(f"{name} returned {type(value).__name__}: it must be a matrix ({m}, {n})")
    value = _from_lists(value, like) if isinstance(value, list) else plain(name, value)
    value = as_covector(name, value, m, n, like=like, check_finite=False)
    check_batch(name, value, batch)
    own = tuple((value.S if isinstance(value, LowRank) else value).shape[:-2])
    if len(own) > len(batch) or (own and own[0] > batch[0]):
        raise ValueError(f"{name} has batch {own} and the point {batch}: they must agree")
    return value


def _from_lists(value: list[Any], like: Array) -> Any:
    """Matrices in nested lists of numbers, which have no library and no precision of their own."""
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.empty(0, dtype=object)
    return constant(array, like) if array.dtype.kind in "fiu" else plain("energy_gradient", value)


def checked_covector(value: Any, m: int, n: int, like: Array) -> Covector:
    """Require a covector for each chain; for a single chain the chain axis may be missing."""
    chains = like.shape[0]
    usual = type(value) is type(like) is np.ndarray
    if usual and (value.shape, value.dtype) == ((chains, m, n), like.dtype):
        return value  # The checks below take longer than products of small matrices.
    if chains == 1 and is_operator(value):
        value = to_dense(value)
    value = checked_gradient(value, m, n, like, (chains,))
    own = tuple((value.S if isinstance(value, LowRank) else value).shape[:-2])
    if own != (chains,) and (own or chains > 1):
        raise ValueError(
            f"energy_gradient has shape ({', '.join(map(str, (*own, m, n)))}): it must be "
            f"({chains}, {m}, {n}), a covector for each chain"
        )
    if own or isinstance(value, LowRank):
        return value
    return value[None, ...]
