"""Iterations to polynomial geodesics: fixed points for many pairs together, and Newton's method."""

from __future__ import annotations

import numpy as np

from dlngeom.geodesics._polynomials import (
    Line,
    Rule,
    image,
    is_inside,
    path,
    rule_of,
    start_velocity,
)
from dlngeom.submersion._equations import Chart

__all__ = ["HOPELESS", "SOLVED", "History", "agree", "continued", "newton", "relaxed"]

# Residuals, relative to the chord: of a solution, the best that is waited for, of a hopeless try.
SOLVED, _EXACT, HOPELESS = 1e-12, 3e-14, 1e-6
# Relative difference of two velocities that leaves the later one accurate to rounding.
_AGREE = 1e-9
# Fixed points: iterations, those without progress that end it, and those that are combined.
_ITERATIONS, _PATIENCE, _MEMORY = 80, 16, 10
# Share of the squared size of the last coefficients to which too few nodes are worth solving for.
_COARSE = 0.1
# Newton's method: steps, the smallest share of one, steps of differences, and the largest system.
_NEWTON, _SHARE, _STEP, _UNKNOWNS = 30, 1e-3, 1e-7, 1100
# Nodes, first step and smallest step for targets along a parabola.
_NODES, _FIRST, _LEAST = 9, 0.25, 0.05


class History:
    """Last iterations of fixed points, pair by pair, for Anderson's acceleration.

    Parameters
    ----------
    shape : (pair, node, dim)
        Shape of second derivatives.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        pairs, nodes, dim = shape
        self._gaps, self._images = np.zeros((2, pairs, _MEMORY, nodes, dim))
        self._last, self._begun = np.zeros((2, *shape)), np.zeros(pairs, bool)
        self._count = 0

    def refine(self, change: np.ndarray) -> None:
        """Pass to the nodes to which a matrix leads."""
        self._gaps, self._images = change @ self._gaps, change @ self._images
        self._last = change @ self._last

    def keep(self, rows: np.ndarray) -> None:
        """Forget the other pairs."""
        self._gaps, self._images = self._gaps[rows], self._images[rows]
        self._last, self._begun = self._last[:, rows], self._begun[rows]

    def combine(
        self, live: np.ndarray, found: np.ndarray, gap: np.ndarray, weights: np.ndarray
    ) -> np.ndarray:
        """Combine the last images so that the residual, if it were linear, is smallest."""
        slot, begun = self._count % _MEMORY, live[self._begun[live]]
        some = self._begun[live]
        self._gaps[begun, slot] = gap[some] - self._last[0][begun]
        self._images[begun, slot] = found[some] - self._last[1][begun]
        self._last[0][live], self._last[1][live], self._begun[live] = gap, found, True
        self._count += 1
        size = (len(live), _MEMORY, -1)
        gaps = (self._gaps[live] * weights).reshape(size)
        gram = gaps @ gaps.mT
        shift = 1e-14 * np.trace(gram, axis1=-2, axis2=-1) + np.finfo(float).tiny
        gram += shift[:, None, None] * np.eye(_MEMORY)
        now = (gap * weights).reshape(len(live), -1, 1)
        shares = np.linalg.solve(gram, gaps @ now)
        mixed = self._images[live].reshape(size).mT @ shares
        return np.asarray(found - mixed.reshape(found.shape))


def agree(now: np.ndarray, before: np.ndarray | None) -> np.ndarray:
    """Whether velocities at the start are those found with fewer nodes."""
    if before is None:
        return np.zeros(len(now), bool)
    gap, size = (np.linalg.norm(x, axis=-1) for x in (now - before, now))
    return np.asarray(gap <= _AGREE * size)


def relaxed(
    chart: Chart,
    rule: Rule,
    line: Line,
    rates: np.ndarray,
    history: History,
    before: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Iterate to second derivatives at the nodes, by Anderson's acceleration of fixed points.

    Returns them, residuals, and which are worth more nodes.  It ends early where the error for want
    of nodes is larger, unless velocities agree already.
    """
    answer, (best, limit) = rates.copy(), np.full((2, len(rates)), np.inf)
    since, live = np.zeros(len(rates), int), np.arange(len(rates))
    weights, size = np.sqrt(rule.weights)[:, None], np.linalg.norm(line.chord, axis=-1)
    for _ in range(_ITERATIONS):
        some = line if len(live) == len(size) else line.take(live)
        found = image(chart, rule, some, rates)
        residual = _size((found - rates) * weights) / size[live]
        since[live] = np.where(residual < best[live] / 2, 0, since[live] + 1)
        better = residual < best[live]
        kept = live[better]
        answer[kept], best[kept] = found[better], residual[better]
        enough = _enough(rule, found, some.chord, None if before is None else before[live])
        limit[live] = np.maximum(enough, HOPELESS)
        goes_on = (residual > enough) & (since[live] < _PATIENCE) & (residual < np.inf)
        if not np.any(goes_on):
            break
        gap, live, found = (found - rates)[goes_on], live[goes_on], found[goes_on]
        rates = history.combine(live, found, gap, weights)
    return answer, best, best <= limit


def _size(rates: np.ndarray) -> np.ndarray:
    size = np.linalg.norm(rates.reshape(len(rates), -1), axis=-1)
    return np.where(np.isfinite(size), size, np.inf)


def _enough(
    rule: Rule, found: np.ndarray, chord: np.ndarray, before: np.ndarray | None
) -> np.ndarray:
    """Residuals below the error of the velocity at the start for want of nodes."""
    sound = np.where(np.isfinite(found), found, 0.0)
    last = _size(rule.analysis[-2:] @ sound) / np.linalg.norm(chord, axis=-1)
    enough = np.maximum(_EXACT, _COARSE * np.minimum(last, 1.0) ** 2)
    return np.where(agree(start_velocity(rule, chord, sound), before), _EXACT, enough)


def newton(
    chart: Chart, rule: Rule, line: Line, rates: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Newton's method for one pair, where fixed points repel, with steps that never make worse."""
    answer, step, share, best = rates, np.zeros_like(rates), 1.0, np.inf
    if rates.size > _UNKNOWNS:
        return answer, np.full(1, np.inf)
    size = np.linalg.norm(line.chord)
    for _ in range(_NEWTON):
        trial = answer + share * step
        gap = image(chart, rule, line, trial) - trial
        residual = float(np.linalg.norm(gap * np.sqrt(rule.weights)[:, None]) / size)
        if not residual < best:
            share /= 4
            if share < _SHARE or best <= SOLVED:
                break
            continue
        answer, best = trial, residual
        if best <= _EXACT:
            break
        step, share = _newton_step(chart, rule, line, trial, gap), 1.0
    return answer, np.full(1, best)


def continued(chart: Chart, line: Line, bend: np.ndarray) -> np.ndarray | None:
    """Second derivatives for one pair, from geodesics to targets along the parabola between it."""
    rule, time, step = rule_of(_NODES), 0.0, _FIRST
    rates = bend[:, None, :] + np.zeros((len(rule.nodes), 1))
    while time < 1:
        later = min(1.0, time + step)
        chord = later * line.chord + later * (later - 1) / 2 * bend
        target = line._replace(chord=chord)
        stretch = (later / time if time > 0 else later) ** 2
        found, residual = newton(chart, rule, target, stretch * rates)
        if residual[0] <= HOPELESS and _goes_on(chart, rule, target, found):
            rates, time, step = found, later, 1.5 * step
        else:
            step /= 2
            if step < _LEAST:
                return None
    return rates


def _goes_on(chart: Chart, rule: Rule, line: Line, rates: np.ndarray) -> bool:
    return bool(is_inside(rule.nodes, chart.span(*path(rule, line, rates)))[0])


def _newton_step(
    chart: Chart, rule: Rule, line: Line, rates: np.ndarray, gap: np.ndarray
) -> np.ndarray:
    """Change of second derivatives that closes the gap to first order."""
    (_, nodes, dim), (x, v) = rates.shape, path(rule, line, rates)
    shifts, pair = np.eye(dim)[:, None, :], np.full(dim, line.pair[0])
    columns = []
    for at, along in ((x, False), (v, True)):
        h = _STEP * np.max(np.abs(at))
        moved = at + h * shifts
        both = (np.broadcast_to(x, moved.shape), moved) if along else (moved, v + 0 * moved)
        change = (chart.acceleration(both[0], both[1], pair) - (gap + rates)) / h
        columns.append(np.moveaxis(change, 0, -1)[:, :, None, :])
    by_x, by_v = columns
    system = by_x * rule.position[:, None, :, None] + by_v * rule.velocity[:, None, :, None]
    system = system.reshape(nodes * dim, nodes * dim) - np.eye(nodes * dim)
    try:
        step = np.linalg.solve(system, -gap.ravel())
    except np.linalg.LinAlgError:
        return np.zeros_like(rates)
    return step.reshape(rates.shape)
