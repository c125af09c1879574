r"""Orthonormal coordinates of tangent vectors at balanced networks whose layers are all square.

The cores ``Om_p Lam + h - Lam Om_{p-1}`` of a tangent vector have, for each pair ``k < l`` of
singular values, rotations ``Om_p`` that are sums of :math:`\cos(j\pi p/N)`, ``j = 1..N``, and one
symmetric velocity ``h``; all of them are orthogonal to each other, so that a projection takes
products with constant matrices alone.

Coordinates ``(..., P + r + N P)`` are those of ``h`` for the ``P`` pairs and on the diagonal, then
of the cosines, ``(N, P)``.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import array_api_compat
import numpy as np

from dlngeom._lib.arrays import Array, constant, namespace, powers, reshaped

__all__ = [
    "Lifts",
    "Motion",
    "Pairs",
    "antisymmetric_matrices",
    "dimension",
    "gradient_coordinates",
    "horizontal_coordinates",
    "lifts",
    "motion",
    "pairs",
    "rows_and_columns",
    "symmetric_matrices",
    "tangent_coordinates",
]


class Pairs(NamedTuple):
    r"""Singular values ``lam_k``, ``lam_l`` of all pairs ``k < l``.

    Attributes
    ----------
    total, gap : array (..., 1, P)
        ``lam_k + lam_l`` and ``lam_k - lam_l``.
    lengths : array (..., N, P)
        Lengths of the rotations by one cosine, the square roots of
        :math:`(\lambda_k - \lambda_l)^2 + 4 \lambda_k \lambda_l \sin^2(j\pi/2N)`.
    """

    total: Array
    gap: Array
    lengths: Array


class Motion(NamedTuple):
    """Velocity of a balanced network of square layers.

    Attributes
    ----------
    rates : array (..., N+1, P)
        Entries of the rotation rates ``Om_p`` above the diagonal.
    stretch : array (..., P + r)
        Symmetric velocity ``h`` of ``Lam``: of each pair, then on the diagonal.
    """

    rates: Array
    stretch: Array


class Lifts(NamedTuple):
    """Lifts of the matrices ``e_k e_l^T``: the cores ``lam_k^(N-p) lam_l^(p-1) e_k e_l^T``.

    Attributes
    ----------
    cosines : array (..., N, P)
        Coordinates; the lift of ``e_l e_k^T`` has every other one with the opposite sign.
    stretch : array (..., P)
    tip : array (..., r)
        ``lam^(N-1)``.
    """

    cosines: Array
    stretch: Array
    tip: Array


class _Places(NamedTuple):
    """Where the entries of ``r x r`` matrices are in packed ones.

    Attributes
    ----------
    both : ndarray (2, P)
        ``k`` and ``l``.
    entries : ndarray (2 P,)
        Places of the entries ``kl``, then ``lk``, in a flat matrix.
    pair : ndarray (r, r)
        Pair of an entry, and any one on the diagonal.
    signs : ndarray (r, r)
        Signs of an antisymmetric matrix.
    stretch : ndarray (r, r)
        Place of an entry of a symmetric matrix.
    row, column : ndarray (r, r)
        Numbers of rows and columns.
    """

    both: np.ndarray
    entries: np.ndarray
    pair: np.ndarray
    signs: np.ndarray
    stretch: np.ndarray
    row: np.ndarray
    column: np.ndarray


@lru_cache(maxsize=64)
def _places(r: int) -> _Places:
    k, m = np.triu_indices(r, 1)
    pair = np.zeros((r, r), dtype=np.intp)
    pair[k, m] = pair[m, k] = np.arange(len(k))
    signs = np.triu(np.ones((r, r)), 1)
    stretch = pair + np.diag(len(k) + np.arange(r))
    entries = np.concatenate([r * k + m, r * m + k])
    row, column = np.indices((r, r))
    return _Places(np.stack([k, m]), entries, pair, signs - signs.T, stretch, row, column)


@lru_cache(maxsize=64)
def _profile_places(r: int, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Places ``(N, P)`` of ``lam_k^(N-p)`` and ``lam_l^(p-1)`` in the powers ``0..N-1``."""
    (k, m), p = _places(r).both, np.arange(depth)[:, None]
    return r * p[::-1] + k, r * p + m


class _Depth(NamedTuple):
    """Constant matrices of one depth.

    Attributes
    ----------
    squares : ndarray (N, 2)
        From squares of sums and gaps to squared lengths.
    cosines : ndarray (N+1, N)
        From coordinates, divided by lengths, to rotations.
    entries : ndarray (2N+1, 2N)
        From the entries ``kl``, ``lk`` of all cores to what sums and gaps multiply, and to ``h``.
    upper : ndarray (2N+1, N)
        The same for the entries ``kl`` alone.
    signs : ndarray (N, 1)
        Signs of the cosines for the order of frames reversed.
    mean : ndarray (1, N)
        From diagonals to the coordinates of ``h`` there.
    """

    squares: np.ndarray
    cosines: np.ndarray
    entries: np.ndarray
    upper: np.ndarray
    signs: np.ndarray
    mean: np.ndarray


@lru_cache(maxsize=64)
def _depth(depth: int) -> _Depth:
    j, p = np.arange(1, depth + 1)[:, None], np.arange(1, depth + 1)
    angle, last = j * math.pi / (2 * depth), j == depth
    sine, cosine = np.sin(angle), np.where(last, 0.0, np.cos(angle))
    length = np.where(last, math.sqrt(2 * depth), math.sqrt(depth))
    # Reducing the products modulo the period keeps the cosines exact to rounding.
    cosines = np.cos(math.pi / depth * (j * np.arange(depth + 1) % (2 * depth))) / length
    middle = math.pi / (2 * depth) * (j * (2 * p - 1) % (4 * depth))
    differences = -sine * np.sin(middle) / length
    sums = -cosine * np.cos(middle) / length
    mean = np.full((1, depth), 1 / math.sqrt(2 * depth))
    upper = np.concatenate([differences, sums, mean])
    lower = np.concatenate([-differences, sums, mean])
    entries = np.stack([upper, lower], axis=-1).reshape(2 * depth + 1, 2 * depth)
    return _Depth(
        np.hstack([sine**2, cosine**2]), np.ascontiguousarray(cosines.T), entries, upper,
        np.where(j % 2, -1.0, 1.0), mean * math.sqrt(2),
    )  # fmt: skip


@lru_cache(maxsize=64)
def _stretch_lengths(r: int, depth: int) -> np.ndarray:
    """Lengths of symmetric velocities with one entry, and its mirror image, equal to one."""
    pairs = np.full(r * (r - 1) // 2, 2.0 * depth)
    lengths: np.ndarray = np.sqrt(np.concatenate([pairs, np.full(r, float(depth))]))
    return lengths


_SUM_AND_GAP = np.array([[1.0, 1.0], [1.0, -1.0]])


def dimension(r: int, depth: int) -> int:
    """Count the coordinates."""
    return r * (r + 1) // 2 + depth * (r * (r - 1) // 2)


def pairs(lam: Array, depth: int) -> Pairs:
    """All pairs of singular values ``(..., r)``."""
    both = constant(_SUM_AND_GAP, lam) @ _picked(lam, _places(lam.shape[-1]).both)
    squares = constant(_depth(depth).squares, lam) @ (both * both)
    return Pairs(both[..., :1, :], both[..., 1:, :], namespace(lam).sqrt(squares))


def _picked(x: Array, places: np.ndarray) -> Array:
    """Entries of the last axis at given places, an array of indices."""
    if type(x) is np.ndarray:
        return x.take(places, axis=-1)
    xp = namespace(x)
    flat = xp.asarray(places.reshape(-1), device=array_api_compat.device(x))
    return reshaped(xp.take(x, flat, axis=-1), (*x.shape[:-1], *places.shape))


def motion(at: Pairs, V: Array) -> Motion:
    """Velocity with the coordinates ``V``."""
    depth, count = at.lengths.shape[-2:]
    first = V.shape[-1] - depth * count
    lengths = constant(_stretch_lengths(first - count, depth), V)
    cosines = reshaped(V[..., first:], (*V.shape[:-1], depth, count)) / at.lengths
    rates = constant(_depth(depth).cosines, V) @ cosines
    return Motion(rates, V[..., :first] / lengths)


def antisymmetric_matrices(rates: Array, r: int) -> Array:
    """Matrices ``(..., r, r)`` with given entries ``(..., P)`` above the diagonal."""
    places = _places(r)
    return _picked(rates, places.pair) * constant(places.signs, rates)


def symmetric_matrices(stretch: Array, r: int) -> Array:
    """Matrices ``(..., r, r)`` with given entries ``(..., P + r)`` of pairs, then the diagonal."""
    return _picked(stretch, _places(r).stretch)


def rows_and_columns(lam: Array) -> tuple[Array, Array]:
    """Matrices ``lam_k`` and ``lam_l``, in memory since products of small views take longer."""
    places = _places(lam.shape[-1])
    return _picked(lam, places.row), _picked(lam, places.column)


def tangent_coordinates(at: Pairs, cores: Array) -> Array:
    """Coordinates of the tangent part of any cores ``(..., N, r, r)``."""
    *batch, depth, r, _ = cores.shape
    constants, flat = _depth(depth), reshaped(cores, (*batch, depth, r * r))
    entries = reshaped(_picked(flat, _places(r).entries), (*batch, 2 * depth, r * (r - 1) // 2))
    cosines, stretch = _tangent(at, constant(constants.entries, cores) @ entries)
    diagonal = constant(constants.mean, cores) @ flat[..., :: r + 1]
    return _joined(stretch, diagonal[..., 0, :], cosines)


def _tangent(at: Pairs, sums: Array) -> tuple[Array, Array]:
    """Coordinates of cosines and pairs, from sums along depth."""
    depth = at.lengths.shape[-2]
    along = at.total * sums[..., :depth, :] + at.gap * sums[..., depth : 2 * depth, :]
    return along / at.lengths, sums[..., -1, :]


def _joined(stretch: Array, diagonal: Array, cosines: Array) -> Array:
    depth, count = cosines.shape[-2:]
    flat = reshaped(cosines, (*cosines.shape[:-2], depth * count))
    return namespace(flat).concat([stretch, diagonal, flat], axis=-1)


def lifts(at: Pairs, lam: Array) -> Lifts:
    """Lifts of the matrices with one entry."""
    depth, r = at.lengths.shape[-2], lam.shape[-1]
    tall = powers(lam, depth)
    flat = reshaped(tall, (*lam.shape[:-1], depth * r))
    one, other = (_picked(flat, places) for places in _profile_places(r, depth))
    cosines, stretch = _tangent(at, constant(_depth(depth).upper, lam) @ (one * other))
    return Lifts(cosines, stretch, tall[..., -1, :])


def gradient_coordinates(lift: Lifts, core: Array) -> Array:
    """Coordinates of the lift of a matrix ``(..., r, r)`` in the frames at both ends."""
    r, count, depth = core.shape[-1], lift.stretch.shape[-1], lift.cosines.shape[-2]
    flat = reshaped(core, (*core.shape[:-2], r * r))
    entries = _picked(flat, _places(r).entries)
    diagonal = (lift.tip * depth**0.5) * flat[..., :: r + 1]
    return _lifted(lift, entries[..., :count], entries[..., count:], diagonal)


def _lifted(lift: Lifts, upper: Array, lower: Array, diagonal: Array) -> Array:
    """Coordinates of lifts of entries ``kl``, ``lk``, with given ones on the diagonal."""
    signs = constant(_depth(lift.cosines.shape[-2]).signs, upper)
    cosines = lift.cosines * (upper[..., None, :] + signs * lower[..., None, :])
    return _joined(lift.stretch * (upper + lower), diagonal, cosines)


def horizontal_coordinates(lift: Lifts, V: Array) -> Array:
    """Coordinates of the orthogonal projection on the span of all lifts."""
    depth, count = lift.cosines.shape[-2:]
    xp, first = namespace(V), V.shape[-1] - depth * count
    signs = constant(_depth(depth).signs, V)
    products = lift.cosines * reshaped(V[..., first:], (*V.shape[:-1], depth, count))
    own = lift.stretch * V[..., :count]
    squares = xp.sum(lift.cosines * lift.cosines, axis=-2) + lift.stretch * lift.stretch
    upper = (xp.sum(products, axis=-2) + own) / squares
    lower = (xp.sum(signs * products, axis=-2) + own) / squares
    return _lifted(lift, upper, lower, V[..., count:first])
