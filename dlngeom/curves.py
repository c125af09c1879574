"""Curves of balanced networks through a point, exactly balanced for every step."""

from __future__ import annotations

from typing import Any

from dlngeom._array import identity, namespace, polar
from dlngeom.layers import Along, Ambient, rotations
from dlngeom.tuples import Frames

__all__ = ["acceleration", "retract"]


def retract(frames: Frames, V: Along) -> Frames:
    """First-order retraction of a tangent vector given in frames."""
    omega, h, _ = rotations(frames.lam, V.core)
    lam = frames.lam[..., None, :]
    unit = identity(lam.shape[-1], lam)
    linalg: Any = namespace(lam).linalg
    # H = P S Q^T is symmetric, so W_p = Q_p H Q_{p-1}^T takes P and Q in turn along the layers.
    left, values, right = linalg.svd(lam * unit + h)
    turns = (left, right.mT)
    q = tuple(
        polar(frame @ (unit + omega[..., p, :, :]) + V.perp[p] / lam) @ turns[p % 2]
        for p, frame in enumerate(frames.q)
    )
    return Frames(values, q)


def acceleration(frames: Frames, V: Along) -> Ambient:
    """Second derivative at zero of ``t -> retract(frames, t V)``, without doubly normal parts."""
    xp = namespace(frames.lam)
    lam = frames.lam[..., None, :]
    lower_lam = frames.lam[..., :, None]
    omega, h, _ = rotations(frames.lam, V.core)
    K = [part / lam for part in V.perp]
    gram = xp.stack([k.mT @ k for k in K], axis=-3) - omega @ omega
    below, above, h_ = omega[..., :-1, :, :], omega[..., 1:, :, :], h[..., None, :, :]
    core = -gram[..., 1:, :, :] * lam[..., None, :, :]
    core = core - lower_lam[..., None, :, :] * gram[..., :-1, :, :]
    core = core + 2 * (above @ h_ - h_ @ below) - 2 * above @ (lower_lam[..., None, :, :] * below)
    depth = len(frames.q) - 1
    left = tuple(2 * K[p + 1] @ (h - lower_lam * omega[..., p, :, :]) for p in range(depth))
    right = tuple(2 * K[p] @ (h - lower_lam * omega[..., p + 1, :, :]) for p in range(depth))
    return Ambient(core, left, right)
