"""States between the steps of an explicit method, as accurate as the steps themselves.

At the stability limit, where a relaxing flow keeps every explicit method, the polynomials that
come with Runge-Kutta pairs are off by many times the tolerance, while a shorter step from the
same state is not.  So a state is that of a shorter step, unless the last steps tell it already.
Where many are asked for within one step, a polynomial goes through a few of those, values and
rates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.integrate import DenseOutput
from scipy.interpolate import KroghInterpolator

from dlngeom._lib.ode.last_steps import LastSteps

__all__ = ["StepInterpolant"]

# Parts of a step between the nodes of the polynomial, and how many states it takes to pay.
_PARTS = 4
_MANY = 4


class StepInterpolant(DenseOutput):  # type: ignore[misc]
    """States within the last step of an explicit Runge-Kutta solver of SciPy.

    Parameters
    ----------
    solver : RungeKutta
        After a step.
    kept : bool
        Whether states are asked for after the run, when there are no more evaluations.
    """

    def __init__(self, solver: Any, kept: bool, last_steps: LastSteps) -> None:
        super().__init__(solver.t_old, solver.t)
        self._last_steps = last_steps
        self._start, self._rates = solver.y_old, solver.K[0].copy()
        self._end = (solver.y, solver.f)
        self._solver: Any = solver
        self._polynomial: Any = None
        if kept:
            self._polynomial, self._solver = self._through_nodes(), None
            del self._last_steps

    def _call_impl(self, t: np.ndarray) -> np.ndarray:
        if self._polynomial is None and t.size > _MANY:
            self._polynomial = self._through_nodes()
        if self._polynomial is not None:
            share = (t - self.t_old) / (self.t - self.t_old)
            values: np.ndarray = self._polynomial(share)
            # The polynomial meets its last node to rounding only.
            return np.where((t == self.t)[..., None], self._end[0], values).T
        if t.ndim == 0:
            return self._single(float(t))
        return np.stack([self._single(float(x)) for x in t], axis=-1)

    def _single(self, t: float) -> np.ndarray:
        """State at the end of the step, or through the last steps, or after a shorter step."""
        if t == self.t:
            return np.asarray(self._end[0])
        found = self._last_steps.state(t, self._solver)
        return self._shorter(t) if found is None else found

    def _shorter(self, t: float) -> np.ndarray:
        """State after the step from the same start that ends at ``t``."""
        method, h = self._solver, t - self.t_old
        K = np.empty((method.n_stages, len(self._start)))
        K[0] = self._rates
        for stage in range(1, method.n_stages):
            slope = method.A[stage, :stage] @ K[:stage]
            K[stage] = method.fun(self.t_old + method.C[stage] * h, self._start + h * slope)
        return np.asarray(self._start + h * (method.B @ K))

    def _through_nodes(self) -> KroghInterpolator:
        """Polynomial of the share of the step, by values and rates at some of its states."""
        h, share = self.t - self.t_old, np.linspace(0, 1, _PARTS + 1)
        times = self.t_old + h * share[1:-1]
        inner = [self._shorter(t) for t in times]
        rates = [self._solver.fun(t, y) for t, y in zip(times, inner, strict=True)]
        values = [self._start, *inner, self._end[0]]
        slopes = [h * x for x in (self._rates, *rates, self._end[1])]
        pairs = [x for pair in zip(values, slopes, strict=True) for x in pair]
        return KroghInterpolator(np.repeat(share, 2), np.stack(pairs))
