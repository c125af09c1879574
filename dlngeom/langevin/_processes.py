r"""Brownian motion and the Riemannian Langevin equation (RLE), on networks and any quotient.

They are simulated by geodesic random walks: each step is a Gaussian tangent vector, then a
second-order retraction.  Generators fix the units of time and temperature: Brownian motion at
``beta`` has the generator ``1/beta`` times the Laplace-Beltrami operator.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Literal

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, Seed
from dlngeom._lib.derivatives import detached
from dlngeom._lib.door import takes_arrays
from dlngeom._lib.trajectory import Observe, Trajectory
from dlngeom._lib.vectors import Point
from dlngeom.langevin._engine._runs import RunOptions, require_functions, sample
from dlngeom.langevin._metropolis import AdjustedWalk
from dlngeom.points._covectors import Covector
from dlngeom.submersion import Base, RiemannianSubmersion
from dlngeom.submersion._given import named
from dlngeom.submersion._offers import HasAdjustedRank
from dlngeom.submersion._spaces import geometry_on

__all__ = ["brownian_motion", "riemannian_langevin"]


@takes_arrays("point")
def brownian_motion(
    space: Base | RiemannianSubmersion,
    point: Point,
    *,
    duration: float,
    n_steps: int | Literal["auto"],
    warmup: int = 0,
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
        Time to simulate, in ``n_steps`` equal steps, after the warm-up.
    n_steps : int or "auto"
        Number of steps; a chain near a singularity subdivides its own.  With ``"auto"`` a pilot
        run of a few chains finds the points at which :func:`suggest_step` is asked.
    warmup : int
        Steps before the first draw, which are not kept.  The start is a draw only without them.
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
        Steps from one saved state to the next; the first and the last are always saved.
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
        duration, n_steps, warmup, save_every, n_chains, observe, pool, progress, checkpoint, rng
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
    n_steps: int | Literal["auto"],
    warmup: int = 0,
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
    duration, n_steps, warmup, rng, n_chains, save_every, observe, pool, progress, checkpoint
        As for :func:`brownian_motion`.
    adjust : bool
        Whether to accept or reject each step, so that ``exp(-beta L)`` times the Riemannian
        volume upstairs is invariant exactly, at every size of the step.  It needs ``kappa = 1``,
        ``energy``, and a network whose rank is the width of all its inner layers;
        ``observed["acceptance"]`` is the share of steps accepted so far, after the warm-up.
        With ``warmup`` the step is adapted to an acceptance of 0.57 by dual averaging, on copies
        of the first 64 chains, and then frozen for all: ``n_steps`` steps of that size follow, or
        with ``n_steps="auto"`` as many as ``duration`` needs.  ``Trajectory.step_size`` has it.
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

    Warns
    -----
    UserWarning
        Once, if the time of a step times the largest curvature of the energy exceeds 1 at the
        start or at one of the later draws that are looked at, with the step to take instead.  The
        start is looked at after 1,000 steps or in the end, with a pool always in the end.
        Automatic steps, which fit where chains usually are, warn above 2, where they are unstable.

    See Also
    --------
    dlngeom.langevin.suggest_step : Time of a step, from curvature and noise.
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
    require_functions(energy_gradient=energy_gradient, energy=energy)
    place = geometry_on(space, isinstance(space, RiemannianSubmersion))
    # A step without noise has no density by which it could be accepted.
    beta = checks.inverse_temperature(beta, infinite=not adjust)
    kappa = checks.noise_ratio(kappa, zero=True)
    options = RunOptions(
        duration, n_steps, warmup, save_every, n_chains, observe, pool, progress, checkpoint, rng
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
