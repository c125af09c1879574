r"""Gradient flows: of end-to-end matrices, of balanced networks, and of any network.

One description of the energy, its Euclidean gradient ``E'(W)``, serves all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dlngeom import observables
from dlngeom._array import Array, constant, to_numpy
from dlngeom._check_points import check_factors
from dlngeom.flow_equations import energy_at
from dlngeom.flow_equations import network_flow as network_equation
from dlngeom.integration import Options, Solution, checked_times, integrate
from dlngeom.submersion import Base, Equation, OwnFlow, RiemannianSubmersion, ambient_flow
from dlngeom.trajectory import (
    Trajectory,
    first_array,
    observe_along,
    stack,
    with_chain,
    without_chain,
)
from dlngeom.tuples import SVD, Frames

__all__ = ["FlowError", "Trajectory", "gradient_flow", "network_flow"]

# A flow runs away where it would change by more than its own size in this share of its time.
_SUDDEN = 1e-4

Observe = Mapping[str, Callable[[Any], Any]]


class FlowError(RuntimeError):
    """A flow that could not be followed to its end.

    Attributes
    ----------
    trajectory : Trajectory
        What was saved before.
    time : float
        Time of the last good state.
    point : array or tuple of arrays
        The last good state, ``(chain, ...)``.
    """

    def __init__(self, message: str, trajectory: Trajectory, time: float, point: Any) -> None:
        super().__init__(message)
        self.trajectory, self.time, self.point = trajectory, time, point

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.trajectory, self.time, self.point)


def gradient_flow(
    space: Base | RiemannianSubmersion,
    point: Any,
    energy_gradient: Callable[[Any], Any],
    t: Any,
    *,
    energy: Callable[[Any], Any] | None = None,
    upstairs: bool = False,
    observe: Observe | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    progress: bool = False,
    **solver: Any,
) -> Trajectory:
    r"""Follow the Riemannian gradient flow of an energy of the end-to-end matrix.

    .. math:: \dot W = -\mathcal{A}_{N,W}(E'(W)), \qquad \dot W_p = -\nabla_{W_p} E(W_N \cdots W_1)

    The first equation is solved downstairs, the second ``upstairs``, on the balanced manifold.

    Parameters
    ----------
    space : DeepLinearNetwork, InfinitelyDeepNetwork, or any base or Riemannian submersion
    point : array (m, n) or SVD downstairs; Frames or balanced layers upstairs
        Initial point, with one leading batch axis for many chains.
    energy_gradient : callable
        ``E'``.  It receives a dense matrix ``(chain, m, n)``, one chain for a single point, or
        an ``SVD`` with the axes of ``point`` if that is one, and returns a dense, sparse or
        ``LowRank`` matrix or a ``LinearOperator``.  In a space of one's own it receives a point
        of the base, with a chain axis only if ``point`` has one.
    t : array (draw,)
        Increasing times to save; ``t[0]`` is the time of ``point``.
    energy : callable, optional
        ``E``, called like its gradient; recorded as ``observed["energy"]``.
    upstairs : bool
        Whether to follow the layers rather than the end-to-end matrix.
    observe : dict, optional
        Name to function of the batched point.  By default the ``end_to_end`` matrix, its
        ``singular_values`` and ``effective_rank``, and upstairs the ``invariants``; nothing in
        a space of one's own.  Dense end-to-end matrices of a large factored flow fill the
        memory: give what is wanted, if nothing ``{}``.
    rtol, atol : float, optional
        Tolerances of the solver, for each chain alone, in coordinates of the size of the layers
        (up to four; of ``s^(1/4)`` in deeper networks).  By default ``rtol`` is 1e-8 (1e-4 in
        float32), and ``atol`` a thousandth of it relative to the size of the start.
    progress : bool
        Whether to show a progress bar over time.
    **solver
        ``method``, by default ``"DOP853"``, or for ``rtol`` above 1e-4 a steadier ``"RK45"``;
        ``dense_output``, which gives the trajectory an interpolant ``at``; ``events``, functions
        ``f(t, point)`` of the batched point with the attributes ``terminal`` and ``direction``;
        ``max_evaluations`` of the energy gradient, 1,000,000 by default, after which to give up;
        other options of :func:`scipy.integrate.solve_ivp`.

    Returns
    -------
    Trajectory
        Points of the kind of ``point``, on the manifold to rounding.  A terminal event ends it
        at the last saved time before.

    Raises
    ------
    ValueError
        If the point is not one of the space, times do not increase, or ``energy_gradient``
        returns another shape or is not finite at the start.
    FlowError
        If the energy gradient stops being finite, evaluations are used up, or the flow leaves
        every compact set.  It carries the last good state.

    Notes
    -----
    Theorems 2 and 3 and (4.21) of Menon, *The geometry of the deep linear network*; (14.9) for
    infinite depth.  The flow upstairs is the horizontal lift of the one downstairs.
    """
    options = Options.of(rtol=rtol, atol=atol, progress=progress, **solver)
    times, place = checked_times(t), _place(space, upstairs)
    if isinstance(place, OwnFlow):
        equation = place.gradient_flow(point, energy_gradient)
        return _follow(equation, energy, observe, times, options)
    equation = _ambient_equation(space, point, energy_gradient, upstairs)
    below = _below(space, equation.single, upstairs)
    return _follow(equation, energy, observe or {}, times, options, below)


def network_flow(
    factors: Sequence[Array],
    energy_gradient: Callable[[Any], Any],
    t: Any,
    *,
    energy: Callable[[Any], Any] | None = None,
    observe: Observe | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    progress: bool = False,
    **solver: Any,
) -> Trajectory:
    r"""Follow the gradient flow of the layers of any network, balanced or not.

    .. math:: \dot W_p = -(W_N \cdots W_{p+1})^T\, E'(W)\, (W_{p-1} \cdots W_1)^T

    It stays on the variety of its initial invariants ``G_p = W_p W_p^T - W_{p+1}^T W_{p+1}``, to
    the tolerance of the solver.

    Parameters
    ----------
    factors : sequence of N arrays (d_p, d_{p-1})
        Layers, input layer first, with one leading batch axis for many chains.
    energy_gradient : callable
        ``E'`` of a dense end-to-end matrix ``(chain, m, n)``.
    t, energy, observe, rtol, atol, progress, solver
        As for :func:`gradient_flow`.

    Returns
    -------
    Trajectory
        ``points`` is a tuple of N arrays ``(chain, draw, d_p, d_{p-1})``.

    Raises
    ------
    ValueError, FlowError
        As for :func:`gradient_flow`.

    Notes
    -----
    Equation (4.7) and Theorem 1 of Menon, *The geometry of the deep linear network*.
    """
    options = Options.of(rtol=rtol, atol=atol, progress=progress, **solver)
    if isinstance(factors, (Frames, SVD)):
        raise ValueError(f"factors is of type {type(factors).__name__}: it must be layers")
    start = check_factors(factors)
    equation = network_equation(start, energy_at(energy_gradient, start[0].ndim == 2))
    return _follow(equation, energy, observe, checked_times(t), options)


def _place(space: Base | RiemannianSubmersion, upstairs: bool) -> Base | RiemannianSubmersion:
    """Geometry that the flow lives in."""
    if not isinstance(space, (Base, RiemannianSubmersion)):
        raise TypeError(f"space={space!r}: it must be a Base or a RiemannianSubmersion")
    if upstairs and isinstance(space, Base):
        raise ValueError(f"{space} is a base, nothing lies upstairs of it: upstairs=False")
    return space if upstairs or isinstance(space, Base) else space.base


def _ambient_equation(
    space: Any, point: Any, energy_gradient: Callable[[Any], Any], upstairs: bool
) -> Equation:
    if not isinstance(space, RiemannianSubmersion):
        raise TypeError(f"{space} has no gradient_flow and no submersion to lift it to")
    start = point if upstairs else space.orbit_point(point, 0)
    equation = ambient_flow(space, start, energy_gradient)
    if upstairs:
        return equation
    return equation._replace(point=lambda state: space.project(equation.point(state)))


def _follow(
    equation: Equation,
    energy: Callable[[Any], Any] | None,
    observe: Observe | None,
    times: np.ndarray,
    options: Options,
    below: Callable[[Any], Any] | None = None,
) -> Trajectory:
    """Integrate; ``below`` takes points to what energies see, in other spaces than networks."""
    chains = _count_chains(equation, below is None)

    def point(state: tuple[Array, ...]) -> Any:
        return with_chain(equation.point(state)) if equation.single else equation.point(state)

    if not isinstance(observe, (Mapping, type(None))):
        raise TypeError(f"observe={observe!r}: it must be a dict from names to functions")
    first = point(equation.start)
    if equation.initial is not None:
        first = with_chain(equation.initial) if equation.single else equation.initial
    functions = dict(_default_observables(first) if observe is None else observe)
    if energy is not None:
        functions["energy"] = _recorded(energy, below or _seen(equation.single))
    # A function that does not fit should not cost a whole integration.
    _require_energies(observe_along([first], functions, chains))
    solution = integrate(equation.start, equation.rates, times, options.observing(point), chains)
    points = [first, *(point(state) for state in solution.states[1:])]
    observed = observe_along(points, functions, chains)
    at = None if solution.dense is None else _interpolant(solution.dense, point)
    trajectory = Trajectory(solution.times, stack(points), observed, _events(solution, point), at)
    if solution.failure is not None:
        last = point(solution.last[1])
        runaway = None if below else _runaway(solution, equation, chains, times[0])
        reason = solution.failure if runaway is None else _escape(first, last, runaway)
        raise _error(solution, trajectory, reason, last, times[-1])
    if energy is not None:
        _require_finite(trajectory, points)
    return trajectory


def _bad_draws(observed: Mapping[str, Any]) -> np.ndarray:
    energies = to_numpy(observed["energy"]) if "energy" in observed else np.zeros((1, 1))
    return np.flatnonzero(~np.all(np.isfinite(energies), axis=0))


def _require_energies(observed: Mapping[str, Any]) -> None:
    if len(_bad_draws(observed)):
        raise ValueError(f"energy is {observed['energy']} at the initial point: it must be finite")


def _require_finite(trajectory: Trajectory, points: Sequence[Any]) -> None:
    """Stop where an energy stops to be a number, though its gradient may still be."""
    bad = _bad_draws(trajectory.observed)
    if not len(bad):
        return
    kept = slice(0, bad[0])
    observed = {name: _draws(value, kept) for name, value in trajectory.observed.items()}
    before = replace(
        trajectory, times=trajectory.times[kept], points=stack(points[kept]), observed=observed
    )
    last = float(before.times[-1])
    raise FlowError(
        f"energy is not finite at t={trajectory.times[bad[0]]:.6g}; this error carries the last "
        f"good state, saved at t={last:.6g}",
        before,
        last,
        points[bad[0] - 1],
    )


def _draws(value: Any, kept: slice) -> Any:
    if isinstance(value, tuple):
        return tuple(_draws(x, kept) for x in value)
    return value[:, kept, ...]


def _count_chains(equation: Equation, networks: bool) -> int:
    start = equation.start[0]
    if equation.single:
        return 1
    if (networks and start.ndim != 3) or start.shape[0] == 0:
        batch = tuple(start.shape[:-2]) if networks else (0,)
        raise ValueError(f"the point has batch shape {batch}: it must be () or (chain,)")
    return int(start.shape[0])


def _default_observables(point: Any) -> Observe:
    names = ["end_to_end", "singular_values", "effective_rank"]
    if isinstance(point, tuple) and not isinstance(point, SVD):
        names.append("invariants")
    return {name: getattr(observables, name) for name in names}


def _seen(single: bool) -> Callable[[Any], Any]:
    """Map from a batched network, or product of one, to what its energy sees."""

    def seen(point: Any) -> Any:
        if not isinstance(point, SVD):
            return observables.end_to_end(point)
        return without_chain(point) if single else point

    return seen


def _below(space: Any, single: bool, upstairs: bool) -> Callable[[Any], Any]:
    """Map from a batched point to what its energy sees."""

    def below(point: Any) -> Any:
        at = space.project(point) if upstairs else point
        return without_chain(at) if single else at

    return below


def _recorded(energy: Callable[[Any], Any], seen: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Energies ``(chain,)``, also of a function that returns a number for one chain."""

    def values(point: Any) -> Any:
        at = seen(point)
        value = energy(at)
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


def _interpolant(
    dense: Callable[[float], Any], point: Callable[[Any], Any]
) -> Callable[[float], Any]:
    return lambda time: point(dense(time))


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


def _escape(first: Any, last: Any, chain: int) -> str:
    """Say where a flow of end-to-end matrices ran away to."""
    before, after = (to_numpy(observables.singular_values(x))[chain] for x in (first, last))
    # A dense matrix of low rank has rounding errors for its other singular values.
    rank = int(np.sum(before > len(before) * np.finfo(before.dtype).eps * before[0]))
    low = max(rank, 1) - 1
    if after[0] * after[low] > before[0] * before[low]:
        sizes = f"from {before[0]:.3g} to {after[0]:.3g}"
        return f"it leaves every compact set, |W| grew {sizes} in chain {chain}"
    sizes = f"from {before[low]:.3g} to {after[low]:.3g}"
    return f"it reaches matrices of lower rank, sigma_min fell {sizes} in chain {chain}"
