"""Frames of layers that are balanced only nearly, as a smooth function of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from dlngeom._array import Array, namespace, polar, symmetric
from dlngeom.tuples import Frames

__all__ = ["carried_frames", "nearby_frames"]


def nearby_frames(factors: Sequence[Array], rank: int) -> Frames:
    """Frames of the balanced network that is carried up from the row space of the first layer.

    Each frame is the polar factor of ``W_p Q_{p-1}``, which turns with ``Q_{p-1}``, so the
    balanced network is a smooth function of the layers at repeated singular values too.
    """
    xp = namespace(*factors)
    linalg: Any = xp.linalg
    u, _, vt = linalg.svd(factors[0], full_matrices=False)
    q = [vt[..., :rank, :].mT, u[..., :rank]]
    for factor in factors[1:]:
        q.append(polar(factor @ q[-1]))
    cores = [hi.mT @ W @ lo for W, (lo, hi) in zip(factors, pairwise(q), strict=True)]
    core = symmetric(sum(cores[1:], cores[0])) / len(factors)
    lam, turn = linalg.eigh(core)
    lam, turn = xp.flip(lam, axis=-1), xp.flip(turn, axis=-1)
    return Frames(lam, tuple(frame @ turn for frame in q))


def carried_frames(factors: Sequence[Array], rank: int) -> Frames:
    """Frames from the decomposition of the first layer alone, much cheaper.

    The same where layers are balanced, and smooth nearby; orthonormal to second order there.
    """
    linalg: Any = namespace(*factors).linalg
    u, s, vt = linalg.svd(factors[0], full_matrices=False)
    lam = s[..., :rank]
    q = [vt[..., :rank, :].mT, u[..., :rank]]
    for factor in factors[1:]:
        frame = factor @ (q[-1] / lam[..., None, :])
        # One step of Newton and Schulz towards orthonormal columns.
        q.append(1.5 * frame - frame @ (frame.mT @ frame) / 2)
    return Frames(lam, tuple(q))
