"""Newton's method for polynomial geodesics, one pair at a time: derivatives only at few nodes."""

from __future__ import annotations

import math

import numpy as np

from dlngeom.geodesics._iterations import HOPELESS, SOLVED, enough
from dlngeom.geodesics._polynomials import (
    Line,
    Rule,
    image,
    is_inside,
    path,
    rule_of,
)
from dlngeom.geodesics._systems import System
from dlngeom.submersion._equations import Chart

__all__ = ["affordable", "continued", "newton"]

# Iterations, those without much progress that end it, steps that are combined.
_NEWTON, _PATIENCE, _MEMORY = 40, 12, 8
# Smallest share of a step, and the largest system.
_SHARE, _UNKNOWNS = 1e-3, 600
# Residuals above this, or that a step does not halve, ask for new derivatives.
_FAR = 1e-2
# Errors for want of nodes below which these may be the last, and a residual that serves for more.
_SEEN, _UNSEEN = 1e-8, 1e-3
# Margin for residuals that are expected.
_CAUTION = 2
# Nodes, first step and smallest step for targets along a parabola.
_NODES, _FIRST, _LEAST = 9, 0.25, 0.05


def affordable(size: int, dim: int) -> bool:
    """Whether a system at so many nodes is worth its derivatives."""
    return size * dim <= _UNKNOWNS


def newton(
    chart: Chart,
    rule: Rule,
    line: Line,
    rates: np.ndarray,
    system: System | None = None,
    before: np.ndarray | None = None,
    *,
    loose: bool = True,
) -> tuple[np.ndarray, float, bool, System | None]:
    """Second derivatives at the nodes for one pair, from a guess and perhaps an older system.

    Returns them, the residual, whether it is worth more nodes, and the last system.  It ends early
    where the error for want of nodes is larger, as fixed points do; if ``loose``, much earlier,
    since then these nodes are not the ones with which the last have to agree.
    """
    search = _Search(rates, system, affordable(len(rule.nodes), rates.shape[-1]))
    weights, size = np.sqrt(rule.weights)[:, None], np.linalg.norm(line.chord)
    limit, trial = HOPELESS, rates
    for _ in range(_NEWTON):
        found = image(chart, rule, line, trial)
        gap = found - trial
        residual = float(np.linalg.norm(gap * weights) / size)
        better = residual < search.best
        if better:
            search.accept(trial, gap, residual)
            stop = float(enough(rule, found, line.chord, before)[0])
            stop = _loosened(stop) if loose else stop
            limit = max(stop, HOPELESS)
            if residual <= stop:
                break
            if search.ahead <= stop:
                return search.next(rule), search.ahead, True, search.system
        elif not search.shorten():
            break
        if search.wants_derivatives:
            try:
                search.renew(System(chart, rule, line, search.answer, search.gap))
            except (np.linalg.LinAlgError, ValueError):
                break
        trial = search.next(rule)
    return search.answer, search.best, search.best <= limit, search.system


def _loosened(stop: float) -> float:
    """Residual that ends the iterations at nodes after which two larger numbers of them follow."""
    # Digits that these nodes do not resolve are lost there.
    return stop if stop <= _SEEN else max(stop, min(math.sqrt(stop), _UNSEEN))


class _Search:
    """Best second derivatives so far, and the steps from there.

    Attributes
    ----------
    ahead : float
        Residual to be expected after the next step, if it falls as before.
    """

    def __init__(self, rates: np.ndarray, system: System | None, affordable: bool) -> None:
        self.answer, self.gap, self.best = rates, np.zeros_like(rates), np.inf
        self.system, self.wants_derivatives = system, system is None and affordable
        self._affordable, self._fresh = affordable, False
        self._share, self._waits, self.ahead = 1.0, 0, np.inf
        self._past: list[tuple[np.ndarray, np.ndarray]] = []

    def accept(self, rates: np.ndarray, gap: np.ndarray, residual: float) -> None:
        """Go on from a better trial."""
        slow = residual > self.best / 2
        self._waits += slow
        steady = residual < _FAR and self.best < np.inf and self._share == 1
        self.ahead = _CAUTION * residual**2 / self.best if steady else np.inf
        wanted = self.system is None or slow or residual > _FAR or self._share < 1
        self.wants_derivatives = self._affordable and wanted
        self.answer, self.gap, self.best = rates, gap, residual
        self._share, self._fresh = 1.0, False
        self._past = [*self._past[-_MEMORY:], (rates.ravel(), gap.ravel())]

    def shorten(self) -> bool:
        """Take new derivatives after a bad trial, or a shorter step; return whether to go on."""
        self._waits += 1
        self.wants_derivatives = self._affordable and not self._fresh
        if not self.wants_derivatives:
            self._share /= 4
        solved = self.best <= SOLVED or (self.system is None and not self._affordable)
        return self._share >= _SHARE and self._waits < _PATIENCE and not solved

    def renew(self, system: System) -> None:
        """Go on with new derivatives, those at the best trial."""
        self.system, self._fresh, self._share = system, True, 1.0
        self._past = self._past[-1:]

    def next(self, rule: Rule) -> np.ndarray:
        """Return the next trial: combine past gaps so that, if linear, the gap is smallest."""
        rates, gap = self.answer, self.gap
        if self._share == 1 and len(self._past) > 1:
            steps, changes = (np.diff(x, axis=0).T for x in zip(*self._past, strict=True))
            shares = np.linalg.lstsq(changes, gap.ravel(), rcond=1e-12)[0]
            rates = rates - (steps @ shares).reshape(rates.shape)
            gap = gap - (changes @ shares).reshape(gap.shape)
        step = gap if self.system is None else self.system.step(rule, gap)
        return np.asarray(rates + self._share * step)


def continued(chart: Chart, line: Line, bend: np.ndarray) -> np.ndarray | None:
    """Second derivatives for one pair, from geodesics to targets along the parabola between it."""
    rule, time, step = rule_of(_NODES), 0.0, _FIRST
    if not affordable(_NODES, bend.shape[-1]):
        return None
    rates = bend[:, None, :] + np.zeros((len(rule.nodes), 1))
    while time < 1:
        later = min(1.0, time + step)
        chord = later * line.chord + later * (later - 1) / 2 * bend
        target = line._replace(chord=chord)
        stretch = (later / time if time > 0 else later) ** 2
        found, _, good, _ = newton(chart, rule, target, stretch * rates)
        if good and _goes_on(chart, rule, target, found):
            rates, time, step = found, later, 1.5 * step
        else:
            step /= 2
            if step < _LEAST:
                return None
    return rates


def _goes_on(chart: Chart, rule: Rule, line: Line, rates: np.ndarray) -> bool:
    return bool(is_inside(rule.nodes, chart.span(*path(rule, line, rates)))[0])
