"""Integration of geodesics, up to the boundary of the manifold."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import array_api_compat
import numpy as np

from dlngeom._lib.arrays import Array, constant, eps, inner, namespace, to_numpy
from dlngeom._lib.derivatives import held, is_traced
from dlngeom._lib.ode.integrate import Solution, SolverOptions, integrate
from dlngeom._lib.ode.system import HaltError, SolverState
from dlngeom.submersion._equations import Geodesic

__all__ = ["PRECISE", "GeodesicError", "states_at"]

# Tolerance of the public maps, close to rounding error.
PRECISE = 1e-12
# A geodesic ends where its clearance falls below this fraction of the initial one.
_BOUNDARY = 1e-6
_EVALUATIONS = 20_000
# A geodesic that at the pace of so many evaluations would need more than all of them, and has come
# this near to the boundary, relative to its start, is stopped where its clearance points to zero.
_WINDOW, _NEAR = 500, 0.1
# First step, as a fraction of the way; the solver's own choice is too cautious.
_FIRST = 0.25
# Parts of the way, whose ends prove that a compiled geodesic meets no boundary between them.
_CERTAIN = 64
_UNTRACED = "this geodesic reads numbers, which jax cannot differentiate"
_MEETS = "it meets matrices of lower rank, or such as rounding takes for them"
# Points in a step, and refinements, in the search for its smallest clearance.
_NODES, _ZOOMS = 8, 26


class GeodesicError(RuntimeError):
    """A geodesic left the manifold, or none was found to a target.

    See Also
    --------
    dlngeom.geodesics.exp : Raises it where the geodesic ends before time one.
    dlngeom.geodesics.log : Raises it where no geodesic was found.
    """


def states_at(curve: Geodesic, times: np.ndarray, rtol: float = PRECISE) -> list[tuple[Array, ...]]:
    """States of a geodesic at times of any sign; negative times reverse the rates."""
    if 0 in curve.clearance(curve.start).shape:
        return [curve.start] * len(times)  # No geodesics, at any time.
    if curve.meets is not None:
        return _on_line(curve, times)
    if curve.speed is not None:
        found = _compiled(curve, times, rtol)
        if found is not None:
            return found
    states = {0.0: curve.start}
    for sign in (1.0, -1.0):
        ahead = np.unique(sign * times[sign * times > 0])
        if len(ahead):
            solution = _integrate(curve, sign, np.concatenate([[0.0], ahead]), rtol)
            states |= dict(zip((sign * ahead).tolist(), solution.states[1:], strict=True))
    return [states[time] for time in times.tolist()]


def _compiled(curve: Geodesic, times: np.ndarray, rtol: float) -> list[tuple[Array, ...]] | None:
    """States by compiled code; None where a geodesic may meet the boundary, or none is compiled."""
    if not array_api_compat.is_jax_array(curve.start[0]):
        return None
    try:
        # Loaded here, since only jax arrays need it.
        from dlngeom._lib.ode import compiled
    except ImportError:
        return None
    batch = curve.clearance(curve.start).shape
    xp = namespace(*curve.start)
    start = tuple(xp.reshape(x, (-1, *x.shape[-2:])) for x in curve.start)
    options = SolverOptions(rtol=max(rtol, 100 * eps(start[0])), max_evaluations=_EVALUATIONS)
    states, sound = {0.0: start}, True
    for sign in (1.0, -1.0):
        ahead = np.unique(sign * times[sign * times > 0])
        if not len(ahead):
            continue
        grid = np.union1d(np.linspace(0, ahead[-1], _CERTAIN + 1), ahead)
        rates = curve.rates if sign > 0 else _backwards(curve)
        solution = compiled.solve(start, rates, False, grid, options, _UNTRACED)
        if solution is None:
            return None
        sound = sound & _stays_inside(curve, solution.states, grid)
        states |= dict(zip((sign * grid).tolist(), solution.states, strict=True))
    if is_traced(sound):
        # Compiled code cannot raise.
        spoilt = xp.where(sound, 1.0, math.nan)
        states = {t: tuple(x * spoilt for x in state) for t, state in states.items()}
    elif not bool(sound):
        return None
    shaped = [[xp.reshape(x, (*batch, *x.shape[1:])) for x in states[t]] for t in times.tolist()]
    return [tuple(state) for state in shaped]


def _backwards(curve: Geodesic) -> Callable[[SolverState], SolverState]:
    return lambda state: tuple(-x for x in curve.rates(state))


def _stays_inside(curve: Geodesic, states: Sequence[SolverState], times: np.ndarray) -> Any:
    """Whether clearances, which change no faster than the point moves, prove that none is met."""
    xp, speed = namespace(states[0][0]), curve.speed
    assert speed is not None
    clearance = xp.stack([curve.clearance(state) for state in states])
    steps = constant(np.diff(times), clearance)[:, None] * speed(states[0])
    return xp.all(clearance[1:] + clearance[:-1] > steps)


def _on_line(curve: Geodesic, times: np.ndarray) -> list[tuple[Array, ...]]:
    """States of a geodesic that is a straight line in its coordinates."""
    assert curve.meets is not None
    x, v = curve.start
    xp, (start, rate) = namespace(x), held((x, v))
    far = float(xp.max(xp.abs(start))) + float(np.max(np.abs(times))) * float(xp.max(xp.abs(rate)))
    # A product of four such numbers does not overflow.
    if not far < float(xp.finfo(x.dtype).max) ** 0.25:
        raise ValueError(f"the geodesic overflows: its coordinates reach {far:.2g}")
    for goal in (float(np.max(times)), float(np.min(times))):
        stop = curve.meets(goal) if goal != 0 else None
        if stop is not None:
            raise GeodesicError(f"the geodesic stopped at t={stop:.6g}: {_MEETS}")
    return [(x + t * v, v) for t in times.tolist()]


def _integrate(curve: Geodesic, sign: float, times: np.ndarray, rtol: float) -> Solution:

    def rates(state: tuple[Array, ...]) -> tuple[Array, ...]:
        watch.evaluations += 1
        if watch.evaluations > _EVALUATIONS:
            raise HaltError("it is too long, or the network too deep, to be followed so far")
        return tuple(sign * x for x in curve.rates(state))

    chains = math.prod(curve.clearance(curve.start).shape)
    rtol = max(rtol, 100 * eps(curve.start[0]))
    watch = _BoundaryWatch(curve, rates, float(times[-1]))
    options = SolverOptions(rtol=rtol, events=(watch,), solver={"first_step": _FIRST * times[-1]})
    solution = integrate(curve.start, rates, times, options, chains)
    if solution.failure is not None:
        stop = solution.last[0] if watch.end is None else watch.end
        raise GeodesicError(f"the geodesic stopped at t={sign * stop:.6g}: {solution.failure}")
    return solution


class _BoundaryWatch:
    """Stop a geodesic that crosses the boundary of the manifold within a step.

    The clearance falls to zero at the boundary and rises again, no faster than the coordinates
    change.  Steps long enough to hide this are searched for their smallest clearance.  Near the
    boundary a geodesic may turn so fast that its steps shrink without end: it is stopped too.
    """

    terminal = False
    direction = 0.0

    def __init__(
        self, curve: Geodesic, rates: Callable[[SolverState], SolverState], goal: float
    ) -> None:
        self._clearance, self._rates, self._goal = curve.clearance, rates, goal
        self._floor = _BOUNDARY * curve.clearance(curve.start)
        self._last: _Knot | None = None
        self._mark = _Mark(0, 0.0, 1.0)
        self.evaluations = 0
        self.end: float | None = None

    def __call__(self, t: float, state: SolverState) -> float:
        t, last = float(t), self._last
        if last is None or t > last.time:
            self._last = _Knot(t, state, self._rates(state), self._clearance(state))
            if last is not None:
                self._search(last, self._last)
            if self.evaluations - self._mark.evaluations >= _WINDOW:
                self._require_progress(self._last)
        return 1.0

    def _require_progress(self, now: _Knot) -> None:
        """Stop a geodesic that creeps towards the boundary, at the time of a straight approach."""
        share = _BOUNDARY * float(namespace(self._floor).min(now.clearance / self._floor))
        past, self._mark = self._mark, _Mark(self.evaluations, now.time, share)
        pace, fall = now.time - past.time, past.share - share
        left = self._goal - now.time
        if share > _NEAR or fall <= 0 or pace * _EVALUATIONS > left * _WINDOW:
            return
        if pace * share < left * fall:
            self.end = now.time + pace * share / fall
            raise HaltError(_MEETS)

    def _search(self, start: _Knot, end: _Knot) -> None:
        """Refine around every local minimum of a clearance along a step, unless it is large."""
        xp = namespace(self._floor)
        pace = float(end.time - start.time) * xp.maximum(_size(start.rates), _size(end.rates))
        # The way straight to the boundary and back is as long as both clearances together.
        if bool(xp.all(start.clearance + end.clearance > 2 * pace)):
            return
        values = self._clearances(start, end, xp.zeros_like(pace), 1.0)
        for i in range(_NODES + 1):
            first, last = max(i - 1, 0), min(i + 1, _NODES)
            least = (values[i] <= values[first]) & (values[i] <= values[last])
            if bool(xp.any(least & (values[i] <= pace / _NODES))):
                low = xp.zeros_like(pace) + first / _NODES
                self._zoom(start, end, pace, low, (last - first) / _NODES)

    def _zoom(self, start: _Knot, end: _Knot, pace: Array, low: Array, width: float) -> None:
        """Refine the smallest clearance of each geodesic until it is certain, or too small."""
        xp, least = namespace(pace), pace
        for _ in range(_ZOOMS):
            values = xp.stack(self._clearances(start, end, low, width))
            least = xp.min(values, axis=0)
            # At the boundary it is a small fraction of its values nearby.
            certain = (least > pace * width / _NODES) | (least > xp.max(values, axis=0) / 4)
            if bool(xp.all(certain & (least > self._floor))):
                return
            if bool(xp.any(least <= self._floor)):
                break
            place = xp.astype(xp.argmin(values, axis=0), low.dtype) / _NODES
            low = low + width * xp.clip(place - 1 / _NODES, 0.0, 1 - 2 / _NODES)
            width *= 2 / _NODES
        way = to_numpy(low).ravel()[np.argmin(to_numpy(least))]
        self.end = start.time + (end.time - start.time) * float(way)
        raise HaltError(_MEETS)

    def _clearances(self, start: _Knot, end: _Knot, low: Array, width: float) -> list[Array]:
        ways = (low + width * i / _NODES for i in range(_NODES + 1))
        return [self._clearance(_between(start, end, way)) for way in ways]


class _Knot(NamedTuple):
    """State at one end of a step."""

    time: float
    state: SolverState
    rates: SolverState
    clearance: Array


class _Mark(NamedTuple):
    """How far a geodesic was: its clearance is a share of the initial one."""

    evaluations: int
    time: float
    share: float


def _size(state: SolverState) -> Array:
    """Norm of all coordinates of each geodesic."""
    squares = [inner(x, x) for x in state]
    return namespace(squares[0]).sqrt(sum(squares[1:], squares[0]))


def _between(start: _Knot, end: _Knot, way: Array) -> SolverState:
    """Cubic Hermite interpolation in a step, at a fraction of it for each geodesic."""
    span, x = float(end.time - start.time), way[..., None, None]
    back = 1 - x
    columns = zip(start.state, end.state, start.rates, end.rates, strict=True)
    return tuple(
        back**2 * ((1 + 2 * x) * a + span * x * da) + x**2 * ((1 + 2 * back) * b - span * back * db)
        for a, b, da, db in columns
    )
