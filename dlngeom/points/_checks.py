"""Checks of points: always of shapes, optionally of values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, eps, namespace
from dlngeom.points._tuples import SVD, Frames

__all__ = [
    "check_factors",
    "check_frames",
    "check_svd",
    "require_definite",
    "require_positive",
    "require_rank",
    "require_symmetric",
    "require_weights",
]


def require_positive(name: str, s: Array, limit: float | Array = 0.0) -> None:
    """Require the smallest singular value to exceed ``limit`` times the largest."""
    if 0 in s.shape:
        return  # An empty batch has no smallest value.
    xp = namespace(s)
    plain_limit = isinstance(limit, float) and limit == 0
    if plain_limit and type(s) is np.ndarray and s.min() > 0:
        return  # Of most points this one look is enough.
    smallest = xp.min(s, axis=-1)
    least = 0.0 if plain_limit else limit * xp.max(s, axis=-1)
    if bool(xp.any(smallest <= least)):
        raise ValueError(
            f"{name} has a smallest singular value {float(xp.min(smallest)):.3g}, its rank is "
            f"below {s.shape[-1]}: give the rank, or an SVD of that rank"
        )


def require_symmetric(name: str, W: Array) -> None:
    """Require symmetric matrices, to the tolerance of :func:`relative_tolerance`."""
    if 0 in W.shape or (type(W) is np.ndarray and (W.mT == W).all()):
        return  # The second is fast, and most often true.
    xp = namespace(W)
    gap = xp.max(xp.abs(W - W.mT), axis=(-2, -1))
    limit = checks.relative_tolerance(W) * xp.max(xp.abs(W), axis=(-2, -1))
    if bool(xp.any(gap > limit)):
        transpose = "T" if W.ndim == 2 else "mT"
        raise ValueError(
            f"{name} is not symmetric: off by {float(xp.max(gap)):.2g}, symmetrise with "
            f"(N + N.{transpose})/2"
        )


def require_definite(name: str, values: Array) -> None:
    """Require the smallest of all eigenvalues to be positive, beyond rounding errors."""
    if 0 in values.shape:
        return
    xp = namespace(values)
    smallest = xp.min(values, axis=-1)
    least = values.shape[-1] * eps(values) * xp.max(values, axis=-1)
    if bool(xp.any((smallest <= least) | (smallest <= 0))):
        raise ValueError(
            f"{name} has a smallest eigenvalue {float(xp.min(smallest)):.3g}: not positive definite"
        )


def require_rank(name: str, s: Array, rank: int, size: int) -> None:
    """Require exactly the singular values ``s`` beyond ``rank`` to vanish.

    ``size`` is the larger side of the matrix, which bounds its rounding error.
    """
    if 0 in s.shape:
        return
    xp = namespace(s)
    largest = xp.where(s[..., 0] == 0, xp.ones_like(s[..., 0]), s[..., 0])
    tail = float(xp.max(s[..., rank] / largest)) if s.shape[-1] > rank else 0.0
    if tail > checks.relative_tolerance(s):
        raise ValueError(
            f"rank={rank}: {name} has a larger one, sigma_{rank + 1}/sigma_1 = {tail:.2g}"
        )
    require_positive(name, s[..., :rank], size * eps(s))


def require_weights(name: str, s: Array, depth: float) -> None:
    """Require singular values whose weights ``s^(2-2/N)`` are positive without underflow."""
    if 0 in s.shape:
        return
    smallest = float(namespace(s).min(s))
    if not smallest > _least_weighed(namespace(s).finfo(s.dtype).bits, depth):
        raise ValueError(
            f"{name} has an entry {smallest:.3g}: it must be positive, and its weight in the "
            f"metric of depth {depth} must not underflow; lower the rank"
        )


@lru_cache(maxsize=64)
def _least_weighed(bits: int, depth: float) -> float:
    """Singular value below which weights underflow."""
    tiny = math.log(float(np.finfo(f"float{bits}").smallest_normal))
    return 0.0 if depth == 1 else math.exp(tiny / (2 - 2 / depth)) * (1 - 1e-12)


def check_svd(point: SVD, *, check_finite: bool = True) -> SVD:
    """Return ``point`` as an SVD after checking its shapes and, optionally, its values."""
    u, s, vt = point
    checks.matrix("u", u)
    checks.same_dtype("SVD", u, s, vt)
    r = u.shape[-1]
    checks.shape("s", s, (r,))
    checks.shape("vt", vt, (r, vt.shape[-1]))
    checks.batches_agree("SVD", (u, 2), (s, 1), (vt, 2))
    checks.rank(r, u.shape[-2], vt.shape[-1])
    if check_finite and 0 not in s.shape:
        checks.finite("s", s)
        checks.orthonormal("u", u)
        checks.orthonormal("vt^T", vt.mT)
        _require_nonnegative("s", s)
    return SVD(u, s, vt)


def _require_nonnegative(name: str, s: Array) -> None:
    smallest = 0.0 if 0 in s.shape else float(namespace(s).min(s))
    if smallest < 0:
        raise ValueError(f"{name} has an entry {smallest:.3g}: singular values must be >= 0")


def check_factors(factors: Sequence[Array], *, check_finite: bool = True) -> tuple[Array, ...]:
    """Return the layers as a tuple after checking that their product is defined."""
    factors = tuple(factors)
    if not factors:
        raise ValueError("factors=(): a network needs at least one layer")
    namespace(*factors)
    for p, factor in enumerate(factors, start=1):
        checks.matrix(f"W_{p}", factor)
    checks.same_dtype("factors", *factors)
    checks.batches_agree("factors", *((factor, 2) for factor in factors))
    for p, (lower, upper) in enumerate(pairwise(factors), start=1):
        if lower.shape[-2] != upper.shape[-1]:
            raise ValueError(
                f"W_{p + 1} W_{p} is not defined: "
                f"shapes {tuple(upper.shape)} and {tuple(lower.shape)}"
            )
    if check_finite:
        for p, factor in enumerate(factors, start=1):
            checks.finite(f"W_{p}", factor)
    return factors


def check_frames(point: Frames, *, check_finite: bool = True) -> Frames:
    """Return ``point`` as Frames after checking its shapes and, optionally, its values."""
    given: Any = point  # Callers may pass what the annotation forbids.
    if len(given) != 2 or not isinstance(given[1], (tuple, list)):
        raise ValueError(f"Frames has {len(point)} parts: it is a pair (lam, q), q the frames")
    lam, q = point[0], tuple(point[1])
    checks.floating("lam", lam)
    if len(q) < 2:
        raise ValueError(f"Frames has {len(q)} frames: a network has N + 1 >= 2")
    namespace(lam, *q)
    r = lam.shape[-1]
    for p, frame in enumerate(q):
        checks.matrix(f"Q_{p}", frame)
        checks.shape(f"Q_{p}", frame, (frame.shape[-2], r))
        checks.rank(r, frame.shape[-2])
    checks.same_dtype("Frames", lam, *q)
    checks.batches_agree("Frames", (lam, 1), *((frame, 2) for frame in q))
    if check_finite and 0 not in lam.shape:
        checks.finite("lam", lam)
        _require_nonnegative("lam", lam)
        require_positive("lam", lam)
        for p, frame in enumerate(q):
            checks.orthonormal(f"Q_{p}", frame)
    return Frames(lam, q)
