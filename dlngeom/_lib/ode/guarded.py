"""Solvers of SciPy that stop with a failure where they would raise or hang.

The explicit ones measure the error of each chain alone, and between their steps states are as
accurate as the steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.integrate import DOP853, RK23

from dlngeom._lib.ode.interpolant import StepInterpolant
from dlngeom._lib.ode.last_steps import LastSteps
from dlngeom._lib.ode.options import solver_class
from dlngeom._lib.ode.system import Monitor, System

__all__ = ["guarded", "measures_chains"]

# The base of all explicit solvers, which SciPy does not export.
RungeKutta: Any = RK23.__base__


# Error of low order, over the state, up to which an estimate of high order is believed; the same in
# tolerances, where these are loose.
_SMALL, _LOOSE = 5e-3, 50


def measures_chains(method: Any) -> bool:
    """Whether a method bounds the error of each chain alone, rather than their mean."""
    solver: Any = solver_class(method)
    norms = (DOP853._estimate_error_norm, RungeKutta._estimate_error_norm)
    return getattr(solver, "_estimate_error_norm", None) in norms


def guarded(method: Any, system: System, monitor: Monitor, *, kept: bool, between: bool) -> Any:
    """Class of a solver that records its steps, and keeps earlier ones where it fails.

    Whether states between the steps are asked for after the run says ``kept``, whether on the way
    ``between``.
    """
    solver: Any = solver_class(method)
    if solver is None:
        return method  # SciPy's error lists the methods.

    last_steps, explicit = LastSteps(system.largest), issubclass(solver, RungeKutta)
    remembers = explicit and between and not kept

    def step(self: Any) -> str | None:
        earlier = system.forget_trouble()
        if remembers and self.t_old is None:
            last_steps.add(self.t, self.y, self.f)
        try:
            message: str | None = solver.step(self)
        except (np.linalg.LinAlgError, ValueError):
            # Implicit solvers factorise Jacobians that are not finite, perhaps one step later.
            system.trouble = system.trouble or earlier
            if system.raised or system.trouble is None:
                raise
            self.status, message = "failed", None
        if not np.all(np.isfinite(self.y)):
            self.status = "failed"
        elif self.status == "running" and not self.t > self.t_old:
            self.status, message = "failed", self.TOO_SMALL_STEP
        if self.status != "failed":
            monitor.record(self.t, self.y)
            if remembers:
                last_steps.add(self.t, self.y, self.f)
        return message

    own: dict[str, Any] = {"step": step}
    if explicit:
        own["dense_output"] = lambda self: StepInterpolant(self, kept, last_steps)
    mixed = issubclass(solver, DOP853)
    if (system.chains > 1 or mixed) and measures_chains(solver):
        norm = _mixed_norm if mixed else _plain_norm
        own["_estimate_error_norm"] = lambda self, K, h, scale: norm(self, K, h, scale, system)
    return type(f"Guarded{solver.__name__}", (solver,), own)


def _plain_norm(solver: Any, K: np.ndarray, h: float, scale: np.ndarray, system: System) -> float:
    """Largest error of a chain in the sense of most pairs of methods."""
    return system.largest(solver.E.dot(K) * (h / scale))


def _mixed_norm(solver: Any, K: np.ndarray, h: float, scale: np.ndarray, system: System) -> float:
    """Largest error of a chain in the sense of DOP853, from estimates of two orders.

    That of the high order says nothing where that of the low one is not small against the state
    itself: a sharp rise within a step would pass unseen.
    """
    high, low = (system.sizes(E.dot(K) / scale) for E in (solver.E5, solver.E3))
    both = np.hypot(high, 0.1 * low)
    error = high * (high / np.where(both == 0, 1.0, both))
    return abs(h) * float(np.max(np.maximum(error, low / max(_SMALL / solver.rtol, _LOOSE))))
