r"""Landscape of the free energy: its critical points and local minima, by search from many starts.

References are to Menon, *The geometry of the deep linear network*.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from dlngeom._lib import checks
from dlngeom._lib.arrays import NumpyArray
from dlngeom.points._checks import require_positive
from dlngeom.thermodynamics._layers import layer_widths
from dlngeom.thermodynamics.landscape._newton import (
    FLAT,
    FreeEnergyPotential,
    Search,
    local_model,
    search,
)

__all__ = ["Landscape", "critical_points", "local_minima"]

# Points closer than this, relative to their size, are one.
SAME = 1e-5

Function = Callable[[Any], Any]


class Landscape(NamedTuple):
    """Critical points of a free energy, by ascending value, and where no search ended at one.

    Attributes
    ----------
    points : array (p, m, n)
        Distinct critical points.
    values : array (p,)
        Free energies.
    eigenvalues : array (p, m n)
        Of the Hessian for ``g^N``, ascending: rates of the linearised flow (6.7).
    indices, nullities : int array (p,)
        How many of them are negative, and how many vanish.
    counts : int array (p,)
        Searches that ended at the point.
    families : int array (p,)
        Number of the family of a point, ascending from 0.  Points are of one family if they agree
        in value, singular values and eigenvalues, as copies under a symmetry do; or, where an
        eigenvalue vanishes, in value and index, as the points of a continuum do.
    escaped : int
        Searches that left every bounded set.
    collapsed : int
        Searches that ended at a matrix of lower rank.
    unfinished : int
        Searches that used up their iterations.
    """

    points: NumpyArray
    values: NumpyArray
    eigenvalues: NumpyArray
    indices: NumpyArray
    nullities: NumpyArray
    counts: NumpyArray
    families: NumpyArray
    escaped: int
    collapsed: int
    unfinished: int


def local_minima(
    energy: Function,
    gradient: Function,
    hessian: Callable[[Any, Any], Any],
    widths: Sequence[int],
    beta: float,
    *,
    starts: NumpyArray,
    depth: float | None = None,
    max_iterations: int = 200,
) -> Landscape:
    r"""Local minima of the free energy, by descent from many starts.

    .. math:: \mathrm{grad}_{g^N} F_\beta(W) = 0, \qquad \mathrm{Hess}\, F_\beta(W) \geq 0

    Parameters
    ----------
    energy, gradient : callable
        ``E(W)`` and ``E'(W)`` of a numpy batch ``(..., m, n)``.
    hessian : callable
        ``E''(W)[Z]`` of batches of points and directions.
    widths : sequence of N+1 int
        ``(d_0, ..., d_N)``.
    beta : float
        Inverse temperature, > 0; ``inf`` leaves the energy.
    starts : array (k, m, n)
        Points of full rank.  The sign of the determinant of a square matrix stays that of the
        start, except at ``N = 1``.
    depth : inf, optional
        As for :func:`dlngeom.thermodynamics.entropy`.
    max_iterations : int
        Newton steps after which a search gives up.

    Returns
    -------
    Landscape
        It may miss minima that no start leads to.

    Raises
    ------
    ValueError
        If ``beta`` is not positive, shapes or depth do not fit, or a start is singular.

    Notes
    -----
    The minimising set (6.9).  A minimum need not exist: where a matrix can grow without changing
    ``E``, the entropy lets ``F`` fall without bound, and ``escaped`` counts such searches.
    """
    potential = _potential(energy, gradient, hessian, widths, beta, depth)
    return _find(potential, starts, max_iterations, descend=True)


def critical_points(
    energy: Function,
    gradient: Function,
    hessian: Callable[[Any, Any], Any],
    widths: Sequence[int],
    beta: float,
    *,
    starts: NumpyArray,
    depth: float | None = None,
    max_iterations: int = 200,
) -> Landscape:
    r"""Critical points of the free energy of any index, by Newton's method from many starts.

    .. math:: \mathrm{grad}_{g^N} F_\beta(W) = 0

    Parameters
    ----------
    energy, gradient, hessian, widths, beta, starts, depth, max_iterations
        As for :func:`local_minima`.

    Returns
    -------
    Landscape
        It may miss points that no start leads to; many searches do not end at any.

    Raises
    ------
    ValueError
        As for :func:`local_minima`.

    Notes
    -----
    Equation (6.7) at rest.
    """
    potential = _potential(energy, gradient, hessian, widths, beta, depth)
    return _find(potential, starts, max_iterations, descend=False)


def _potential(
    energy: Function,
    gradient: Function,
    hessian: Callable[[Any, Any], Any],
    widths: Sequence[int],
    beta: float,
    depth: float | None,
) -> FreeEnergyPotential:
    beta, layers = checks.inverse_temperature(beta), layer_widths(widths, depth)
    return FreeEnergyPotential(energy, gradient, hessian, layers.widths, beta, layers.depth)


def _find(
    potential: FreeEnergyPotential, starts: NumpyArray, max_iterations: int, *, descend: bool
) -> Landscape:
    starts = np.asarray(starts, dtype=np.float64)
    if starts.ndim != 3 or not len(starts):
        raise ValueError(f"starts has shape {starts.shape}: it must be (k, m, n) with k >= 1")
    checks.shape("starts", starts, (potential.widths[-1], potential.widths[0]))
    checks.finite("starts", starts)
    checks.rank(min(starts.shape[1:]), *potential.widths)
    s = np.linalg.svd(starts, compute_uv=False)
    require_positive("starts", s, max(starts.shape[1:]) * np.finfo(float).eps)
    max_iterations = checks.integer("max_iterations", max_iterations, 1)
    return _landscape(potential, search(potential, starts, max_iterations, descend=descend))


def _landscape(potential: FreeEnergyPotential, found: Search) -> Landscape:
    ends = found.W[found.converged]
    unfinished = int(np.sum(~(found.converged | found.escaped | found.collapsed)))
    points, counts = _distinct(ends)
    values = potential.value(points) if len(points) else np.zeros(0)
    order = np.argsort(values, kind="stable")
    points, counts, values = points[order], counts[order], values[order]
    eigenvalues = np.zeros((0, math.prod(ends.shape[1:])))
    if len(points):
        eigenvalues = local_model(potential, points).eigenvalues
    flat = 10 * FLAT * np.max(np.abs(eigenvalues), axis=-1, keepdims=True, initial=0.0)
    index = np.sum(eigenvalues < -flat, axis=-1)
    nullity = np.sum(np.abs(eigenvalues) <= flat, axis=-1)
    families = _families(points, values, eigenvalues, index, nullity)
    return Landscape(
        points, values, eigenvalues, index, nullity, counts, families,
        int(np.sum(found.escaped)), int(np.sum(found.collapsed)), unfinished,
    )  # fmt: skip


def _distinct(ends: NumpyArray) -> tuple[NumpyArray, NumpyArray]:
    """Leave out repetitions, and count them."""
    kept: list[NumpyArray] = []
    counts: list[int] = []
    for W in ends:
        gaps = [np.linalg.norm(W - other) / np.linalg.norm(W) for other in kept]
        if gaps and min(gaps) < SAME:
            counts[int(np.argmin(gaps))] += 1
        else:
            kept.append(W)
            counts.append(1)
    return np.array(kept).reshape(-1, *ends.shape[1:]), np.array(counts, dtype=int)


def _families(
    points: NumpyArray,
    values: NumpyArray,
    eigenvalues: NumpyArray,
    index: NumpyArray,
    nullity: NumpyArray,
) -> NumpyArray:
    """Give one number to points that agree in what no symmetry changes."""
    families = np.full(len(points), -1)
    if not len(points):
        return families
    s = np.linalg.svd(points, compute_uv=False)
    tolerance = SAME * (1 + np.abs(values))
    for i in range(len(points)):
        if families[i] >= 0:
            continue
        alike = (np.abs(values - values[i]) < tolerance) & (index == index[i])
        alike &= (nullity > 0) == (nullity[i] > 0)
        if not nullity[i]:
            alike &= _close(s, s[i]) & _close(eigenvalues, eigenvalues[i])
        families[alike & (families < 0)] = np.max(families) + 1
    return families


def _close(rows: NumpyArray, row: NumpyArray) -> NumpyArray:
    gap = np.max(np.abs(rows - row), axis=-1)
    return np.asarray(gap < 1e3 * SAME * np.max(np.abs(row)))
