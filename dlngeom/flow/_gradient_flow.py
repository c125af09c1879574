r"""Gradient flows: of end-to-end matrices, of balanced networks, and of any network.

One description of the energy, its Euclidean gradient ``E'(W)``, serves all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, namespace
from dlngeom._lib.derivatives import detached
from dlngeom._lib.door import plain, takes_arrays
from dlngeom._lib.ode.integrate import SolverOptions, checked_times
from dlngeom._lib.trajectory import Observe, Trajectory
from dlngeom._lib.vectors import (
    Point,
    batch_axes,
    combine,
    copied,
    parts,
    rebuild,
    without_chain,
)
from dlngeom.flow._runs import follow
from dlngeom.network._flow import layers_flow
from dlngeom.points import SVD, Frames
from dlngeom.points._checks import check_factors
from dlngeom.points._covectors import Covector, energy_at
from dlngeom.submersion import Base, RiemannianSubmersion
from dlngeom.submersion._equations import Equation, composed
from dlngeom.submersion._given import point_upstairs
from dlngeom.submersion._offers import HasFlow
from dlngeom.submersion._spaces import BasePoint, above, base_point, geometry_on

__all__ = ["gradient_flow", "network_flow"]


@takes_arrays("point")
def gradient_flow(
    space: Base | RiemannianSubmersion,
    point: Point,
    energy_gradient: Callable[[Any], Covector],
    t: Array | Sequence[float],
    *,
    energy: Callable[[Any], Array | float] | None = None,
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
        ``LowRank`` matrix or a ``LinearOperator``.  In spaces other than networks it receives a
        point of the base, with a chain axis only if ``point`` has one.
    t : array (draw,)
        Increasing times to save; ``t[0]`` is the time of ``point``.  Times are those of the
        layers; at infinite depth they are ``N`` times longer, since the metric is.
    energy : callable, optional
        ``E``, called like its gradient; recorded as ``observed["energy"]``.
    upstairs : bool
        Whether to follow the layers rather than the end-to-end matrix.
    observe : dict, optional
        Name to function of the batched point.  By default the ``end_to_end`` matrix, its
        ``singular_values`` and ``effective_rank``, and upstairs the ``invariants``; nothing in
        other spaces.  The dense end-to-end matrices of a large factored flow may not fit into
        memory: name what you want, or give ``{}``.
    rtol, atol : float, optional
        Tolerances of the solver, for each chain alone, in coordinates that scale like the layers,
        or like ``s^(1/4)`` in deep networks.  By default ``rtol`` is 1e-8 (1e-4 in float32),
        and ``atol`` a thousandth of it, relative to the size of the start.
    progress : bool
        Whether to show a progress bar over time.
    **solver
        ``method``, by default ``"DOP853"``, or for ``rtol`` above 1e-4 ``"RK45"``, both with
        steadier steps; implicit ones are told that chains do not act on each other;
        ``dense_output``, which gives the trajectory an interpolant ``at``; ``events``, functions
        ``f(t, point)`` of the batched point with the attributes ``terminal`` and ``direction``;
        ``max_evaluations`` of the energy gradient, 1,000,000 by default, after which to give up;
        other options of :func:`scipy.integrate.solve_ivp`.

    Returns
    -------
    Trajectory
        Points ``(chain, draw, ...)`` of the kind of ``point``, on the manifold up to rounding.
        A terminal event ends it at the last saved time before the event.

    Raises
    ------
    ValueError
        If the point is not one of the space, times do not increase, ``energy_gradient`` returns
        another shape or is not finite at the start, or the trajectory needs more memory than
        there is.
    TypeError
        If there is no such option; the message names the nearest one.
    FlowError
        If the energy gradient stops being finite, evaluations are used up, or the flow leaves
        every compact set.  It carries the last good state.

    See Also
    --------
    dlngeom.flow.network_flow : Flow of the layers of any network, balanced or not.
    dlngeom.endtoend.gradient : The Riemannian gradient downstairs.
    dlngeom.langevin.riemannian_langevin : The same flow with noise.

    Notes
    -----
    Results carry no derivatives of torch.  Flows of jax arrays, dense and of depth up to 8, or
    upstairs, are compiled with diffrax, of the extra ``dlngeom[jax]``: ``Dopri8``, or ``Tsit5``
    for ``rtol`` above 1e-4, each chain with its own steps.  Options that only SciPy has, an SVD,
    more layers, and energies that jax cannot trace go to SciPy.  ``jax.grad`` differentiates the
    points downstairs by a dense start, at equal singular values too, and by what
    ``energy_gradient`` closes over, through the steps of the solver
    (``diffrax.RecursiveCheckpointAdjoint``, reverse mode alone); upstairs use
    :func:`network_flow`, since frames have no derivative at equal singular values.

    Theorems 2 and 3 and (4.21) of Menon, *The geometry of the deep linear network*; (14.9) for
    infinite depth.  The flow upstairs is the horizontal lift of the one downstairs.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeom import DeepLinearNetwork
    >>> from dlngeom.flow import gradient_flow
    >>> space = DeepLinearNetwork((2, 2, 2))
    >>> force = lambda W: W - np.diag([2.0, 1.0])
    >>> run = gradient_flow(space, 0.1 * np.eye(2), force, [0.0, 1.0, 9.0])
    >>> run.observed["singular_values"].round(3)
    array([[[0.1  , 0.1  ],
            [1.484, 0.451],
            [2.   , 1.   ]]])
    """
    point = detached(point)
    _require_order(energy_gradient, t)
    options = SolverOptions.of(rtol=rtol, atol=atol, progress=progress, **solver)
    times, place = checked_times(t), geometry_on(space, upstairs)
    if isinstance(place, HasFlow):
        equation = place.gradient_flow(point, energy_gradient)
        return follow(equation, energy, observe, times, options)
    equation = _ambient_equation(space, point, energy_gradient, upstairs)
    below = _below(space, equation.single, upstairs)
    return follow(equation._replace(below=below), energy, observe, times, options)


@takes_arrays("factors")
def network_flow(
    factors: Sequence[Array],
    energy_gradient: Callable[[Any], Covector],
    t: Array | Sequence[float],
    *,
    energy: Callable[[Any], Array | float] | None = None,
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
    ValueError
        If ``factors`` are not the layers of a network, and as for :func:`gradient_flow`.
    FlowError
        As for :func:`gradient_flow`.

    See Also
    --------
    dlngeom.flow.gradient_flow : Flow of balanced networks and of end-to-end matrices.
    dlngeom.network.lifted_gradient : The gradient of the layers.
    dlngeom.langevin.network_langevin : The same flow with noise.

    Notes
    -----
    Results carry no derivatives of torch.  Flows of jax arrays are compiled, and differentiable
    in the layers and in what ``energy_gradient`` closes over, as in :func:`gradient_flow`.

    Equations (3.6) and (4.7) and Theorem 1 of Menon, *The geometry of the deep linear network*.
    """
    factors = detached(factors)
    _require_order(energy_gradient, t)
    options = SolverOptions.of(rtol=rtol, atol=atol, progress=progress, **solver)
    if isinstance(factors, (Frames, SVD)):
        raise ValueError(f"factors is of type {type(factors).__name__}: it must be layers")
    start = check_factors(factors)
    checks.chain_axis(tuple(start[0].shape[:-2]))
    equation = layers_flow(start, energy_at(energy_gradient, start[0].ndim == 2))
    return follow(equation, energy, observe, checked_times(t), options)


def _require_order(energy_gradient: Any, t: Any) -> None:
    """Refuse times where the energy gradient belongs, and the reverse."""
    if not callable(energy_gradient):
        if callable(t):
            raise TypeError("energy_gradient and t are swapped: the callable comes first")
        kind = type(energy_gradient).__name__
        raise TypeError(f"energy_gradient is of type {kind}: it must be a function of the matrix")
    if callable(t):
        raise TypeError("t is a function: it must be increasing times to save")


def _ambient_equation(
    space: Any, point: Point, energy_gradient: Callable[[Any], Covector], upstairs: bool
) -> Equation:
    if not isinstance(space, RiemannianSubmersion):
        raise TypeError(f"{space} has no gradient_flow and no submersion to lift it to")
    start = point_upstairs(space, point if upstairs else above(space, point))
    equation = _ambient_flow(space, start, energy_gradient)
    if upstairs:
        return equation
    return equation._replace(point=composed(partial(base_point, space), equation.point))


def _below(space: Any, single: bool, upstairs: bool) -> Callable[[Any], Any]:
    """Return the map from a batched point to the argument of its energy."""

    def below(point: Any) -> Any:
        at = space.project(point) if upstairs else point
        at = at.value if isinstance(at, BasePoint) else at
        return without_chain(at) if single else at

    return below


def _ambient_flow(
    space: RiemannianSubmersion, point: Point, energy_gradient: Callable[[Any], Covector]
) -> Equation:
    r"""Gradient flow upstairs in the coordinates of the ambient space.

    .. math:: \dot x = -\mathrm{d}\phi^*(E'(\phi(x)))

    The velocity is tangent; retracting the zero vector removes the drift of the solver.
    """
    axes = batch_axes(point, space.random_point(0))
    checks.chain_axis(tuple(parts(point)[0].shape[:axes]))

    def rates(state: tuple[Array, ...]) -> tuple[Array, ...]:
        at = _joined(point, state)
        value = plain("energy_gradient", energy_gradient(copied(space.project(at))))
        lifted = space.codifferential(at, value)
        return tuple(-x for x in _real_arrays(lifted))

    return Equation(_real_arrays(point), rates, partial(_cleaned, space, point), axes == 0)


def _cleaned(space: RiemannianSubmersion, like: Point, state: tuple[Array, ...]) -> Point:
    """Point on the manifold near the coordinates that a solver found."""
    at = _joined(like, state)
    return space.retraction(at, combine(0.0, at, 0.0, at))


def _real_arrays(value: Point) -> tuple[Array, ...]:
    """All arrays of a point or vector, complex ones as two, since solvers are real."""
    arrays: list[Array] = []
    for x in parts(value):
        xp, split = namespace(x), _is_complex(x)
        arrays += [xp.real(x), xp.imag(x)] if split else [x]
    return tuple(arrays)


def _joined(like: Point, state: Sequence[Array]) -> Point:
    """Inverse of :func:`_real_arrays`, complex where the arrays of ``like`` are."""
    rest = iter(state)
    arrays = [next(rest) + 1j * next(rest) if _is_complex(x) else next(rest) for x in parts(like)]
    return rebuild(like, arrays)


def _is_complex(x: Array) -> bool:
    return bool(namespace(x).isdtype(x.dtype, "complex floating"))
