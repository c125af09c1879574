"""Polynomial paths between the ends of geodesics, given by second derivatives at nodes of Gauss."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.polynomial import legendre

from dlngeom.submersion._equations import Chart

__all__ = ["Line", "Rule", "bending", "image", "is_inside", "path", "rule_of", "start_velocity"]

# Coordinates, relative to those at the ends, beyond which a path is lost.
_FAR = 1e3
# Largest number of nodes at which a curve is fitted.
_FITTED = 5


class Line(NamedTuple):
    """Straight lines between ends: points and directions ``(pair, dim)``, and indices of pairs."""

    start: np.ndarray
    chord: np.ndarray
    pair: np.ndarray

    def take(self, rows: np.ndarray | slice) -> Line:
        """Take some of the lines."""
        return Line(self.start[rows], self.chord[rows], self.pair[rows])


class Rule(NamedTuple):
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

    def refined(self, other: Rule) -> np.ndarray:
        """Matrix from values at these nodes to those at the nodes of another rule.

        Where these are more it drops the polynomials that the others do not tell from lower ones.
        """
        return _between(len(self.nodes), len(other.nodes))


@lru_cache
def rule_of(size: int) -> Rule:
    """Rule with so many nodes."""
    x, w = legendre.leggauss(size)
    nodes, weights = (x + 1) / 2, w / 2
    analysis = (2 * np.arange(size) + 1)[:, None] * legendre.legvander(x, size - 1).T * weights
    once = legendre.legint(np.eye(size), lbnd=-1) / 2
    twice = legendre.legint(once, lbnd=-1) / 2
    start = weights * (1 - nodes)
    position = legendre.legval(x, twice).T @ analysis - nodes[:, None] * start
    velocity = legendre.legval(x, once).T @ analysis - start
    return Rule(nodes, weights, position, velocity, start, analysis)


@lru_cache
def _between(size: int, other: int) -> np.ndarray:
    count = min(size, other)
    values = legendre.legvander(2 * rule_of(other).nodes - 1, count - 1)
    return np.asarray(values @ rule_of(size).analysis[:count])


def bending(path: np.ndarray) -> np.ndarray:
    """Second derivatives ``(pair, node, dim)`` of polynomials near curves given at even times."""
    count = path.shape[1] - 2
    rule, times = rule_of(min(count, _FITTED)), np.linspace(0, 1, count + 2)[1:-1]
    x = 2 * times - 1
    twice = legendre.legint(np.eye(len(rule.nodes)), m=2, lbnd=-1, k=[0, 0]) / 4
    inside = legendre.legval(x, twice).T @ rule.analysis - times[:, None] * rule.start
    chord = path[:, -1:] - path[:, :1]
    bent = path[:, 1:-1] - path[:, :1] - times[:, None] * chord
    return np.asarray(np.linalg.pinv(inside) @ bent)


def path(rule: Rule, line: Line, rates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities at the nodes of paths with given second derivatives."""
    chord = line.chord[:, None, :]
    position = line.start[:, None, :] + rule.nodes[:, None] * chord + rule.position @ rates
    return position, chord + rule.velocity @ rates


def start_velocity(rule: Rule, chord: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Velocities ``(pair, dim)`` at the start of such paths."""
    return np.asarray(chord - rule.start @ rates)


def image(chart: Chart, rule: Rule, line: Line, rates: np.ndarray) -> np.ndarray:
    """Second derivatives that the equation asks for along paths; infinite where they are lost."""
    x, v = path(rule, line, rates)
    size = np.max(np.abs(line.start) + np.abs(line.chord), axis=-1)
    lost = ~(np.max(np.abs(x) + np.abs(v), axis=(-2, -1)) < _FAR * size)
    if not np.any(lost):
        return chart.acceleration(x, v, line.pair)
    x[lost], v[lost] = line.start[lost, None, :], line.chord[lost, None, :]
    found = chart.acceleration(x, v, line.pair)
    found[lost] = np.inf
    return found


def is_inside(nodes: np.ndarray, span: np.ndarray) -> np.ndarray:
    """Whether the times within ``span`` of the nodes cover the interval."""
    forth, back = nodes + span, nodes - span
    covered = np.all(forth[:, :-1] >= back[:, 1:], axis=-1)
    return np.asarray(covered & (back[:, 0] <= 0) & (forth[:, -1] >= 1))
