r"""Brownian motion and the Riemannian Langevin equation (RLE), on networks and any quotient.

They are simulated by geodesic random walks: each step is a Gaussian tangent vector, then a
second-order retraction.  Generators fix the units of time and temperature: Brownian motion at
``beta`` has the generator ``1/beta`` times the Laplace-Beltrami operator.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, Seed
from dlngeom._lib.derivatives import detached
from dlngeom._lib.door import takes_arrays
from dlngeom._lib.trajectory import Observe, Trajectory
from dlngeom._lib.vectors import Point, Vector, parts
from dlngeom.langevin._engine._runs import (
    RunOptions,
    sample,
    walk_on,
    with_chains,
)
from dlngeom.langevin._metropolis import AdjustedWalk
from dlngeom.langevin._unbalanced import UnbalancedWalk
from dlngeom.points import SVD, Frames
from dlngeom.points._checks import check_factors
from dlngeom.points._covectors import Covector
from dlngeom.submersion import Base, RiemannianSubmersion
from dlngeom.submersion._given import named
from dlngeom.submersion._offers import HasAdjustedRank
from dlngeom.submersion._spaces import geometry_on
from dlngeom.submersion._walks import walk_of

__all__ = ["brownian_motion", "network_langevin", "riemannian_langevin", "step"]


@takes_arrays("point")
def brownian_motion(
    space: Base | RiemannianSubmersion,
    point: Point,
    *,
    duration: float,
    n_steps: int,
    beta: float = 1.0,
    upstairs: bool = False,
    rng: Seed,
    n_chains: int | None = None,
    save_every: int = 1,
    observe: Observe | None = None,
    pool: Any = None,
    progress: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Trajectory:
    r"""Simulate Brownian motion downstairs or upstairs.

    .. math:: \text{generator } \tfrac1\beta \Delta, \qquad
              x_{k+1} = R_2\big(\sqrt{2\,\mathrm{d}t/\beta}\; P \xi_k\big)

    Parameters
    ----------
    space : DeepLinearNetwork, InfinitelyDeepNetwork, or any base or Riemannian submersion
        Without ``upstairs``, a submersion means its base.
    point : array (m, n) or SVD downstairs; Frames or balanced layers upstairs
        Initial point, with one leading axis for many chains.
    duration : float
        Time to simulate, in ``n_steps`` equal steps.
    n_steps : int
        Number of steps; a chain near a singularity subdivides its own.
    beta : float
        Inverse temperature, > 0: in time ``t`` each coordinate gains the variance ``2 t / beta``,
        so ``beta=2`` is standard Brownian motion; at ``inf`` nothing moves.
    upstairs : bool
        Whether the networks move, rather than the end-to-end matrices.
    rng : numpy.random.Generator or seed
        Each block of 64 chains has a random stream of its own.  A generator gives new streams
        each time it is used: give a seed if a run is to be resumed or repeated.
    n_chains : int, optional
        Number of chains that start from one point.
    save_every : int
        Steps from one saved state to the next; the start and the end are always saved.
    observe : dict, optional
        Name to function of the batched point; by default the dense ``end_to_end`` matrix,
        and nothing in spaces other than networks.
    pool : object with ``map``, optional
        Executor for blocks of 64 chains.  It does not change the result.
    progress : bool
        Whether to show a progress bar, with the rate in steps of single chains.
    checkpoint : path, optional
        Folder, made if it does not exist, from which the same call resumes after an interruption
        and gives the same result, on one kind of processor to the bit.  Functions count as the
        same if they give the same values, up to rounding, at the start and in one trial step,
        whatever their names.  It needs the extra ``dlngeom[xarray]``.

    Returns
    -------
    Trajectory
        ``points`` and ``observed`` are ``(chain, draw, ...)``.

    Raises
    ------
    ValueError
        If an argument is out of range, the point is not one of the space, or the checkpoint is
        damaged or belongs to another call.
    LangevinError
        If a chain diverges or the pool dies.

    See Also
    --------
    dlngeom.langevin.riemannian_langevin : The same with an energy, and with separate gauge noise.
    dlngeom.laws.radial_law : Exact law of the singular values, downstairs.
    dlngeom.laws.cone_law : Exact law of the squared norm of the layers, upstairs.

    Notes
    -----
    Results carry no derivatives.  Chains of jax arrays are compiled, for networks, and have other
    random streams: the noise of a chain depends on the seed, its number and the step alone.

    Section 10.3 and Theorem 18 of Menon, *The geometry of the deep linear network*.  Downstairs
    the smallest singular value of square matrices is reflected at zero.  Brownian motion upstairs
    projects to Brownian motion downstairs with the drift ``grad S / beta`` of the entropy.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeom import DeepLinearNetwork
    >>> from dlngeom.langevin import brownian_motion
    >>> space = DeepLinearNetwork((2, 2, 2))
    >>> run = brownian_motion(space, np.eye(2), duration=1.0, n_steps=10, rng=0, n_chains=5)
    >>> run.points.shape
    (5, 11, 2, 2)
    """
    point = detached(point)
    place = geometry_on(space, upstairs)
    beta = checks.inverse_temperature(beta)
    vertical = 2 / beta
    options = RunOptions(
        duration, n_steps, save_every, n_chains, observe, pool, progress, checkpoint, rng
    )
    call = {"function": "brownian_motion", "beta": beta, "upstairs": bool(upstairs)}
    return sample(place, point, options, vertical, vertical, call)


@takes_arrays("point")
def riemannian_langevin(
    space: RiemannianSubmersion | Base,
    point: Point,
    *,
    energy_gradient: Callable[[Any], Covector] | None = None,
    beta: float,
    kappa: float = 1.0,
    duration: float,
    n_steps: int,
    rng: Seed,
    n_chains: int | None = None,
    save_every: int = 1,
    observe: Observe | None = None,
    pool: Any = None,
    progress: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    adjust: bool = False,
    energy: Callable[[Any], Array] | None = None,
) -> Trajectory:
    r"""Simulate stochastic gradient descent by the Riemannian Langevin equation.

    .. math:: \text{generator } -\mathrm{grad}\,L + \tfrac1\beta
              \big[\mathrm{tr}(P_v \mathrm{Hess}) + \kappa\,\mathrm{tr}(P_h \mathrm{Hess})\big]

    Downstairs this is ``dW = -grad F dt`` plus Brownian motion at ``beta / kappa``, with the free
    energy ``F = E - S / beta``; its invariant density is ``exp(-(beta / kappa) F)``.

    Parameters
    ----------
    space : DeepLinearNetwork or any Riemannian submersion
        On a base there is no gauge, and ``kappa`` scales all of the noise.
    point : Frames or balanced layers
        Initial point, with one leading axis for many chains.
    energy_gradient : callable, optional
        ``E'`` downstairs, of a dense ``W`` with shape ``(chain, m, n)``; it returns a covector of
        that shape.  In spaces other than networks it receives batched points of the base.  It
        must be picklable if ``pool`` uses processes.
    beta : float
        Inverse temperature, > 0: in time ``t`` the gauge noise has the variance ``2 t / beta``.
        ``inf`` leaves the gradient flow of the energy, and excludes ``adjust``.
    kappa : float
        Ratio of the variance of the observable's noise to that of the gauge.  For 0 the end-to-end
        matrix follows, as ``n_steps`` grows, the noiseless gradient flow of the free energy.
    duration, n_steps, rng, n_chains, save_every, observe, pool, progress, checkpoint
        As for :func:`brownian_motion`.
    adjust : bool
        Whether to accept or reject each step, so that ``exp(-beta L)`` times the Riemannian
        volume upstairs is invariant exactly, at every size of the step.  It needs ``kappa = 1``,
        ``energy``, and a network whose rank is the width of all its inner layers;
        ``observed["acceptance"]`` is the share of steps accepted so far.
    energy : callable, optional
        ``E`` for ``adjust``, of the same argument as ``energy_gradient``; ``(chain,)`` numbers.

    Returns
    -------
    Trajectory
        ``points`` and ``observed`` are ``(chain, draw, ...)``.

    Raises
    ------
    ValueError
        As for :func:`brownian_motion`, and if ``adjust`` is not possible, with the reason.
    LangevinError
        If the energy gradient is not finite, a chain diverges or the pool dies; it names the
        chain and the step, and carries the last finite state.

    See Also
    --------
    dlngeom.langevin.brownian_motion : The same without an energy.
    dlngeom.langevin.network_langevin : The same on networks that are not balanced.
    dlngeom.thermodynamics.free_energy : The free energy, whose Gibbs law is invariant downstairs.

    Notes
    -----
    Results carry no derivatives.  Chains of jax arrays are compiled, as in
    :func:`brownian_motion`; ``energy_gradient`` is then traced once in each run, and must not
    depend on anything that changes during the run.  One that jax cannot trace, since it reads
    numbers, is called at each step, which takes much longer.

    Equations (12.3) and (12.11) of Menon, *The geometry of the deep linear network*.  ``adjust``
    is the algorithm of Zappa, Holmes-Cerfon and Goodman, *Monte Carlo on manifolds*, Comm. Pure
    Appl. Math. 71 (2018), with the gradient in its proposals.

    Examples
    --------
    >>> from dlngeom import DeepLinearNetwork
    >>> from dlngeom.langevin import riemannian_langevin
    >>> space = DeepLinearNetwork((2, 3, 2))
    >>> start = space.random_point(0)
    >>> run = riemannian_langevin(space, start, beta=2.0, duration=1.0, n_steps=10, rng=0)
    >>> run.observed["end_to_end"].shape
    (1, 11, 2, 2)
    """
    point = detached(point)
    _require_functions(energy_gradient=energy_gradient, energy=energy)
    place = geometry_on(space, isinstance(space, RiemannianSubmersion))
    # A step without noise has no density by which it could be accepted.
    beta = checks.inverse_temperature(beta, infinite=not adjust)
    kappa = checks.noise_ratio(kappa, zero=True)
    options = RunOptions(
        duration, n_steps, save_every, n_chains, observe, pool, progress, checkpoint, rng
    )
    vertical = 2 / beta
    call: Mapping[str, Any] = {
        "function": "riemannian_langevin",
        "beta": beta,
        "kappa": kappa,
        "adjust": bool(adjust),
    }
    if adjust:
        walk = _adjusted(place, kappa, energy, energy_gradient)
        return sample(place, point, options, vertical, vertical, call, energy_gradient, walk)
    if energy is not None:
        raise ValueError("energy is given without adjust=True: only that compares energies")
    return sample(place, point, options, vertical, kappa * vertical, call, energy_gradient)


@takes_arrays("factors")
def network_langevin(
    factors: Sequence[Array],
    *,
    energy_gradient: Callable[[Any], Covector] | None = None,
    beta: float,
    kappa: float = 1.0,
    duration: float,
    n_steps: int,
    rng: Seed,
    n_chains: int | None = None,
    save_every: int = 1,
    observe: Observe | None = None,
    pool: Any = None,
    progress: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Trajectory:
    r"""Simulate noise on the layers of any network, balanced or not.

    .. math:: dW = -\nabla L\, dt + \sqrt{2/\beta}\,\big(P_v + \sqrt\kappa\,P_h\big)\, dB
              \quad \text{(It\^o)}

    ``P_v + P_h`` projects on the tangent space of the variety ``M_G`` of networks with the same
    invariants ``G_p = W_p W_p^T - W_{p+1}^T W_{p+1}``, and ``P_v`` on the tangent vectors along
    which the end-to-end matrix does not change.  The noise is tangent, but the Ito correction is
    not: by the curvature of ``M_G`` it moves the invariants, at a rate without noise.

    Parameters
    ----------
    factors : sequence of N arrays (d_p, d_{p-1})
        Layers, input layer first, with one leading axis for many chains.
    energy_gradient, beta, kappa
        As for :func:`riemannian_langevin`.
    duration, n_steps, rng, n_chains, save_every, observe, pool, progress, checkpoint
        As for :func:`brownian_motion`; by default the ``end_to_end`` matrix and the
        ``invariants`` are observed.

    Returns
    -------
    Trajectory
        ``points`` is a tuple of N arrays ``(chain, draw, d_p, d_{p-1})``.

    Raises
    ------
    ValueError
        If ``factors`` are not the layers of a network, and as for :func:`riemannian_langevin`.
    LangevinError
        As for :func:`riemannian_langevin`.

    See Also
    --------
    dlngeom.langevin.riemannian_langevin : The equation on balanced networks.
    dlngeom.flow.network_flow : The flow without noise.
    dlngeom.network.invariants : The invariants ``G_p``.

    Notes
    -----
    Results carry no derivatives.  Chains of jax arrays are compiled, as in
    :func:`riemannian_langevin`.

    Section 13.4 of Menon, *The geometry of the deep linear network*; the matrix version of
    (11.10).  Each step factorises dense matrices of the size of all layers together.
    """
    factors = detached(factors)
    beta, kappa = checks.inverse_temperature(beta), checks.noise_ratio(kappa, zero=True)
    if isinstance(factors, (Frames, SVD)):
        raise ValueError(f"factors is of type {type(factors).__name__}: it must be layers")
    _require_functions(energy_gradient=energy_gradient)
    options = RunOptions(
        duration, n_steps, save_every, n_chains, observe, pool, progress, checkpoint, rng
    )
    options.check()
    start = with_chains(check_factors(factors), factors[0].ndim - 2, n_chains)
    call = {"function": "network_langevin", "beta": beta, "kappa": kappa}
    vertical = 2 / beta
    return walk_on(
        UnbalancedWalk(), start, None, options, vertical, kappa * vertical, call, energy_gradient
    )


@takes_arrays("point", "noise", "covector")
def step(
    space: Base | RiemannianSubmersion,
    point: Point,
    noise: Vector,
    *,
    duration: float,
    beta: float,
    kappa: float = 1.0,
    covector: Covector | None = None,
) -> Point:
    r"""Take one step of the walk: a pure function of its arguments, which it does not check.

    .. math:: x' = R_2\big(-\mathrm{d}\phi^*(E')\,\mathrm{d}t
              + \sqrt{2\,\mathrm{d}t/\beta}\,(P_v + \sqrt\kappa\,P_h)\,\xi\big)

    Parameters
    ----------
    space : Base or RiemannianSubmersion
        Upstairs for a submersion, downstairs for its ``base``.
    point : Point
        With any leading axes; Frames, not layers, for a network.
    noise : Vector
        Standard Gaussian ambient vector: layers upstairs, a matrix downstairs.
    duration : float
        Time of the step.
    beta, kappa : float
        As for :func:`riemannian_langevin`.
    covector : array, optional
        ``E'`` at the end-to-end matrix, or at the point of the base.

    Returns
    -------
    Point
        Of the kind of ``point``.

    See Also
    --------
    dlngeom.langevin.riemannian_langevin : Many steps of many chains.
    dlngeom.balanced.retraction : The retraction ``R_2`` upstairs.
    dlngeom.endtoend.retraction : The retraction ``R_2`` downstairs.

    Notes
    -----
    Results carry no derivatives of torch.

    Array operations only, without branches on values: with Frames, or an SVD at finite depth, it
    can be compiled.  Unlike the drivers it does not subdivide steps near a singularity.  The
    equation is (12.3) of Menon, *The geometry of the deep linear network*.
    """
    point, noise, covector = (detached(x) for x in (point, noise, covector))
    _check_numbers(duration=duration, beta=beta, kappa=kappa)
    walk = walk_of(space, point)
    vertical = (2 * duration / beta) ** 0.5
    horizontal = vertical if kappa == 1 else vertical * kappa**0.5
    try:
        moved = walk.step(walk.start(point), noise, covector, duration, vertical, horizontal)
        return walk.point(moved)
    except (ValueError, IndexError, AttributeError) as error:
        found = [tuple(x.shape) for x in parts((point, noise))]
        raise ValueError(
            f"point and noise have shapes {found}, which do not fit: {error}"
        ) from error


def _check_numbers(*, duration: Any, beta: Any, kappa: Any) -> None:
    """Check plain numbers; arrays may be those of a compiler, which have no values yet."""
    for name, value in {"duration": duration, "kappa": kappa}.items():
        if not _is_traced(value):
            checks.nonnegative(name, value)
    if not _is_traced(beta):
        checks.inverse_temperature(beta)


def _require_functions(**functions: Any) -> None:
    """Require functions of points downstairs, or None."""
    for name, value in functions.items():
        if value is not None and not callable(value):
            shown = " ".join(repr(value).split())[:60]
            raise TypeError(
                f"{name}={shown}: it must be a function, of batched end-to-end matrices or of "
                "points of the base"
            )


def _is_traced(value: Any) -> bool:
    """Whether a number may be one that a compiler does not know yet."""
    return getattr(value, "shape", None) == () and not isinstance(value, (np.ndarray, np.generic))


def _adjusted(
    space: Any,
    kappa: float,
    energy: Callable[[Any], Array] | None,
    energy_gradient: Callable[[Any], Covector] | None,
) -> AdjustedWalk:
    """Return the walk for ``adjust``, or raise an error that says why it is impossible."""
    if not isinstance(space, HasAdjustedRank):
        raise ValueError(f"adjust=True: it needs a DeepLinearNetwork, not {named(space)}")
    if kappa != 1:
        raise ValueError(
            f"adjust=True with kappa={kappa:g}: only kappa=1 has the invariant law "
            "exp(-beta L) times the Riemannian volume"
        )
    try:
        rank = space.adjusted_rank()
    except ValueError as error:
        raise ValueError(f"adjust=True with {error}") from error
    if energy is None and energy_gradient is not None:
        raise ValueError("adjust=True: it compares energies, give energy as well as its gradient")
    return AdjustedWalk(rank, energy, energy_gradient)
