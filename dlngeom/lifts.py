"""The smallest network over a matrix: lifts to it, and the shadows of its vectors."""

from __future__ import annotations

from dlngeom import spectral
from dlngeom._array import Array, constant, identity, namespace
from dlngeom.layers import Along
from dlngeom.retractions import lifted_core
from dlngeom.tuples import SVD, Frames, Tangent

__all__ = ["push_down", "smallest_lift", "smallest_network"]


def smallest_network(point: SVD, depth: int) -> Frames:
    """Balanced network whose inner widths are the rank and inner layers are diagonal."""
    u, s, vt = point
    r = s.shape[-1]
    unit = namespace(s).zeros_like(u[..., :r, :]) + identity(r, s)
    return Frames(spectral.root(s, depth), (vt.mT, *[unit] * (depth - 1), u))


def smallest_lift(point: SVD, Z: Tangent, depth: int) -> tuple[Array, ...]:
    """Horizontal lift of a tangent vector to :func:`smallest_network`, layer by layer."""
    u, s, v = point.u, point.s, point.vt.mT
    end = (spectral.root(s, depth) ** (depth - 1))[..., None, :]
    core = lifted_core(s, Z.M, depth)
    if depth == 1:
        return ((u @ core[..., 0, :, :] + Z.Up) @ v.mT + u @ Z.Vp.mT,)
    first = core[..., 0, :, :] @ v.mT + (Z.Vp / end).mT
    inner = [core[..., p, :, :] for p in range(1, depth - 1)]
    return (first, *inner, u @ core[..., -1, :, :] + Z.Up / end)


def push_down(frames: Frames, V: Along) -> Tangent:
    """Differential of the end-to-end matrix, in the frames of its ends."""
    lam, depth = frames.lam, len(frames.q) - 1
    nodes = spectral.layers(depth)
    left, right = (constant(x * depth, lam)[:, None, None] for x in nodes[:2])
    row, column = lam[..., None, :, None], lam[..., None, None, :]
    M = namespace(lam).sum(row**left * V.core * column**right, axis=-3)
    end = (lam ** (depth - 1))[..., None, :]
    return Tangent(V.perp[-1] * end, M, V.perp[0] * end)
