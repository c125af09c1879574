"""Boundary value problem of geodesics, solved by collocation for many pairs of points at once.

In a chart that holds both ends a geodesic is a polynomial whose second derivative is the one of the
equation at the nodes of Gauss; its velocities at the ends are then accurate to twice the order.
"""

from __future__ import annotations

import numpy as np

from dlngeom.geodesics._iterations import SOLVED, History, agree, relaxed
from dlngeom.geodesics._newton import affordable, continued, newton
from dlngeom.geodesics._polynomials import (
    Line,
    Rule,
    bending,
    is_inside,
    path,
    rule_of,
    start_velocity,
)
from dlngeom.submersion._equations import Chart

__all__ = ["collocate"]

# Numbers of nodes, tried in turn until two agree; the last ones by Newton's method alone.
_SIZES, _FINE = (6, 9, 14, 21, 32, 48, 72), (108,)
# Numbers in the state of the pairs that are solved together.
_GROUP = 1 << 17
# So few pairs are solved one by one.
_FEW = 3


def collocate(chart: Chart) -> tuple[np.ndarray, np.ndarray]:
    """Velocities ``(pair, dim)`` at the first points, and for which pairs they were found."""
    first, last = chart.ends
    chord = last - first
    velocity, found = chord.copy(), ~np.any(chord, axis=-1)
    lines = Line(first, chord, np.arange(len(chord)))
    rows = np.flatnonzero(chart.usable & ~found)
    rates = bending(chart.path)
    if len(rows) > _FEW or not affordable(_SIZES[0], chord.shape[-1]):
        group = max(1, _GROUP // (_SIZES[1] * max(1, chord.shape[-1])))
        for begin in range(0, len(rows), group):
            some = rows[begin : begin + group]
            velocity[some], found[some] = _together(chart, lines.take(some), rates[some])
        # From straight lines too, where a guess misled.
        some = rows[~found[rows]]
        if len(some):
            velocity[some], found[some] = _together(chart, lines.take(some), 0 * rates[some])
    for row in rows[~found[rows]]:
        one = slice(row, row + 1)
        velocity[one], found[one] = _alone(chart, lines.take(one), rates[one])
    return velocity, found


def _alone(chart: Chart, line: Line, rates: np.ndarray) -> tuple[np.ndarray, bool]:
    """Newton's method for one pair, from a guess, a straight line, or targets on the way."""
    velocity, found = _by_newton(chart, line, rates)
    if not found:
        velocity, found = _by_newton(chart, line, 0 * rates)
    if not found:
        later = continued(chart, line, np.mean(rates, axis=1))
        if later is not None:
            velocity, found = _by_newton(chart, line, later)
    return velocity, found


def _by_newton(chart: Chart, line: Line, rates: np.ndarray) -> tuple[np.ndarray, bool]:
    """Refine the nodes of one pair until the velocity at its start no longer changes."""
    rule, before, system = rule_of(rates.shape[1]), None, None
    for size in _SIZES + _FINE:
        rates, rule = rule.refined(rule_of(size)) @ rates, rule_of(size)
        loose = size < _SIZES[-1]  # The last velocity is compared with that of the last but one.
        found = newton(chart, rule, line, rates, system, before, loose=loose)
        rates, residual, good, system = found
        now = start_velocity(rule, line.chord, rates)
        if residual <= SOLVED and agree(now, before)[0]:
            velocity, inside = _finished(chart, rule, line, rates, now)
            if inside[0]:
                return velocity, True
        if not good:
            break
        before = now
    return line.chord, False


def _together(chart: Chart, line: Line, rates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Refine the nodes of each pair until the velocity at its start no longer changes."""
    answer, found = line.chord.copy(), np.zeros(len(line.chord), bool)
    places, rule, before = np.arange(len(found)), rule_of(rates.shape[1]), None
    history = History(rates.shape)
    for size in _SIZES:
        change = rule.refined(rule_of(size))
        rule, rates = rule_of(size), change @ rates
        history.refine(change)
        rates, residual, good = relaxed(chart, rule, line, rates, history, before)
        now = start_velocity(rule, line.chord, rates)
        done = (residual <= SOLVED) & agree(now, before)
        if np.any(done):
            velocity, inside = _finished(chart, rule, line.take(done), rates[done], now[done])
            answer[places[done]], found[places[done]] = velocity, inside
            done[done] = inside
        left = good & ~done
        if not np.any(left):
            break
        places, line, rates, before = places[left], line.take(left), rates[left], now[left]
        history.keep(left)
    return answer, found


def _finished(
    chart: Chart, rule: Rule, line: Line, rates: np.ndarray, velocity: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Velocities at the start, at constant speed, and which paths surely stay on the manifold."""
    x, v = path(rule, line, rates)
    if chart.speed is not None:
        first = chart.speed(line.start[:, None, :], velocity[:, None, :])
        velocity = velocity * (chart.speed(x, v) @ rule.weights)[:, None] / first
    return velocity, is_inside(rule.nodes, chart.span(x, v))
