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
    r"""Critical points of a free energy, by ascending value, with counts of failed searches.

    .. math:: \mathrm{grad}_{g^N} F_\beta(W) = 0

    Attributes
    ----------
    points : array (p, m, n)
        Distinct critical points.
    values : array (p,)
        Free energies.
    eigenvalues : array (p, m n)
        Eigenvalues of the Hessian for ``g^N``, ascending.
    indices, nullities : int array (p,)
        Numbers of negative and of vanishing eigenvalues.
    counts : int array (p,)
        Number of searches that ended at each point.
    families : int array (p,)
        Label of the family of each point, from 0.  Points belong to one family if they agree in
        value, singular values and eigenvalues, like copies under a symmetry; or, where an
        eigenvalue vanishes, in value and index, like points of a continuum.
    escaped : int
        Number of searches that diverged.
    collapsed : int
        Number of searches that ended at a matrix of lower rank.
    unfinished : int
        Number of searches that used up their iterations.

    See Also
    --------
    dlngeom.thermodynamics.landscape.local_minima : Search for minima.
    dlngeom.thermodynamics.landscape.critical_points : Search for points of any index.

    Notes
    -----
    Stationary points of the flow (6.7) of Menon, *The geometry of the deep linear network*; the
    eigenvalues are the rates of the linearised flow.
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
        Inverse temperature, > 0; ``inf`` drops the entropy.
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
        Minima that no start leads to are missing.

    Raises
    ------
    TypeError, ValueError
        If ``beta`` is not positive, shapes or depth do not fit, a start is singular, or the
        functions do not return one real number or matrix for each start.

    See Also
    --------
    dlngeom.thermodynamics.landscape.critical_points : Points of any index.
    dlngeom.thermodynamics.free_energy : The free energy.

    Notes
    -----
    The minimising set (6.9) of Menon, *The geometry of the deep linear network*.  A minimum need
    not exist: where a matrix can grow without changing ``E``, the entropy lets ``F`` fall without
    bound, and ``escaped`` counts such searches.
    """
    potential = _potential(energy, gradient, hessian, widths, beta, depth)
    given = _functions(energy, gradient, hessian)
    return _find(potential, given, starts, max_iterations, descend=True)


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
        Points that no start leads to are missing; many searches may fail.

    Raises
    ------
    TypeError, ValueError
        As for :func:`local_minima`.

    See Also
    --------
    dlngeom.thermodynamics.landscape.local_minima : Minima alone.
    dlngeom.thermodynamics.free_energy_gradient : What vanishes there.

    Notes
    -----
    Stationary points of (6.7) of Menon, *The geometry of the deep linear network*.
    """
    potential = _potential(energy, gradient, hessian, widths, beta, depth)
    given = _functions(energy, gradient, hessian)
    return _find(potential, given, starts, max_iterations, descend=False)


def _potential(
    energy: Function,
    gradient: Function,
    hessian: Callable[[Any, Any], Any],
    widths: Sequence[int],
    beta: float,
    depth: float | None,
) -> FreeEnergyPotential:
    for name, function in _functions(energy, gradient, hessian).items():
        if not callable(function):
            raise TypeError(f"{name}={function!r}: it must be a function of matrices")
    beta, layers = checks.inverse_temperature(beta), layer_widths(widths, depth)

    def values(W: NumpyArray) -> NumpyArray:
        return np.asarray(energy(W)).reshape(W.shape[:-2])

    def slopes(W: NumpyArray) -> NumpyArray:
        return np.asarray(gradient(W)).reshape(W.shape)

    def bends(W: NumpyArray, Z: NumpyArray) -> NumpyArray:
        return np.asarray(hessian(W, Z)).reshape(Z.shape)

    return FreeEnergyPotential(values, slopes, bends, layers.widths, beta, layers.depth)


def _functions(energy: Any, gradient: Any, hessian: Any) -> dict[str, Any]:
    return {"energy": energy, "gradient": gradient, "hessian": hessian}


def _find(
    potential: FreeEnergyPotential,
    given: dict[str, Any],
    starts: NumpyArray,
    max_iterations: int,
    *,
    descend: bool,
) -> Landscape:
    starts = checks.real_array("starts", starts)
    if starts.ndim != 3 or not len(starts):
        raise ValueError(f"starts has shape {starts.shape}: it must be (k, m, n) with k >= 1")
    checks.shape("starts", starts, (potential.widths[-1], potential.widths[0]))
    checks.finite("starts", starts)
    checks.rank(min(starts.shape[1:]), *potential.widths)
    s = np.linalg.svd(starts, compute_uv=False)
    require_positive("starts", s, max(starts.shape[1:]) * np.finfo(float).eps)
    max_iterations = checks.integer("max_iterations", max_iterations, 1)
    _require_batches(given, starts)
    return _landscape(potential, search(potential, starts, max_iterations, descend=descend))


def _require_batches(given: dict[str, Any], starts: NumpyArray) -> None:
    """Require functions of the caller that take a batch and return one, of real numbers."""
    for name, function in given.items():
        copies = [starts.copy() for _ in range(2 if name == "hessian" else 1)]
        value, shape = function(*copies), starts.shape[:1] if name == "energy" else starts.shape
        found = checks.real_array(f"the result of {name}", _from_list(value))
        checks.finite(f"the result of {name}", found)
        # One matrix may come without its axis of length one.
        if found.size != math.prod(shape):
            raise ValueError(
                f"{name} returned shape {found.shape} for matrices {starts.shape}: it must be "
                f"{shape}"
            )


def _from_list(value: Any) -> Any:
    try:
        return np.asarray(value) if isinstance(value, list) else value
    except ValueError:
        return value


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
    """Remove repeated points, and count how often each was found."""
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
    """Label points by family: those that agree in all quantities that symmetries preserve."""
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
