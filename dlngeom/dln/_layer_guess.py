"""Paths between outer layers of networks that turn evenly: first guesses of geodesics.

The layers of one end are turned to those of the other, up to signs where they are nearly
orthogonal: there the sign with the shorter path is taken.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from dlngeom.points import SVD

__all__ = ["aligned_layers"]

# Halvings of a path, and directions whose sign is tried, from the least certain.
_HALVINGS, _SIGNS = 3, 2


def aligned_layers(point: SVD, target: SVD, depth: int) -> np.ndarray:
    """Outer layers ``(time, pair, m + n, r)`` on paths from points to targets.

    All are turned to those half way.
    """
    lam, other = (x.s ** (1 / depth) for x in (point, target))
    frames = (point.u, point.vt.mT), (target.u, target.vt.mT)
    first, last = (
        np.concatenate(q, axis=-2) * s[..., None, :]
        for q, s in zip(frames, (lam, other), strict=True)
    )
    turns = _turns(last.mT @ first)
    left, right = (
        _halved(np.broadcast_to(a, (len(turns), *a.shape)), np.asarray(b @ turns))
        for a, b in zip(*frames, strict=True)
    )
    times = np.linspace(0, 1, len(left))[:, None, None, None, None]
    diagonals = (x[..., :, None] * np.eye(x.shape[-1]) for x in (lam, other))
    start, end = diagonals
    roots = (1 - times) * start + times * (turns.mT @ end @ turns)
    paths = np.concatenate([left @ roots, right @ roots], axis=-2)
    best = np.argmin(_lengths(paths), axis=0)
    path = paths[:, best, np.arange(len(best))]
    middle = path[len(path) // 2]
    return np.asarray(path @ _polar(path.mT @ middle))


def _turns(cross: np.ndarray) -> np.ndarray:
    """Orthogonal matrices ``(choice, pair, r, r)`` near the polar factor, with other signs."""
    u, _, vt = np.linalg.svd(cross)
    r = cross.shape[-1]
    some = min(r, _SIGNS)
    signs = np.ones((2**some, 1, 1, r))
    signs[:, 0, 0, r - some :] = list(product((1.0, -1.0), repeat=some))
    return np.asarray((u * signs) @ vt)


def _halved(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Frames on a path ``(time, ...)``, each midway between its neighbours."""
    path = [start, end]
    for _ in range(_HALVINGS):
        middles = _polar(np.stack(path[1:]) + np.stack(path[:-1]))
        path = [x for pair in zip(path, middles, strict=False) for x in pair] + path[-1:]
    return np.stack(path)


def _polar(x: np.ndarray) -> np.ndarray:
    u, _, vt = np.linalg.svd(x, full_matrices=False)
    return np.asarray(u @ vt)


def _lengths(paths: np.ndarray) -> np.ndarray:
    """Squares of the lengths of steps, each to the nearest turn of the layers, summed."""
    squares = np.sum(paths**2, axis=(-2, -1))
    overlap = np.linalg.svd(paths[1:].mT @ paths[:-1], compute_uv=False)
    steps = squares[1:] + squares[:-1] - 2 * np.sum(overlap, axis=-1)
    return np.asarray(np.sum(steps, axis=0))
