"""Boundary value problem of geodesics, solved by collocation for many pairs of points at once.

In a chart that holds both ends a geodesic is a polynomial whose second derivative is the one of the
equation at the nodes of Gauss; its velocities at the ends are then accurate to twice the order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.polynomial import legendre

from dlngeom.submersion._equations import Chart

__all__ = ["collocate"]

# Numbers of nodes, tried in turn until two agree.
_SIZES = (6, 9, 14, 21, 32, 48, 72)
# Relative difference of two velocities that leaves the later one accurate to rounding.
_AGREE = 1e-9
# Residuals, relative to the chord: of a solution, the best that is waited for, of a hopeless try.
_SOLVED, _EXACT, _HOPELESS = 1e-12, 3e-14, 1e-6
_ITERATIONS = 40
# Newton's method: steps, the smallest share of one, steps of differences, and the largest system.
_NEWTON, _SHARE, _STEP, _UNKNOWNS = 30, 1e-3, 1e-7, 1100
# First step and smallest step of a target along a parabola.
_FIRST, _LEAST = 0.25, 0.05
# Coordinates, relative to those at the ends, beyond which a path is lost.
_FAR = 1e3
# Earlier iterations that Anderson's method combines, and those without progress that end it.
_MEMORY, _PATIENCE = 6, 5
# Numbers in the state of the pairs that are solved together.
_GROUP = 1 << 17


def collocate(chart: Chart) -> tuple[np.ndarray, np.ndarray]:
    """Velocities ``(pair, dim)`` at the first points, and for which pairs they were found."""
    first, last = chart.ends
    chord = last - first
    velocity, found = chord.copy(), ~np.any(chord, axis=-1)
    rows = np.flatnonzero(chart.usable & ~found)
    group = max(1, _GROUP // (_SIZES[1] * max(1, chord.shape[-1])))
    for begin in range(0, len(rows), group):
        some = rows[begin : begin + group]
        line = _Line(first[some], chord[some])
        velocity[some], found[some] = _solve(chart, line, chart.rates[some, None, :], _relaxed)
    # One by one, since few are left, and their systems are large.
    for row in np.flatnonzero(chart.usable & ~found):
        one = slice(row, row + 1)
        line = _Line(first[one], chord[one])
        velocity[one], found[one] = _solve(chart, line, chart.rates[one, None, :], _newton)
        if not found[row]:
            rates = _continued(chart, line, chart.rates[one])
            if rates is not None:
                velocity[one], found[one] = _solve(chart, line, rates, _newton)
    return velocity, found


class _Line(NamedTuple):
    """Straight lines between the ends in the chart: points and directions ``(pair, dim)``."""

    start: np.ndarray
    chord: np.ndarray

    def take(self, rows: np.ndarray) -> _Line:
        return _Line(self.start[rows], self.chord[rows])


class _Rule(NamedTuple):
    """Nodes and weights of Gauss on (0, 1), and matrices that act on values at the nodes.

    Attributes
    ----------
    nodes, weights : array (node,)
    position, velocity : array (node, node)
        From second derivatives to positions and velocities at the nodes, zero at both ends.
    start : array (node,)
        From second derivatives to minus the velocity at the start.
    analysis : array (node, node)
        From values to coefficients of Legendre polynomials.
    """

    nodes: np.ndarray
    weights: np.ndarray
    position: np.ndarray
    velocity: np.ndarray
    start: np.ndarray
    analysis: np.ndarray


# Second derivatives at the nodes that agree with the equation, residuals, and spans.
_Method = Callable[[Chart, _Rule, _Line, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


@lru_cache
def _rule(size: int) -> _Rule:
    x, w = legendre.leggauss(size)
    nodes, weights = (x + 1) / 2, w / 2
    analysis = (2 * np.arange(size) + 1)[:, None] * legendre.legvander(x, size - 1).T * weights
    once = legendre.legint(np.eye(size), lbnd=-1) / 2
    twice = legendre.legint(once, lbnd=-1) / 2
    start = weights * (1 - nodes)
    position = legendre.legval(x, twice).T @ analysis - nodes[:, None] * start
    velocity = legendre.legval(x, once).T @ analysis - start
    return _Rule(nodes, weights, position, velocity, start, analysis)


def _solve(
    chart: Chart, line: _Line, rates: np.ndarray, method: _Method
) -> tuple[np.ndarray, np.ndarray]:
    """Refine the nodes of each pair until the velocity at its start no longer changes."""
    pairs = len(line.chord)
    answer, found = line.chord.copy(), np.zeros(pairs, bool)
    rows, before = np.arange(pairs), None
    rule = _rule(rates.shape[1])
    for size in _SIZES:
        old, rule = rule, _rule(size)
        change = legendre.legvander(2 * rule.nodes - 1, len(old.nodes) - 1) @ old.analysis
        some = line.take(rows)
        rates, residual, span = method(chart, rule, some, change @ rates)
        velocity = some.chord - np.einsum("i,pij->pj", rule.start, rates)
        if before is not None:
            size_of = np.linalg.norm(velocity, axis=-1)
            agree = np.linalg.norm(velocity - before, axis=-1) <= _AGREE * size_of
            done = agree & (residual <= _SOLVED) & _inside(rule.nodes, span)
            answer[rows[done]], found[rows[done]] = velocity[done], True
        else:
            done = np.zeros(len(rows), bool)
        left = ~done & (residual <= _HOPELESS)
        rows, rates, before = rows[left], rates[left], velocity[left]
        if len(rows) == 0:
            break
    return answer, found


def _inside(nodes: np.ndarray, span: np.ndarray) -> np.ndarray:
    """Whether the times within ``span`` of the nodes cover the interval."""
    forth, back = nodes + span, nodes - span
    covered = np.all(forth[:, :-1] >= back[:, 1:], axis=-1)
    return np.asarray(covered & (back[:, 0] <= 0) & (forth[:, -1] >= 1))


def _relaxed(
    chart: Chart, rule: _Rule, line: _Line, rates: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Iterate to second derivatives at the nodes, by Anderson's acceleration of fixed points."""
    pairs, nodes, _ = rates.shape
    answer, span = rates.copy(), np.zeros((pairs, nodes))
    best, since = np.full(pairs, np.inf), np.zeros(pairs, int)
    live, history = np.arange(pairs), _History(np.sqrt(rule.weights)[:, None])
    for _ in range(_ITERATIONS):
        image, reach = _image(chart, rule, line.take(live), rates)
        residual = history.residual(image, rates) / np.linalg.norm(line.chord[live], axis=-1)
        better = residual < best[live]
        since[live] = np.where(residual < best[live] / 2, 0, since[live] + 1)
        kept = live[better]
        answer[kept], span[kept], best[kept] = image[better], reach[better], residual[better]
        goes_on = (best[live] > _EXACT) & (since[live] < _PATIENCE) & (residual < np.inf)
        if not np.any(goes_on):
            break
        if not np.all(goes_on):
            live, image = live[goes_on], image[goes_on]
            history.keep(goes_on)
        rates = history.combine(image)
    return answer, best, span


def _newton(
    chart: Chart, rule: _Rule, line: _Line, rates: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Newton's method for one pair, where fixed points repel, with steps that never make worse."""
    answer, step, share = rates, np.zeros_like(rates), 1.0
    best, span = np.inf, np.zeros(rates.shape[:2])
    if rates.size > _UNKNOWNS:
        return answer, np.full(1, np.inf), span
    size = np.linalg.norm(line.chord)
    for _ in range(_NEWTON):
        trial = answer + share * step
        image, reach = _image(chart, rule, line, trial)
        gap = image - trial
        residual = float(np.linalg.norm(gap * np.sqrt(rule.weights)[:, None]) / size)
        if not residual < best:
            share /= 4
            if share < _SHARE or best <= _SOLVED:
                break
            continue
        answer, best, span = trial, residual, reach
        if best <= _EXACT:
            break
        step, share = _newton_step(chart, rule, line, trial, gap), 1.0
    return answer, np.full(1, best), span


def _continued(chart: Chart, line: _Line, bend: np.ndarray) -> np.ndarray | None:
    """Second derivatives for one pair, from geodesics to targets along the parabola between it."""
    rule, time, step = _rule(_SIZES[1]), 0.0, _FIRST
    rates = bend[:, None, :] + np.zeros((len(rule.nodes), 1))
    while time < 1:
        later = min(1.0, time + step)
        target = _Line(line.start, later * line.chord + later * (later - 1) / 2 * bend)
        stretch = (later / time if time > 0 else later) ** 2
        found, residual, span = _newton(chart, rule, target, stretch * rates)
        if residual[0] <= _HOPELESS and _inside(rule.nodes, span)[0]:
            rates, time, step = found, later, 1.5 * step
        else:
            step /= 2
            if step < _LEAST:
                return None
    return rates


def _newton_step(
    chart: Chart, rule: _Rule, line: _Line, rates: np.ndarray, gap: np.ndarray
) -> np.ndarray:
    """Change of second derivatives that closes the gap to first order."""
    (_, nodes, dim), (x, v) = rates.shape, _path(rule, line, rates)
    shifts = np.eye(dim)[:, None, :]
    columns = []
    for at, along in ((x, False), (v, True)):
        h = _STEP * np.max(np.abs(at))
        moved = at + h * shifts
        pair = (np.broadcast_to(x, moved.shape), moved) if along else (moved, v + 0 * moved)
        change = (chart.acceleration(*pair)[0] - (gap + rates)) / h
        columns.append(np.moveaxis(change, 0, -1)[:, :, None, :])
    by_x, by_v = columns
    system = by_x * rule.position[:, None, :, None] + by_v * rule.velocity[:, None, :, None]
    system = system.reshape(nodes * dim, nodes * dim) - np.eye(nodes * dim)
    try:
        step = np.linalg.solve(system, -gap.ravel())
    except np.linalg.LinAlgError:
        return np.zeros_like(rates)
    return step.reshape(rates.shape)


def _path(rule: _Rule, line: _Line, rates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities at the nodes of paths with given second derivatives."""
    chord = line.chord[:, None, :]
    position = line.start[:, None, :] + rule.nodes[:, None] * chord + rule.position @ rates
    return position, chord + rule.velocity @ rates


def _image(
    chart: Chart, rule: _Rule, line: _Line, rates: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Second derivatives that the equation asks for along paths; infinite where they are lost."""
    x, v = _path(rule, line, rates)
    size = np.max(np.abs(line.start) + np.abs(line.chord), axis=-1)
    lost = ~(np.max(np.abs(x) + np.abs(v), axis=(-2, -1)) < _FAR * size)
    x[lost], v[lost] = line.start[lost, None, :], line.chord[lost, None, :]
    image, span = chart.acceleration(x, v)
    image[lost] = np.inf
    return image, span


class _History:
    """Last iterations of fixed points, pair by pair, for Anderson's acceleration."""

    def __init__(self, weights: np.ndarray) -> None:
        self._weights = weights
        self._now: np.ndarray | None = None
        self._last: tuple[np.ndarray, np.ndarray] | None = None
        self._changes: list[tuple[np.ndarray, np.ndarray]] = []

    def residual(self, image: np.ndarray, rates: np.ndarray) -> np.ndarray:
        """Sizes ``(pair,)`` of the changes from rates to their images; infinite if not finite."""
        gap = (image - rates) * self._weights
        self._now = gap.reshape(len(gap), -1)
        size = np.linalg.norm(self._now, axis=-1)
        return np.where(np.isfinite(size), size, np.inf)

    def keep(self, rows: np.ndarray) -> None:
        """Forget the other pairs."""
        assert self._now is not None
        self._now = self._now[rows]
        self._changes = [(a[rows], b[rows]) for a, b in self._changes]
        if self._last is not None:
            self._last = (self._last[0][rows], self._last[1][rows])

    def combine(self, image: np.ndarray) -> np.ndarray:
        """Combine the last images so that the residual, if it were linear, is smallest."""
        assert self._now is not None
        flat = image.reshape(len(image), -1)
        if self._last is not None:
            change = (self._now - self._last[0], flat - self._last[1])
            self._changes = [*self._changes, change][-_MEMORY:]
        self._last = (self._now, flat)
        if not self._changes:
            return image
        gaps, images = (np.stack(x, axis=1) for x in zip(*self._changes, strict=True))
        gram = gaps @ gaps.mT
        shift = 1e-14 * np.trace(gram, axis1=-2, axis2=-1) + np.finfo(float).tiny
        gram = gram + shift[:, None, None] * np.eye(len(self._changes))
        shares = np.linalg.solve(gram, gaps @ self._now[..., None])
        mixed: np.ndarray = flat - (images.mT @ shares)[..., 0]
        return mixed.reshape(image.shape)
