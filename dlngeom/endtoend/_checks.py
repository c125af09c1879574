"""Checks of points and tangent vectors downstairs, and their conversion to factored form."""

from __future__ import annotations

import functools
import math
from typing import TypeAlias

import numpy as np

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, inner, namespace, norm
from dlngeom.points import SVD, Tangent, _covectors, dense, svd
from dlngeom.points._checks import check_svd, require_positive, require_weights
from dlngeom.points._covectors import Covector

__all__ = ["EndToEndPoint", "EndToEndVector", "checked_components", "checked_point"]

# Lengths of which small shares have squares that do not underflow, in single precision too.
_LEAST = 1e-15

EndToEndPoint: TypeAlias = Array | SVD
EndToEndVector: TypeAlias = Array | Tangent


def checked_point(
    W: EndToEndPoint, depth: float, check_finite: bool, *, invertible: bool = False
) -> SVD:
    """Check a point and the depth, and return the point as a thin SVD."""
    depth = checks.depth(depth)
    if isinstance(W, SVD):
        point = check_svd(W, check_finite=check_finite)
        limit = 0.0
    else:
        point = _dense_point(W, check_finite)
        limit = max(W.shape[-2:]) * float(namespace(W).finfo(W.dtype).eps)
    m, r, n = point.u.shape[-2], point.s.shape[-1], point.vt.shape[-1]
    if depth == math.inf and not m == n == r:
        raise ValueError(
            f"depth=inf needs a square matrix of full rank, W is {m} x {n} of rank {r}: "
            "its column and row spaces would freeze"
        )
    if check_finite and (invertible or depth == math.inf):
        require_positive("W", point.s, limit)
        require_weights("W", point.s, depth)
    return point


def _dense_point(W: Array, check_finite: bool) -> SVD:
    if check_finite:
        return svd(W)
    return SVD(*namespace(W).linalg.svd(W, full_matrices=False))


def checked_components(
    name: str, W: EndToEndPoint, point: SVD, Z: Covector, check_finite: bool, *, tangent: bool
) -> Tangent:
    """Tangent components of a covector, or of a vector that must be tangent."""
    m, r, n = point.u.shape[-2], point.s.shape[-1], point.vt.shape[-1]
    if isinstance(Z, Tangent) and not isinstance(W, SVD):
        raise ValueError(f"{name} is a Tangent, whose frames a dense W does not fix: pass an SVD")
    if isinstance(Z, Tangent):
        return _checked_tangent(name, point, Z, check_finite)
    Z = _covectors.as_covector(name, Z, m, n, like=point.s, check_finite=check_finite)
    _covectors.check_batch(name, Z, tuple(point.s.shape[:-1]))
    vector = _covectors.components(point, Z)
    if tangent and check_finite and r < min(m, n):
        matrix = _covectors.to_dense(Z)
        (whole,), size = _of_usual_size((matrix,))
        inside = vector if whole is matrix else _covectors.components(point, whole)
        _require_tangent(name, point, norm(whole - dense((point, inside))), size)
    return vector


def _checked_tangent(name: str, point: SVD, Z: Tangent, check_finite: bool) -> Tangent:
    m, r, n = point.u.shape[-2], point.s.shape[-1], point.vt.shape[-1]
    namespace(point.s, *Z)
    for field, x, rows in zip(Z._fields, Z, (m, r, n), strict=True):
        checks.matrix(f"{name}.{field}", x)
        checks.shape(f"{name}.{field}", x, (rows, r))
        checks.same_dtype(f"{name} and the point", x, point.s)
    checks.batches_agree(name, *((x, 2) for x in Z))
    if check_finite:
        whole, size = _of_usual_size(Z)
        if whole is not Z:  # A sum of squares that is a number has no other terms.
            for field, x in zip(Z._fields, Z, strict=True):
                checks.finite(f"{name}.{field}", x)
        inside = (point.u.mT @ whole[0], point.vt @ whole[2])
        _require_tangent(name, point, _length(inside), size)
    return Z


def _of_usual_size(parts: tuple[Array, ...]) -> tuple[tuple[Array, ...], Array]:
    """Parts of vectors and their lengths; in other units where the squares over- or underflow."""
    with np.errstate(over="ignore", invalid="ignore"):
        size = _length(parts)
    if _is_usual(size):
        return parts, size
    xp = namespace(*parts)
    largest = [xp.max(xp.abs(x), axis=(-2, -1), keepdims=True) for x in parts]
    unit = functools.reduce(xp.maximum, largest)
    # Entries near the smallest numbers have lost their digits: they pass for zero.
    limits = xp.finfo(unit.dtype)
    least = float(limits.smallest_normal) / float(limits.eps)
    unit = xp.where((unit > least) & xp.isfinite(unit), unit, xp.ones_like(unit))
    parts = tuple(x / unit for x in parts)
    with np.errstate(over="ignore", invalid="ignore"):
        return parts, _length(parts)


def _length(parts: tuple[Array, ...]) -> Array:
    length: Array = sum(inner(x, x) for x in parts) ** 0.5
    return length


def _is_usual(size: Array) -> bool:
    """Whether the squares of lengths, of one vector or of many, tell all that is asked of them."""
    if not size.ndim:
        return _LEAST < float(size) < math.inf
    return bool(namespace(size).all((size > _LEAST) & (size < math.inf)))


def _require_tangent(name: str, point: SVD, gap: Array, size: Array) -> None:
    if 0 in gap.shape:
        return  # An empty batch.
    if gap.ndim:
        xp = namespace(gap)
        worst = float(xp.max(gap / xp.where(size == 0, xp.ones_like(size), size)))
    else:
        worst = float(gap) / (float(size) or 1.0)
    limit = checks.relative_tolerance(point.s)
    if not worst <= limit:
        raise ValueError(f"{name} is not tangent: off by {worst:.2g} relative, allowed {limit:g}")
