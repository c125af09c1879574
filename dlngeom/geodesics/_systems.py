"""Linear systems of Newton's method for polynomial geodesics, one pair at a time.

The equation is linearised at the nodes of a rule, and in between by interpolation.  A system at few
nodes is factored.  At more of them it serves for the part that these resolve, since the rest of a
second derivative hardly acts back on itself, and a few steps of minimal residuals do the rest;
where these do not, it is factored at all nodes.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack

from dlngeom.geodesics._polynomials import Line, Rule, path, rule_of
from dlngeom.submersion._equations import Chart

__all__ = ["System"]

# Step of differences, for charts without slopes.
_STEP = 1e-7
# Largest system that is factored at first, and its fewest nodes; largest where that fails.
_FACTORED, _FEWEST, _LARGEST = 220, 5, 600
# Steps of minimal residuals, and the reduction that ends them.
_STEPS, _REDUCTION = 6, 3e-3


class System:
    """Linear system of Newton's method for second derivatives at nodes.

    Parameters
    ----------
    gap : array (1, node, dim)
        Image of ``rates`` less these.

    Raises
    ------
    numpy.linalg.LinAlgError
        If it is singular.
    """

    def __init__(
        self, chart: Chart, rule: Rule, line: Line, rates: np.ndarray, gap: np.ndarray
    ) -> None:
        size, dim = rates.shape[1:]
        self._rule, self._slopes = rule, {size: _slopes(chart, rule, line, rates, gap)}
        few = max(_FACTORED // dim, _FEWEST)
        self._factor(rule if size <= few else rule_of(few))

    def _factor(self, rule: Rule) -> None:
        """Factor the system at the nodes of a rule, which is the one that is solved from now on."""
        slopes = self._slopes_at(rule)
        size, dim = slopes.shape[:2]
        by_x, by_v = slopes[:, :, None, :dim], slopes[:, :, None, dim:]
        system = by_x * rule.position[:, None, :, None]
        system += by_v * rule.velocity[:, None, :, None]
        system = np.eye(size * dim) - system.reshape(size * dim, size * dim)
        factors, pivots, failure = lapack.dgetrf(system)
        if failure:
            raise np.linalg.LinAlgError("singular system")
        self._coarse, self._factors, self._pivots = rule, factors, pivots

    def step(self, rule: Rule, gap: np.ndarray) -> np.ndarray:
        """Change of second derivatives that closes a gap to first order."""
        if rule is self._coarse:
            return self._solved(gap)
        total, solved = self._by_minimal_residuals(rule, gap)
        if solved or gap.size > _LARGEST:
            return total
        try:
            self._factor(rule)
        except np.linalg.LinAlgError:
            return total
        return self._solved(gap)

    def _by_minimal_residuals(self, rule: Rule, gap: np.ndarray) -> tuple[np.ndarray, bool]:
        """Few steps, each preceded by the factored system, and whether they were enough."""
        left, total = gap, np.zeros_like(gap)
        past: list[tuple[np.ndarray, np.ndarray]] = []
        goal = _REDUCTION**2 * np.vdot(gap, gap)
        for _ in range(_STEPS):
            step = self._nearly_solved(rule, left)
            image = self._applied(rule, step)
            for other_step, other in past:
                share = np.vdot(other, image)
                step, image = step - share * other_step, image - share * other
            size = np.sqrt(np.vdot(image, image))
            if not size > 0:
                break
            step, image = step / size, image / size
            share = np.vdot(image, left)
            total, left = total + share * step, left - share * image
            if np.vdot(left, left) <= goal:
                return total, True
            past.append((step, image))
        return total, False

    def _slopes_at(self, rule: Rule) -> np.ndarray:
        """Slopes ``(node, dim, 2 dim)``, by positions and then by velocities."""
        size = len(rule.nodes)
        if size not in self._slopes:
            own = self._slopes[len(self._rule.nodes)]
            found = self._rule.refined(rule) @ own.reshape(len(own), -1)
            self._slopes[size] = found.reshape(size, *own.shape[1:])
        return self._slopes[size]

    def _applied(self, rule: Rule, rates: np.ndarray) -> np.ndarray:
        """Second derivatives less those that the linearised equation asks for."""
        moved = np.concatenate([rule.position @ rates[0], rule.velocity @ rates[0]], axis=-1)
        return np.asarray(rates - (self._slopes_at(rule) @ moved[:, :, None])[:, :, 0])

    def _nearly_solved(self, rule: Rule, gap: np.ndarray) -> np.ndarray:
        """Solve the factored system for what it resolves of a gap."""
        coarse = rule.refined(self._coarse) @ gap
        return np.asarray(gap + self._coarse.refined(rule) @ (self._solved(coarse) - coarse))

    def _solved(self, gap: np.ndarray) -> np.ndarray:
        found = lapack.dgetrs(self._factors, self._pivots, gap.ravel())[0]
        return np.asarray(found.reshape(gap.shape))


def _slopes(chart: Chart, rule: Rule, line: Line, rates: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """Differentiate the acceleration along a path: ``(node, dim, 2 dim)``."""
    dim, (x, v) = rates.shape[-1], path(rule, line, rates)
    if chart.slopes is not None:
        return np.asarray(chart.slopes(x, v, line.pair)[0])
    steps = _STEP * np.max(np.abs(x)), _STEP * np.max(np.abs(v))
    shifts, pair = np.eye(dim)[:, None, :], np.full(2 * dim, line.pair[0])
    still = np.zeros_like(shifts)
    moved = chart.acceleration(
        x + np.concatenate([steps[0] * shifts, still]),
        v + np.concatenate([still, steps[1] * shifts]),
        pair,
    )
    change = moved - (gap + rates)
    change[:dim] /= steps[0]
    change[dim:] /= steps[1]
    return np.asarray(np.moveaxis(change, 0, -1))
