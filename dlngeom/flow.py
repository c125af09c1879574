r"""Gradient flows: of end-to-end matrices, of balanced networks, and of any network.

One description of the energy, its Euclidean gradient ``E'(W)``, serves all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dlngeom import observables
from dlngeom._array import Array, namespace, to_numpy
from dlngeom._check_points import check_factors
from dlngeom.flow_equations import energy_at
from dlngeom.flow_equations import network_flow as network_equation
from dlngeom.integration import Options, Solution, checked_times, integrate
from dlngeom.submersion import Base, Equation, OwnFlow, RiemannianSubmersion, ambient_flow
from dlngeom.trajectory import Trajectory, first_array, observe_along, stack, with_chain
from dlngeom.tuples import SVD, Frames

__all__ = ["FlowError", "Trajectory", "gradient_flow", "network_flow"]

# A flow that failed after it changed a singular value by this factor failed because of that.
_ESCAPE = 1e4

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
        ``LowRank`` matrix or a ``LinearOperator``.
    t : array (draw,)
        Increasing times to save; ``t[0]`` is the time of ``point``.
    energy : callable, optional
        ``E``, called like its gradient; recorded as ``observed["energy"]``.
    upstairs : bool
        Whether to follow the layers rather than the end-to-end matrix.
    observe : dict, optional
        Name to function of the batched point.  By default the ``end_to_end`` matrix, its
        ``singular_values`` and ``effective_rank``, and upstairs the ``invariants``.
    rtol, atol : float, optional
        Tolerances of the solver, for each chain alone, in coordinates of the size of the layers
        (up to four; of ``s^(1/4)`` in deeper networks).  By default ``rtol`` is 1e-8 (1e-4 in
        float32), and ``atol`` a thousandth of it relative to the size of the start.
    progress : bool
        Whether to show a progress bar over time.
    **solver
        ``method`` (``"DOP853"`` by default), ``dense_output``, which gives the trajectory an
        interpolant ``at``, and other options of :func:`scipy.integrate.solve_ivp`;
        ``events``, functions ``f(t, point)`` of the batched point with its attributes
        ``terminal`` and ``direction``; ``max_evaluations`` of the energy gradient, 1,000,000 by
        default, after which to give up.

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
    equation = _equation(space, point, energy_gradient, upstairs)
    return _follow(equation, point, energy, observe, checked_times(t), options)


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
    start = check_factors(factors)
    equation = network_equation(start, energy_at(energy_gradient, start[0].ndim == 2))
    return _follow(equation, start, energy, observe, checked_times(t), options)


def _equation(
    space: Base | RiemannianSubmersion,
    point: Any,
    energy_gradient: Callable[[Any], Any],
    upstairs: bool,
) -> Equation:
    """Equation in the coordinates of the space, or in ambient ones if it has none of its own."""
    if upstairs and not isinstance(space, RiemannianSubmersion):
        raise ValueError(f"{space} is a base, nothing lies upstairs of it: upstairs=False")
    place = space if upstairs or isinstance(space, Base) else space.base
    if isinstance(place, OwnFlow):
        return place.gradient_flow(point, energy_gradient)
    if not isinstance(space, RiemannianSubmersion):
        raise TypeError(f"{space} has no gradient_flow and no submersion to lift it to")
    start = point if upstairs else space.orbit_point(point, 0)
    equation = ambient_flow(space, start, energy_gradient)
    if upstairs:
        return equation
    return equation._replace(point=lambda state: space.project(equation.point(state)))


def _follow(
    equation: Equation,
    start: Any,
    energy: Callable[[Any], Any] | None,
    observe: Observe | None,
    times: np.ndarray,
    options: Options,
) -> Trajectory:
    chains = 1 if equation.single else equation.start[0].shape[0]

    def point(state: tuple[Array, ...]) -> Any:
        return with_chain(equation.point(state)) if equation.single else equation.point(state)

    solution = integrate(equation.start, equation.rates, times, options.observing(point), chains)
    points = [point(state) for state in solution.states]
    functions = dict(_default_observables(points[0]) if observe is None else observe)
    observed = observe_along(points, functions, chains)
    if energy is not None:
        observed["energy"] = _energies(energy, points, equation.single)
    events = _events(solution, point)
    at = None if solution.dense is None else _interpolant(solution.dense, point)
    trajectory = Trajectory(solution.times, stack(points), observed, events, at)
    if solution.failure is not None:
        last = point(solution.last[1])
        raise _error(solution, trajectory, points[0], last, times[-1])
    return trajectory


def _default_observables(point: Any) -> Observe:
    names = ["end_to_end", "singular_values", "effective_rank"]
    if isinstance(point, Frames) or (isinstance(point, tuple) and not isinstance(point, SVD)):
        names.append("invariants")
    return {name: getattr(observables, name) for name in names}


def _energies(energy: Callable[[Any], Any], points: Sequence[Any], single: bool) -> Array:
    """Energies ``(chain, draw)``; the function sees what its gradient saw."""
    values = []
    for point in points:
        at = point if isinstance(point, SVD) else observables.end_to_end(point)
        if single and isinstance(point, SVD):
            at = SVD(*(x[0, ...] for x in point))
        like = first_array(at)
        value = namespace(like).asarray(energy(at), dtype=like.dtype)
        values.append(namespace(like).reshape(value, (-1,)))
    return stack(values)


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
    solution: Solution, trajectory: Trajectory, first: Any, last: Any, end: float
) -> FlowError:
    time = solution.last[0]
    message = (
        f"the flow stopped at t={time:.6g}, before t={end:.6g}: "
        f"{_reason(str(solution.failure), first, last)}; this error carries the last good state"
    )
    return FlowError(message, trajectory, time, last)


def _reason(failure: str, first: Any, last: Any) -> str:
    """Say what happened to the end-to-end matrix, where that explains the failure."""
    networks = isinstance(last, tuple) or last.ndim == 3
    if failure.startswith("used up") or not networks:
        return failure
    before, after = (to_numpy(observables.singular_values(x)) for x in (first, last))
    tiny = np.finfo(before.dtype).tiny
    grown = int(np.argmax(after[:, 0] / np.maximum(before[:, 0], tiny)))
    if after[grown, 0] > _ESCAPE * before[grown, 0]:
        sizes = f"from {before[grown, 0]:.3g} to {after[grown, 0]:.3g}"
        return f"it leaves every compact set, |W| grew {sizes} in chain {grown}"
    shrunk = int(np.argmin(after[:, -1] / np.maximum(before[:, -1], tiny)))
    if after[shrunk, -1] * _ESCAPE < before[shrunk, -1]:
        sizes = f"from {before[shrunk, -1]:.3g} to {after[shrunk, -1]:.3g}"
        return f"it reaches matrices of lower rank, sigma_min fell {sizes} in chain {shrunk}"
    return failure
