"""Orthonormal bases of the tangent space of the balanced manifold, in frames."""

from __future__ import annotations

import numpy as np
from array_api_compat import device

from dlngeom._lib.arrays import Array, constant, identity, namespace

__all__ = ["core_basis", "turning_basis"]


def core_basis(lam: Array, depth: int) -> Array:
    """Cores of the basis vectors, ``(..., r + (N+1) r(r-1)/2, N, r, r)``."""
    xp = namespace(lam)
    r = lam.shape[-1]
    unit = identity(r, lam)
    stretch = unit[:, None, :, None] * unit[:, None, None, :] / depth**0.5
    stretch = xp.broadcast_to(stretch, (*lam.shape[:-1], r, depth, r, r))
    k, low = np.triu_indices(r, 1)
    if not len(k):
        return stretch
    E = constant(np.eye(r)[k][:, :, None] * np.eye(r)[low][:, None, :], lam)[:, None, None, :, :]
    lam_k, lam_l = (xp.take(lam, xp.asarray(i, device=device(lam)), axis=-1) for i in (k, low))
    upper, lower = _pair_profiles(lam_k, lam_l, depth)
    pairs = upper[..., None, None] * E + lower[..., None, None] * E.mT
    pairs = xp.reshape(pairs, (*lam.shape[:-1], len(k) * (depth + 1), depth, r, r))
    return xp.concat([stretch, pairs], axis=-4)


def _pair_profiles(lam_k: Array, lam_l: Array, depth: int) -> tuple[Array, Array]:
    """Coefficients along depth of ``e_k e_l^T`` and ``e_l e_k^T``, ``(..., pairs, N+1, N)``."""
    xp = namespace(lam_k)
    largest = xp.maximum(lam_k, lam_l)
    a, b = (lam_k / largest)[..., None, None], (lam_l / largest)[..., None, None]
    s = np.arange(1, depth + 1)
    up, down = _powers(a, b, s, depth), _powers(b, a, s, depth)
    p = np.arange(1, depth)[:, None]
    before, after = (constant(np.sin(np.pi / depth * (p * j % (2 * depth))), a) for j in (s - 1, s))
    half = constant(np.sin(p * np.pi / (2 * depth)) ** 2, a)
    scale = ((a - b) ** 2 + 4 * a * b * half) ** -0.5 / depth**0.5
    upper = scale * (a * before - b * after)
    lower = scale * (a * after - b * before)
    return xp.concat([down * 0, upper, up], axis=-2), xp.concat([down, lower, up * 0], axis=-2)


def _powers(a: Array, b: Array, s: np.ndarray, depth: int) -> Array:
    """Normalised ``a^(N-s) b^(s-1)`` along depth."""
    xp = namespace(a)
    profile = a ** constant(depth - s, a) * b ** constant(s - 1, a)
    return profile / xp.sqrt(xp.sum(profile * profile, axis=-1, keepdims=True))


def turning_basis(frame: Array, scale: float) -> Array:
    """Directions ``L`` out of the span of a frame, ``(..., (d - r) r, d, r)``, times ``scale``."""
    xp = namespace(frame)
    d, r = frame.shape[-2:]
    linalg = xp.linalg
    complete, _ = linalg.qr(frame, mode="complete")
    across = complete[..., :, r:].mT
    unit = identity(r, frame)
    basis = scale * across[..., :, None, :, None] * unit[:, None, :]
    return xp.reshape(basis, (*frame.shape[:-2], (d - r) * r, d, r))
