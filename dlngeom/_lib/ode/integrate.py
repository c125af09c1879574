"""Ordinary differential equations whose state is a tuple of arrays, by ``solve_ivp``.

State and rates travel through one flat vector of doubles; the arrays that the right-hand side
sees keep the library, dtype and device of the start.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from scipy.integrate import BDF, Radau, solve_ivp

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, Numbers, eps
from dlngeom._lib.door import real_numbers
from dlngeom._lib.ode.guarded import guarded, measures_chains
from dlngeom._lib.ode.options import require_known, solver_class
from dlngeom._lib.ode.smooth_steps import ShorterDOP853, SmoothDOP853, SmoothRK45
from dlngeom._lib.ode.system import Event, HaltError, Interpolant, Monitor, SolverState, System

__all__ = [
    "LOOSE",
    "Solution",
    "SolverOptions",
    "checked_times",
    "integrate",
    "relative_tolerance",
]

# Above this tolerance a high order no longer pays.
LOOSE = 1e-4


@dataclass(frozen=True)
class SolverOptions:
    """Options of the integration, documented in :func:`dlngeom.flow.gradient_flow`."""

    rtol: float | None = None
    atol: float | None = None
    progress: bool = False
    method: Any = None
    events: Sequence[Callable[..., float]] = ()
    dense_output: bool = False
    max_evaluations: int = 1_000_000
    solver: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, **options: Any) -> SolverOptions:
        """Options from keywords; those that are not fields are passed to the solver."""
        names = cls.__annotations__.keys() - {"solver"}
        ours = {name: options.pop(name) for name in names if name in options}
        events = ours.get("events", ())
        ours["events"] = (events,) if callable(events) else tuple(events or ())
        checks.integer("max_evaluations", ours.get("max_evaluations", 1), 1)
        if ours.get("atol") is not None:
            checks.nonnegative("atol", ours["atol"])
        require_known(options, ours.get("method"))
        return cls(**ours, solver=options)

    @property
    def plain(self) -> bool:
        """Whether states at the saved times are all that is wanted, from any solver."""
        special = self.method is not None or self.dense_output or self.progress
        return not (special or self.events or self.solver)

    def observing(self, point: Callable[[SolverState], Any]) -> SolverOptions:
        """Options whose events take points instead of states."""
        return replace(self, events=tuple(Event(event, point) for event in self.events))


class Solution(NamedTuple):
    """States at saved times, and how the integration ended.

    Attributes
    ----------
    times : numpy array (draw,)
    states : list of tuples of arrays
    last : (float, tuple of arrays)
        Time and state of the last accepted step.
    dense : callable or None
        Interpolant from a time to a state.
    event_times, event_states : lists, an entry for each event
    failure : str or None
        Why the end was not reached.
    """

    times: np.ndarray
    states: list[SolverState]
    last: tuple[float, SolverState]
    dense: Callable[[float], SolverState] | None
    event_times: list[np.ndarray]
    event_states: list[list[SolverState]]
    failure: str | None


def checked_times(t: Numbers) -> np.ndarray:
    """Return saved times as an increasing vector of doubles.

    Raises
    ------
    ValueError
        If the times do not increase, or are not finite.
    """
    times = real_numbers("t", t)
    if times.ndim != 1 or len(times) == 0:
        raise ValueError(f"t has shape {times.shape}: it must be (draw,), t[0] the initial time")
    if not np.all(np.isfinite(times)):
        raise ValueError(f"t={times[~np.isfinite(times)][0]}: times must be finite")
    bad = np.flatnonzero(np.diff(times) <= 0)
    if len(bad):
        raise ValueError(f"t[{bad[0] + 1}]={times[bad[0] + 1]:g}: times must increase")
    return times


def integrate(
    start: SolverState,
    rates: Callable[[SolverState], SolverState],
    times: np.ndarray,
    options: SolverOptions,
    chains: int = 1,
) -> Solution:
    """Integrate ``d state/dt = rates(state)`` and return the states at ``times``.

    Parameters
    ----------
    start : tuple of arrays
        Initial state; a leading batch axis is integrated as one system.
    rates : callable
        Right-hand side; where it is not finite, explicit methods retry with a shorter step.
    times : numpy array (draw,)
        Increasing; ``times[0]`` is the time of ``start``.
    options : SolverOptions
    chains : int
        Number of independent systems in the batch.

    Returns
    -------
    Solution

    Raises
    ------
    ValueError
        If a tolerance is out of range, or the rates are not finite at the start.
    """
    system = System(start, rates, chains, options.max_evaluations)
    y0 = system.flat(start)
    with np.errstate(all="ignore"):
        at_start = system(times[0], y0)
    if not np.all(np.isfinite(at_start)):
        raise ValueError(f"at the initial point, {system.trouble}")
    if len(times) == 1:
        events = [np.empty(0)] * len(options.events)
        return Solution(times, [start], (times[0], start), None, events, [[] for _ in events], None)
    rtol = relative_tolerance(start[0], options.rtol)
    between = len(times) > 2 or bool(options.events)
    method = options.method or _default_method(rtol, between)
    share = 1.0 if measures_chains(method) else math.sqrt(chains)
    rtol, atol = max(rtol / share, 1e-13), _atol(options, rtol / share, share, system, y0)
    watched = [Event(event, system.state) for event in options.events]
    monitor = Monitor(y0, times[0], times[-1], options.progress)
    # What overflows is found by its values; to say so once takes less time than at every call.
    with monitor, np.errstate(all="ignore"):
        try:
            result = solve_ivp(
                system,
                (times[0], times[-1]),
                y0,
                method=guarded(method, system, monitor, kept=options.dense_output, between=between),
                t_eval=times,
                dense_output=options.dense_output,
                events=watched or None,
                rtol=rtol,
                atol=atol,
                **{**_sparsity(method, system), **options.solver},
            )
        except HaltError as halt:
            system.trouble = str(halt)
            return _only_start(times, start, monitor, system, len(watched))
    return _solution(result, times, start, system, monitor)


def _default_method(rtol: float, between: bool) -> Any:
    """Solver of high order for tight tolerances, one with steady steps for loose tolerances."""
    if rtol > LOOSE:
        return SmoothRK45
    return ShorterDOP853 if between else SmoothDOP853


def _sparsity(method: Any, system: System) -> dict[str, Any]:
    """Tell an implicit method of SciPy that chains do not act on each other."""
    implicit = solver_class(method) in {BDF, Radau}
    return {"jac_sparsity": system.coupling()} if implicit and system.chains > 1 else {}


def relative_tolerance(like: Array, given: float | None) -> float:
    """Relative tolerance, the one that the precision allows by default."""
    floor = 100 * eps(like)
    default = 1e-8 if floor < 1e-10 else 1e-4
    value: Any = default if given is None else given
    rtol = checks.real_number(value)
    if not floor <= rtol < 1:
        raise ValueError(f"rtol={value!r}: it must be at least {floor:.2g} and below 1")
    return rtol


def _atol(
    options: SolverOptions, rtol: float, share: float, system: System, y0: np.ndarray
) -> float | np.ndarray:
    """Absolute tolerance, by default relative to the size of each chain."""
    if options.atol is not None:
        return checks.nonnegative("atol", options.atol) / share
    sizes = system.sizes(y0)
    return 1e-3 * rtol * system.repeated(np.where(sizes == 0, 1.0, sizes))


def _only_start(
    times: np.ndarray, start: SolverState, monitor: Monitor, system: System, events: int
) -> Solution:
    last = (monitor.time, system.state(monitor.y))
    empty: list[Any] = [[] for _ in range(events)]
    return Solution(times[:1], [start], last, None, empty, empty, system.trouble)


def _solution(
    result: Any, times: np.ndarray, start: SolverState, system: System, monitor: Monitor
) -> Solution:
    # A solver that fails in its first step saves nothing, not even the start.
    flat = np.transpose(result.y) if len(result.y) else np.empty((0, 1))
    # Interpolants evaluate the rates too, and may be the first to find a value not finite.
    good = int(np.argmin([*np.all(np.isfinite(flat), axis=1), False]))
    states = [system.state(y) for y in np.ascontiguousarray(flat[:good])] or [start]
    short = result.status < 0 or good < len(flat)
    saved = times[: len(states)] if short else np.asarray(result.t)
    event_times = result.t_events or []
    event_states = [[system.state(y) for y in ys] for ys in result.y_events or []]
    dense = result.sol
    failure = (system.trouble or str(result.message)) if short else None
    last = (monitor.time, system.state(monitor.y))
    interpolant = None if dense is None else Interpolant(start, dense)
    return Solution(saved, states, last, interpolant, event_times, event_states, failure)
