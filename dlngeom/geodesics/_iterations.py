"""Fixed points that lead to polynomial geodesics, for many pairs together."""

from __future__ import annotations

import numpy as np

from dlngeom.geodesics._polynomials import (
    Line,
    Rule,
    image,
    start_velocity,
)
from dlngeom.submersion._equations import Chart

__all__ = ["EXACT", "HOPELESS", "SOLVED", "History", "agree", "enough", "relaxed"]

# Residuals, relative to the chord: of a solution, the best that is waited for, of a hopeless try.
SOLVED, EXACT, HOPELESS = 1e-12, 3e-14, 1e-6
# Relative difference of two velocities that leaves the later one accurate to rounding.
_AGREE = 1e-9
# Fixed points: iterations, those without progress that end it, and those that are combined.
_ITERATIONS, _PATIENCE, _MEMORY = 80, 16, 10
# Share of the squared size of the last coefficients to which too few nodes are worth solving for.
_COARSE = 0.1


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
        stop = enough(rule, found, some.chord, None if before is None else before[live])
        limit[live] = np.maximum(stop, HOPELESS)
        goes_on = (residual > stop) & (since[live] < _PATIENCE) & (residual < np.inf)
        if not np.any(goes_on):
            break
        gap, live, found = (found - rates)[goes_on], live[goes_on], found[goes_on]
        rates = history.combine(live, found, gap, weights)
    return answer, best, best <= limit


def _size(rates: np.ndarray) -> np.ndarray:
    size = np.linalg.norm(rates.reshape(len(rates), -1), axis=-1)
    return np.where(np.isfinite(size), size, np.inf)


def enough(
    rule: Rule, found: np.ndarray, chord: np.ndarray, before: np.ndarray | None
) -> np.ndarray:
    """Residuals below the error of the velocity at the start for want of nodes."""
    sound = np.where(np.isfinite(found), found, 0.0)
    last = _size(rule.analysis[-2:] @ sound) / np.linalg.norm(chord, axis=-1)
    coarse = np.maximum(EXACT, _COARSE * np.minimum(last, 1.0) ** 2)
    return np.where(agree(start_velocity(rule, chord, sound), before), EXACT, coarse)
