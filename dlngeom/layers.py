r"""Vectors along a balanced network in its frames, and the solve along depth they share.

An ambient vector ``X`` becomes cores ``Q_p^T X_p Q_{p-1}`` and the two perpendicular
remainders of each layer; a tangent vector has one perpendicular part per frame.  The normal
equations of the balance constraint are one tridiagonal Toeplitz system per pair of singular
values, which the sine transform along depth solves for all pairs at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dlngeom._array import Array, antisymmetric, constant, namespace, project_out, symmetric
from dlngeom.tuples import Frames

__all__ = [
    "Along",
    "Ambient",
    "assemble",
    "balance_defect",
    "combine",
    "correct",
    "multipliers",
    "pair",
    "resolve",
    "rotations",
    "tangent_perpendicular",
]

# Beyond this depth a fast Fourier transform beats the dense sine matrix.
_DENSE_TRANSFORM = 64


class Ambient(NamedTuple):
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


class Along(NamedTuple):
    """Tangent vector in frames: ``V_p = Q_p C_p Q_{p-1}^T + L_p Q_{p-1}^T + Q_p L_{p-1}^T``.

    Attributes
    ----------
    core : array (..., N, r, r)
    perp : tuple of N+1 arrays (..., d_p, r)
        ``L_p``, orthogonal to ``Q_p``.
    """

    core: Array
    perp: tuple[Array, ...]


def pair(lam: Array) -> tuple[Array, Array]:
    """``lam_k`` and ``lam_l`` divided by the larger of the two, as ``r x r`` matrices."""
    xp = namespace(lam)
    row, column = lam[..., :, None], lam[..., None, :]
    largest = xp.maximum(row, column)
    return row / largest, column / largest


def resolve(point: Frames, X: Sequence[Array]) -> Ambient:
    """Write an ambient vector in the frames of ``point``."""
    xp = namespace(point.lam, *X)
    cores, lefts, rights = [], [], []
    for lower, upper, x in zip(point.q[:-1], point.q[1:], X, strict=True):
        image = x @ lower
        cores.append(upper.mT @ image)
        lefts.append(project_out(upper, image))
        rights.append(project_out(lower, x.mT @ upper))
    return Ambient(xp.stack(cores, axis=-3), tuple(lefts), tuple(rights))


def assemble(point: Frames, vector: Along) -> tuple[Array, ...]:
    """Dense layers of a vector given in frames."""
    layers = []
    for p, (lower, upper) in enumerate(zip(point.q[:-1], point.q[1:], strict=True)):
        inside = vector.core[..., p, :, :] @ lower.mT + vector.perp[p].mT
        layers.append(upper @ inside + vector.perp[p + 1] @ lower.mT)
    return tuple(layers)


def tangent_perpendicular(vector: Ambient) -> tuple[Array, ...]:
    """``L_p``: the mean over the one or two layers that frame ``p`` serves."""
    inner = [(lo + hi) / 2 for lo, hi in zip(vector.left[:-1], vector.right[1:], strict=True)]
    return (vector.right[0], *inner, vector.left[-1])


def combine(a: float, x: Along, b: float, y: Along) -> Along:
    """Linear combination ``a x + b y``."""
    perp = tuple(a * p + b * q for p, q in zip(x.perp, y.perp, strict=True))
    return Along(a * x.core + b * y.core, perp)


def balance_defect(lam: Array, core: Array) -> Array:
    """Defect ``b_p = C_{p+1} lam_k - C_p lam_l`` of ``N`` cores, per inner frame."""
    row, column = (x[..., None, :, :] for x in pair(lam))
    return core[..., 1:, :, :] * row - core[..., :-1, :, :] * column


def correct(lam: Array, S: Array) -> Array:
    """Cores ``lam_k S_{p-1} - S_p lam_l`` that multipliers ``S_1, ..., S_{N-1}`` span."""
    xp = namespace(lam, S)
    row, column = (x[..., None, :, :] for x in pair(lam))
    zero = xp.zeros_like(S[..., :1, :, :]) if S.shape[-3] else xp.zeros_like(row * column)
    padded = xp.concat([zero, S, zero], axis=-3)
    return row * padded[..., :-1, :, :] - column * padded[..., 1:, :, :]


def multipliers(lam: Array, b: Array) -> Array:
    r"""Solve ``(lam_k^2 + lam_l^2) S_p - lam_k lam_l (S_{p-1} + S_{p+1}) = b_p`` along depth.

    The sine transform diagonalises the system, with eigenvalues
    :math:`(\lambda_k - \lambda_l)^2 + 4 \lambda_k\lambda_l \sin^2(j\pi/2N)`, never zero.

    Parameters
    ----------
    lam : array (..., r)
    b : array (..., N-1, r, r)

    Returns
    -------
    array (..., N-1, r, r)
    """
    depth = b.shape[-3] + 1
    if depth == 1:
        return b
    row, column = (x[..., None, :, :] for x in pair(lam))
    sines = np.sin(np.arange(1, depth) * math.pi / (2 * depth)) ** 2
    eigenvalues = (row - column) ** 2 + 4 * row * column * constant(sines, lam)[:, None, None]
    return sine_transform(sine_transform(b) / eigenvalues) * (2 / depth)


def sine_transform(x: Array) -> Array:
    r"""DST-I along the third axis from the end: ``sum_p sin(pi j p / N) x_p``."""
    depth = x.shape[-3] + 1
    if depth > _DENSE_TRANSFORM:
        return _fast_sine_transform(x)
    p = np.arange(1, depth)
    # Reducing the product modulo the period keeps the sines exact to rounding.
    matrix = constant(np.sin(np.pi / depth * (np.outer(p, p) % (2 * depth))), x)
    flat = namespace(x).reshape(x, (*x.shape[:-2], x.shape[-2] * x.shape[-1]))
    return namespace(x).reshape(matrix @ flat, x.shape)


def _fast_sine_transform(x: Array) -> Array:
    xp = namespace(x)
    zero = xp.zeros_like(x[..., :1, :, :])
    odd = xp.concat([zero, x, zero, -xp.flip(x, axis=-3)], axis=-3)
    spectrum = xp.fft.rfft(odd, axis=-3)
    return -xp.imag(spectrum)[..., 1 : x.shape[-3] + 1, :, :] / 2


def rotations(lam: Array, core: Array) -> tuple[Array, Array, Array]:
    r"""Split tangent cores :math:`C_p = \Omega_p \Lambda + h - \Lambda \Omega_{p-1}`.

    Parameters
    ----------
    lam : array (..., r)
    core : array (..., N, r, r)

    Returns
    -------
    omega : array (..., N+1, r, r)
        Antisymmetric, with mean zero over the frames, which is smooth at repeated ``lam``.
    h : array (..., r, r)
        Symmetric.
    rate : array (..., N, r, r)
        Differences of ``omega``.
    """
    xp = namespace(lam, core)
    row, column = lam[..., None, :, None], lam[..., None, None, :]
    rate = 2 * antisymmetric(core) / (row + column)
    omega = xp.concat([rate[..., :1, :, :] * 0, xp.cumulative_sum(rate, axis=-3)], axis=-3)
    omega = omega - xp.mean(omega, axis=-3, keepdims=True)
    middle = (omega[..., 1:, :, :] + omega[..., :-1, :, :]) / 2
    h = xp.mean(symmetric(core) - (column - row) * middle, axis=-3)
    return omega, h, rate
