"""Ambient and tangent vectors at a balanced network, written in its frames.

An ambient vector ``X`` becomes cores ``Q_p^T X_p Q_{p-1}`` and two perpendicular parts per layer; a
tangent vector has one perpendicular part per frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dlngeom._lib.arrays import Array, namespace, project_out
from dlngeom.points import Frames

__all__ = [
    "AmbientInFrames",
    "StepInFrames",
    "TangentInFrames",
    "assemble",
    "resolve",
    "tangent_perpendicular",
]


class AmbientInFrames(NamedTuple):
    """Ambient vector in frames.

    Attributes
    ----------
    core : array (..., N, r, r)
        ``Q_p^T X_p Q_{p-1}``.
    left : tuple of N arrays (..., d_p, r)
        ``(I - Q_p Q_p^T) X_p Q_{p-1}``.
    right : tuple of N arrays (..., d_{p-1}, r)
        ``(I - Q_{p-1} Q_{p-1}^T) X_p^T Q_p``.
    """

    core: Array
    left: tuple[Array, ...]
    right: tuple[Array, ...]


class TangentInFrames(NamedTuple):
    """Tangent vector in frames: ``V_p = Q_p C_p Q_{p-1}^T + L_p Q_{p-1}^T + Q_p L_{p-1}^T``.

    Attributes
    ----------
    core : array (..., N, r, r)
    perp : tuple of N+1 arrays (..., d_p, r)
        ``L_p``, orthogonal to ``Q_p``.
    """

    core: Array
    perp: tuple[Array, ...]


class StepInFrames(NamedTuple):
    """Tangent vector in frames whose parts across square frames, which vanish, may be 0.0.

    Attributes
    ----------
    core : array (..., N, r, r)
    perp : tuple of N+1 arrays (..., d_p, r) or 0.0
    """

    core: Array
    perp: tuple[Array | float, ...]


def resolve(point: Frames, X: Sequence[Array]) -> AmbientInFrames:
    """Write an ambient vector in the frames of ``point``."""
    xp = namespace(point.lam, *X)
    cores, lefts, rights = [], [], []
    for lower, upper, x in zip(point.q[:-1], point.q[1:], X, strict=True):
        image = x @ lower
        cores.append(upper.mT @ image)
        lefts.append(project_out(upper, image))
        rights.append(project_out(lower, x.mT @ upper))
    return AmbientInFrames(xp.stack(cores, axis=-3), tuple(lefts), tuple(rights))


def assemble(point: Frames, vector: TangentInFrames) -> tuple[Array, ...]:
    """Dense layers of a vector given in frames."""
    layers = []
    for p, (lower, upper) in enumerate(zip(point.q[:-1], point.q[1:], strict=True)):
        inside = vector.core[..., p, :, :] @ lower.mT + vector.perp[p].mT
        layers.append(upper @ inside + vector.perp[p + 1] @ lower.mT)
    return tuple(layers)


def tangent_perpendicular(vector: AmbientInFrames) -> tuple[Array, ...]:
    """Perpendicular parts ``L_p`` of the tangent projection: means over one or two layers."""
    inner = [(lo + hi) / 2 for lo, hi in zip(vector.left[:-1], vector.right[1:], strict=True)]
    return (vector.right[0], *inner, vector.left[-1])
