"""Runs of a flow: from an equation to a trajectory, or to an error that carries one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import array_api_compat
import numpy as np

from dlngeom._lib import memory
from dlngeom._lib.arrays import Array, constant, namespace, to_numpy
from dlngeom._lib.derivatives import held
from dlngeom._lib.ode.integrate import Solution, SolverOptions, integrate
from dlngeom._lib.trajectory import Observe, Trajectory, observe_along
from dlngeom._lib.vectors import copied, first_array, parts, rebuild, stack, with_chain
from dlngeom.submersion._equations import Equation, composed

__all__ = ["FlowError", "follow"]

# A flow runs away if it would change by more than its size within this fraction of its time.
_SUDDEN = 1e-4

# What to do where jax cannot trace a flow that it differentiates.
_UNTRACED = (
    "the energy gradient, or the coordinates of this flow, read numbers, which jax cannot "
    "differentiate: start from a dense matrix of depth 8 or less or from layers, and use jax alone "
    "in energy_gradient"
)

# Bytes of a number whose type does not tell.
_DOUBLE = 8


class FlowError(RuntimeError):
    """A flow that could not be followed to its end.

    Attributes
    ----------
    trajectory : Trajectory
        What was saved before the failure.
    time : float
        Time of the last good state.
    point : array or tuple of arrays
        The last good state, ``(chain, ...)``.

    See Also
    --------
    dlngeom.flow.gradient_flow : Raises it.
    dlngeom.flow.network_flow : Raises it.
    """

    def __init__(self, message: str, trajectory: Trajectory, time: float, point: Any) -> None:
        super().__init__(message)
        self.trajectory, self.time, self.point = trajectory, time, point

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.trajectory, self.time, self.point)


def follow(
    equation: Equation,
    energy: Callable[[Any], Any] | None,
    observe: Observe | None,
    times: np.ndarray,
    options: SolverOptions,
) -> Trajectory:
    """Integrate an equation, and observe its points at the saved times."""
    chains = 1 if equation.single else int(equation.start[0].shape[0])

    point = composed(with_chain, equation.point) if equation.single else equation.point
    if not isinstance(observe, (Mapping, type(None))):
        raise TypeError(f"observe={observe!r}: it must be a dict from names to functions")
    first = point(equation.start)
    if equation.initial is not None:
        first = with_chain(equation.initial) if equation.single else equation.initial
    functions, watch = dict(observe or {}), equation.watch if observe is None else None
    if energy is not None:
        functions["energy"] = _recorded(energy, _seen(equation))
    # A faulty function should fail before the integration, not after it.
    at_start = observe_along([first], functions, chains)
    if energy is not None:
        _require_energies(at_start)
    _require_memory(len(times), equation.start, first, at_start, watch and watch(first))
    solution = _solution(equation, times, options, point, chains)
    points = _points(equation, first, solution.states[1:])
    observed = {} if watch is None else dict(watch(points))
    if functions:
        observed |= observe_along(_split(points), functions, chains)
    at = None if solution.dense is None else composed(point, solution.dense)
    trajectory = Trajectory(solution.times, points, observed, _events(solution, point), at)
    if solution.failure is not None:
        last = point(solution.last[1])
        reason = solution.failure
        runaway = _runaway(solution, equation, chains, times[0])
        if runaway is not None and equation.escape is not None:
            reason = equation.escape(first, last, runaway)
        raise _error(solution, trajectory, reason, last, times[-1])
    if energy is not None:
        _require_finite(trajectory)
    return trajectory


def _solution(
    equation: Equation,
    times: np.ndarray,
    options: SolverOptions,
    point: Callable[[tuple[Array, ...]], Any],
    chains: int,
) -> Solution:
    """States at saved times, for jax arrays by diffrax where it is installed and can do it."""
    if array_api_compat.is_jax_array(equation.start[0]) and options.plain:
        # Loaded here, since only jax arrays need it.
        found = _with_diffrax(equation, times, options)
        if found is not None:
            return found
    return integrate(equation.start, equation.rates, times, options.observing(point), chains)


def _with_diffrax(equation: Equation, times: np.ndarray, options: SolverOptions) -> Solution | None:
    try:
        from dlngeom._lib.ode import compiled
    except ImportError:
        return None
    return compiled.solve(
        equation.start, equation.rates, equation.single, times, options, _UNTRACED
    )


def _points(equation: Equation, first: Any, states: Sequence[tuple[Array, ...]]) -> Any:
    """Points ``(chain, draw, ...)``, the first one and those of states; all at once where taken."""
    if not states:
        return stack([first])
    if equation.watch is None:
        rest = [equation.point(state) for state in states]
        return stack([first, *(with_chain(x) if equation.single else x for x in rest)])
    later = equation.point(stack(states, axis=0))
    arrays = zip(parts(first), parts(later), strict=True)
    return rebuild(first, [_joined(x, y, equation.single) for x, y in arrays])


def _joined(first: Array, later: Array, single: bool) -> Array:
    """Draws ``(chain, draw, ...)`` of a first point and the later ones ``(draw, chain, ...)``."""
    xp = namespace(first, later)
    draws = later[None, ...] if single else xp.moveaxis(later, 0, 1)
    return xp.concat([first[:, None, ...], draws], axis=1)


def _split(points: Any) -> list[Any]:
    """Points of all chains, one for each draw."""
    arrays = parts(points)
    return [rebuild(points, [x[:, i, ...] for x in arrays]) for i in range(arrays[0].shape[1])]


def _require_memory(draws: int, *values: Any) -> None:
    """Refuse more saved times than fit into memory, each with its state, point and observables."""
    state, point, *observed = (
        sum(math.prod(x.shape) * _itemsize(x) for x in _arrays(value))
        for value in values
        if value is not None
    )
    # Points and observables are stacked from those of each time.
    need = draws * (state + 2 * point + 2 * sum(observed))
    memory.require(f"{draws} saved times", need, "save fewer, or observe less")


def _itemsize(x: Any) -> int:
    """Bytes of a number of an array, which need not have values yet."""
    return int(getattr(getattr(x, "dtype", None), "itemsize", _DOUBLE))


def _arrays(value: Any) -> Iterator[Any]:
    """All arrays in tuples, lists and dicts."""
    if isinstance(value, (tuple, list, Mapping)):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _arrays(part)
    else:
        yield value


def _bad_draws(observed: Mapping[str, Any]) -> np.ndarray:
    energies = to_numpy(held(observed["energy"]))
    return np.flatnonzero(~np.all(np.isfinite(energies), axis=0))


def _require_energies(observed: Mapping[str, Any]) -> None:
    if len(_bad_draws(observed)):
        raise ValueError(f"energy is {observed['energy']} at the initial point: it must be finite")


def _require_finite(trajectory: Trajectory) -> None:
    """Raise where an energy is no longer finite, even if its gradient still is."""
    bad = _bad_draws(trajectory.observed)
    if not len(bad):
        return
    kept = slice(0, bad[0])
    observed = {name: _draws(value, kept) for name, value in trajectory.observed.items()}
    points = rebuild(trajectory.points, [x[:, kept, ...] for x in parts(trajectory.points)])
    before = replace(trajectory, times=trajectory.times[kept], points=points, observed=observed)
    last = float(before.times[-1])
    raise FlowError(
        f"energy is not finite at t={trajectory.times[bad[0]]:.6g}; this error carries the last "
        f"good state, saved at t={last:.6g}",
        before,
        last,
        _split(points)[-1],
    )


def _draws(value: Any, kept: slice) -> Any:
    if isinstance(value, tuple):
        return tuple(_draws(x, kept) for x in value)
    return value[:, kept, ...]


def _seen(equation: Equation) -> Callable[[Any], Any]:
    """Return the map from points to the argument of the energy."""
    return (lambda point: point) if equation.below is None else equation.below


def _recorded(energy: Callable[[Any], Any], seen: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Energies ``(chain,)``; a function may return a plain number for one chain."""

    def values(point: Any) -> Any:
        at = seen(point)
        value = energy(copied(at))
        if isinstance(value, (int, float)):
            value = constant(value, first_array(at))
        if getattr(value, "ndim", 2) > 1:
            kind = getattr(value, "shape", type(value).__name__)
            raise ValueError(f"energy returned {kind}: it must be one number for each chain")
        return value if value.ndim else value[None]

    return values


def _events(solution: Solution, point: Callable[[Any], Any]) -> tuple[tuple[np.ndarray, Any], ...]:
    pairs = zip(solution.event_times, solution.event_states, strict=True)
    return tuple(
        (when, stack([point(state) for state in states]) if states else None)
        for when, states in pairs
    )


def _error(
    solution: Solution, trajectory: Trajectory, reason: str, last: Any, end: float
) -> FlowError:
    time = solution.last[0]
    message = (
        f"the flow stopped at t={time:.6g}, before t={end:.6g}: {reason}; this error carries the "
        "last good state"
    )
    return FlowError(message, trajectory, time, last)


def _runaway(solution: Solution, equation: Equation, chains: int, start: float) -> int | None:
    """Chain that moves too fast for any step, if there is one."""
    time, state = solution.last
    if str(solution.failure).startswith("used up"):
        return None
    size, speed = _norms(state, chains), _norms(equation.rates(state), chains)
    ahead = _SUDDEN * (time - start) * speed
    chain = int(np.argmax(ahead / np.maximum(size, np.finfo(float).tiny)))
    return chain if ahead[chain] > size[chain] else None


def _norms(state: tuple[Array, ...], chains: int) -> np.ndarray:
    rows = [to_numpy(x).astype(np.float64).reshape(chains, -1) for x in state]
    norms: np.ndarray = np.linalg.norm(np.concatenate(rows, axis=1), axis=1)
    return norms
