"""Paths between outer layers of networks that turn evenly: first guesses of geodesics.

The layers of one end are turned to those of the other, up to signs where they are nearly
orthogonal: there the sign with the shorter path is taken.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from dlngeom.points import SVD

__all__ = ["CHOICES", "aligned_factors", "aligned_layers"]

# Halvings of a path, and directions whose sign is tried, from the least certain.
_HALVINGS, _SIGNS = 3, 2
# Number of paths between two points, at rank two and above.
CHOICES = 2**_SIGNS


def aligned_layers(point: SVD, target: SVD, depth: int, choice: int = 0) -> np.ndarray:
    """Outer layers ``(time, pair, m + n, r)`` on paths from points to targets.

    All are turned to those half way.  ``choice`` numbers the signs, those of the shortest paths
    first.
    """
    paths = _paths(point, target, depth)
    return _chosen(paths, _lengths(paths), choice)


def aligned_factors(point: SVD, target: SVD, choice: int = 0) -> np.ndarray:
    """Return the same for two layers, with paths measured by the products of these factors."""
    paths, m = _paths(point, target, 2), point.u.shape[-2]
    steps = np.diff(paths[..., :m, :] @ paths[..., m:, :].mT, axis=1)
    return _chosen(paths, np.sum(np.linalg.norm(steps, axis=(-2, -1)), axis=1), choice)


def _paths(point: SVD, target: SVD, depth: int) -> np.ndarray:
    """Paths ``(choice, time, pair, m + n, r)`` for all signs that are tried."""
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
    left, right = (np.moveaxis(x, 0, 1) for x in (left, right))
    times = np.linspace(0, 1, left.shape[1])[:, None, None, None]
    start, end = (x[..., :, None] * np.eye(x.shape[-1]) for x in (lam, other))
    roots = (1 - times) * start + times * (turns.mT @ end @ turns)[:, None]
    return np.concatenate([left @ roots, right @ roots], axis=-2)


def _chosen(paths: np.ndarray, lengths: np.ndarray, choice: int) -> np.ndarray:
    """Path of each pair whose length comes at some place in order."""
    place = min(choice, len(paths) - 1)
    chosen = np.argsort(lengths, axis=0, kind="stable")[place]
    path = np.moveaxis(paths[chosen, :, np.arange(paths.shape[2])], 0, 1)
    return np.asarray(path @ _polar(path.mT @ path[len(path) // 2]))


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
    overlap = np.linalg.svd(paths[:, 1:].mT @ paths[:, :-1], compute_uv=False)
    steps = squares[:, 1:] + squares[:, :-1] - 2 * np.sum(overlap, axis=-1)
    return np.asarray(np.sum(steps, axis=1))
