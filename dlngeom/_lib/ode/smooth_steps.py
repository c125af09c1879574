"""Runge-Kutta pairs of SciPy with steps that follow the errors smoothly.

The controller of SciPy takes the step that would have been right one step ago.  Where the error of
a flow swings, because another chain has become the fastest or because the step is at the limit of
stability, a fifth of its steps are rejected, and others are too short.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.integrate import DOP853, RK45

__all__ = ["ShorterDOP853", "SmoothDOP853", "SmoothRK45"]

_SHRINK = 0.2


class _SmoothSteps:
    r"""Steps of an explicit pair of order ``p`` under a proportional-integral controller.

    .. math:: h \leftarrow s\, h\, e_n^{-a/p}\, e_{n-1}^{b/p}

    Notes
    -----
    K. Gustafsson, *Control theoretic techniques for stepsize selection in explicit Runge-Kutta
    methods* (ACM TOMS 17, 1991).
    """

    # Exponents of the last two errors, margin of a step and its largest growth.
    _NOW: float
    _BEFORE: float
    _SAFETY: float
    _GROW: float

    t: float
    y: np.ndarray
    h_abs: float
    _before = 1.0

    def _step_impl(self: Any) -> tuple[bool, str | None]:
        power, rejected = self.error_estimator_order + 1, False
        ahead, least = abs(self.t_bound - self.t), 10 * np.spacing(abs(self.t))
        # A step may begin too short to be told from none; only one that has to be fails.
        h = max(min(self.h_abs, self.max_step), least)
        while True:
            h = min(h, ahead)
            if not (h >= least or h >= ahead):
                return False, self.TOO_SMALL_STEP
            y, f, error = self._attempt(self.direction * h)
            if error < 1:
                break
            rejected = True
            shrink = self._SAFETY * error ** (-1 / power) if np.isfinite(error) else 0.0
            h *= max(_SHRINK, shrink)
        self.h_abs = h * self._factor(error, rejected)
        self.h_previous, self.y_old = self.direction * h, self.y
        self.t = self.t_bound if h == ahead else self.t + self.direction * h
        self.y, self.f = y, f
        return True, None

    def _factor(self: Any, error: float, rejected: bool) -> float:
        """Growth of the step after one that is accepted, given its error."""
        power, now = self.error_estimator_order + 1, max(error, 1e-10)
        factor = self._SAFETY * now ** (-self._NOW / power) * self._before ** (self._BEFORE / power)
        self._before = max(error, 1e-4)
        return float(min(1.0 if rejected else self._GROW, max(_SHRINK, factor)))

    def _attempt(self: Any, h: float) -> tuple[np.ndarray, np.ndarray, float]:
        """State, rates and error after a step; the stages stay in ``K`` for dense output."""
        K = self.K
        K[0] = self.f
        for stage in range(1, self.n_stages):
            slope = self.A[stage, :stage] @ K[:stage]
            K[stage] = self.fun(self.t + self.C[stage] * h, self.y + h * slope)
        y = self.y + h * (self.B @ K[:-1])
        K[-1] = f = self.fun(self.t + h, y)
        scale = self.atol + self.rtol * np.maximum(np.abs(self.y), np.abs(y))
        with np.errstate(invalid="ignore", over="ignore"):
            error = float(self._estimate_error_norm(K, h, scale))
        return y, f, error


class SmoothRK45(_SmoothSteps, RK45):  # type: ignore[misc]
    """Pair for flows that become stiff, with steps that settle at the limit of stability.

    A relaxing gradient flow runs at the stability limit of every explicit method.  There the usual
    controller grows the step until it is rejected, over and over; this one settles.
    """

    _NOW, _BEFORE, _SAFETY, _GROW = 0.7, 0.4, 0.9, 5.0


class SmoothDOP853(_SmoothSteps, DOP853):  # type: ignore[misc]
    """Pair of high order for tight tolerances, whose steps answer swings of the error in part."""

    _NOW, _BEFORE, _SAFETY, _GROW = 0.7, 0.1, 0.92, 10.0


class ShorterDOP853(SmoothDOP853):
    """The same with shorter steps, which more often tell the states between them by themselves."""

    _NOW, _BEFORE, _SAFETY = 1.0, 0.0, 0.8
