"""Runge-Kutta pair for flows that become stiff, with steps that settle at the stability limit."""

from __future__ import annotations

import numpy as np
from scipy.integrate import RK45

__all__ = ["SmoothRK45"]

_SAFETY = 0.9
_SHRINK, _GROW = 0.2, 5.0
# Exponents of the last two errors, from Gustafsson's analysis of the limit of stability.
_NOW, _BEFORE = 0.7, 0.4


class SmoothRK45(RK45):  # type: ignore[misc]
    r"""The pair of ``RK45`` under a proportional-integral step size controller.

    .. math:: h \leftarrow 0.9\, h\, e_n^{-0.7/5}\, e_{n-1}^{0.4/5}

    A relaxing gradient flow runs at the stability limit of every explicit method.  There the usual
    controller grows the step until it is rejected, over and over; this one settles.

    Notes
    -----
    K. Gustafsson, *Control theoretic techniques for stepsize selection in explicit Runge-Kutta
    methods* (ACM TOMS 17, 1991).
    """

    t: float
    y: np.ndarray
    h_abs: float

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)
        self._before = 1.0

    def _step_impl(self) -> tuple[bool, str | None]:
        power, rejected = self.error_estimator_order + 1, False
        ahead = abs(self.t_bound - self.t)
        h = min(self.h_abs, self.max_step)
        while True:
            h = min(h, ahead)
            if h < 10 * np.spacing(abs(self.t)) and h < ahead:
                return False, self.TOO_SMALL_STEP
            y, f, error = self._attempt(self.direction * h)
            if error < 1:
                break
            rejected = True
            h *= max(_SHRINK, _SAFETY * error ** (-1 / power)) if np.isfinite(error) else _SHRINK
        factor = _SAFETY * max(error, 1e-10) ** (-_NOW / power) * self._before ** (_BEFORE / power)
        factor = min(1.0 if rejected else _GROW, max(_SHRINK, factor))
        self._before = max(error, 1e-4)
        self.h_previous, self.y_old = self.direction * h, self.y
        self.t = self.t_bound if h == ahead else self.t + self.direction * h
        self.y, self.f, self.h_abs = y, f, h * factor
        return True, None

    def _attempt(self, h: float) -> tuple[np.ndarray, np.ndarray, float]:
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
