r"""Kinetic (underdamped) Langevin dynamics on the manifold upstairs, with RATTLE drifts."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from dlngeom._lib import checks
from dlngeom._lib.arrays import Seed, as_generator, to_numpy
from dlngeom._lib.derivatives import detached
from dlngeom._lib.door import takes_arrays
from dlngeom._lib.trajectory import Observe, Trajectory
from dlngeom._lib.vectors import Point, Vector, combine, norm, parts, rebuild, scale
from dlngeom.langevin._engine._runs import RunOptions, batched_start, require_functions, walk_on
from dlngeom.langevin._engine._streams import BLOCK, Streams
from dlngeom.langevin._kinetic_walk import KineticWalk
from dlngeom.langevin._rattle import real_part
from dlngeom.langevin._step_size import Scene
from dlngeom.points._covectors import Covector
from dlngeom.submersion import RiemannianSubmersion
from dlngeom.submersion._given import check_like, named
from dlngeom.submersion._spaces import embedding
from dlngeom.submersion._walks import gaussian, walk_of

__all__ = ["kinetic_langevin"]


@takes_arrays("point", "velocity")
def kinetic_langevin(
    space: RiemannianSubmersion,
    point: Point,
    *,
    energy_gradient: Callable[[Any], Covector] | None = None,
    beta: float,
    friction: float,
    duration: float,
    n_steps: int | str,
    rng: Seed,
    velocity: Vector | None = None,
    warmup: int = 0,
    n_chains: int | None = None,
    save_every: int = 1,
    observe: Observe | None = None,
    pool: Any = None,
    progress: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Trajectory:
    r"""Simulate networks that have inertia: the underdamped Langevin equation upstairs.

    .. math:: \dot x = v, \qquad \nabla_t v = -\mathrm{grad}\,L(x) - \gamma\,v
              + \sqrt{2\gamma/\beta}\;P_x\,\dot B

    Its invariant density is ``exp(-beta (L + |v|^2 / 2))``: positions have the law of
    :func:`riemannian_langevin` at ``kappa = 1``, whatever the friction.

    Parameters
    ----------
    space : DeepLinearNetwork or any Riemannian submersion
    point : Point
        Initial point upstairs, with one leading axis for many chains: Frames or balanced layers
        for a network.
    energy_gradient : callable, optional
        ``E'`` downstairs, as for :func:`riemannian_langevin`.
    beta : float
        Inverse temperature, > 0: each coordinate of the velocity has the variance ``1 / beta`` at
        equilibrium.  ``inf`` leaves the damped motion without noise.
    friction : float
        ``gamma >= 0``, the rate at which velocities are forgotten.  At 0 the motion is that of
        Hamilton, and ``beta`` matters for the first velocity alone; as it grows, the positions
        follow the RLE with ``kappa = 1`` in the time ``t / friction``.
    duration, n_steps
        Time to simulate, in equal steps, each of them with one energy gradient.  With ``"auto"`` a
        pilot run chooses them: a step ``h`` has ``h sqrt(c) <= 0.5``, where ``c`` is the largest
        curvature of the lifted energy (:func:`suggest_step`), on a path that bends little.
    rng, warmup, n_chains, save_every, observe, pool, progress, checkpoint
        As for :func:`brownian_motion`.
    velocity : Vector, optional
        Initial velocity, tangent at ``point``: layers for a network.  By default Gaussian, from
        the law at equilibrium.

    Returns
    -------
    Trajectory
        ``points`` and ``observed`` are ``(chain, draw, ...)``; ``observed["velocity"]`` has the
        velocities.

    Raises
    ------
    ValueError
        As for :func:`brownian_motion`, if ``velocity`` is not tangent, and if the energy gradient
        is not finite at the start.
    LangevinError
        As for :func:`riemannian_langevin`.

    Warns
    -----
    UserWarning
        Once, as :func:`riemannian_langevin`, if a step times the root of the largest curvature of
        the energy exceeds 1; from 2 on steps are unstable.

    See Also
    --------
    dlngeom.langevin.riemannian_langevin : The limit of large friction, with any ``kappa``.
    dlngeom.geodesics.geodesic : Motion without energy, friction and noise, at any accuracy.
    dlngeom.thermodynamics.free_energy : The free energy, whose Gibbs law is invariant downstairs.

    Notes
    -----
    Each step is B A O A B: half a kick by the gradient, half a drift, an exact Ornstein-Uhlenbeck
    step of the velocity, and the same backwards.  The drift is RATTLE's: to the point that lies
    along the normal space of the start, ``x' = x + h v + n``, with the velocity
    ``P_x' (x' - x) / h``.  So errors are of second order in the step, and without friction the
    momenta of the gauge group are kept to rounding: the antisymmetric parts of
    ``V_p W_p^T - W_{p+1}^T V_{p+1}``, Section 14.5 of Menon, *The geometry of the deep linear
    network*.  Chains of jax arrays are stepped from Python.

    Leimkuhler and Matthews, *Efficient molecular dynamics using geodesic integration and
    solvent-solute splitting*, Proc. R. Soc. A 472 (2016).

    Examples
    --------
    >>> from dlngeom import DeepLinearNetwork
    >>> from dlngeom.langevin import kinetic_langevin
    >>> space = DeepLinearNetwork((2, 3, 2))
    >>> run = kinetic_langevin(
    ...     space, space.random_point(0), beta=2.0, friction=1.0, duration=1.0, n_steps=10, rng=0
    ... )
    >>> [V.shape for V in run.observed["velocity"]]
    [(1, 11, 3, 2), (1, 11, 2, 3)]
    """
    point, velocity = detached(point), None if velocity is None else detached(velocity)
    require_functions(energy_gradient=energy_gradient)
    if not isinstance(space, RiemannianSubmersion):
        raise ValueError(f"{named(space)} is no Riemannian submersion: networks move upstairs")
    beta, friction = checks.inverse_temperature(beta), checks.nonnegative("friction", friction)
    # One generator, since the first velocities and the noise must not have the same streams.
    rng = None if rng is None else as_generator(rng)
    options = RunOptions(
        duration, n_steps, warmup, save_every, n_chains, observe, pool, progress, checkpoint, rng
    )
    options.check()
    start = batched_start(space, point, n_chains)
    first = _first_velocity(space, start, velocity, beta, rng)
    relaxing = walk_of(space, start)
    walk = KineticWalk(space, relaxing, energy_gradient, beta, friction)
    call = {"function": "kinetic_langevin", "beta": beta, "friction": friction}
    scene = Scene.of(space, relaxing, start, 2 / beta, 2 / beta, energy_gradient, inertia=True)
    return walk_on(walk, (start, first), space, options, 0.0, 0.0, call, scene=scene)


def _first_velocity(
    space: RiemannianSubmersion, start: Point, velocity: Vector | None, beta: float, rng: Seed
) -> Vector:
    """Return the given velocity, tangent and with chains, or draw one."""
    like = embedding(space, start)
    count = parts(like)[0].shape[0]
    # Drawn in blocks, so that a chain does not depend on the others.
    streams = Streams(as_generator(rng).spawn(1)[0].spawn(-(-count // BLOCK)))
    if velocity is not None:
        return _given_velocity(space, start, velocity, like)
    noise = gaussian(like, lambda shape: streams.normal(shape, None, real_part(like)))
    return space.tangent_projection(start, scale(beta**-0.5, noise))


def _given_velocity(
    space: RiemannianSubmersion, start: Point, velocity: Vector, like: Vector
) -> Vector:
    velocity = tuple(velocity) if isinstance(velocity, list) else velocity
    check_like("velocity", velocity, rebuild(like, [x[0, ...] for x in parts(like)]))
    pairs = list(zip(parts(velocity), parts(like), strict=True))
    chains = {tuple(x.shape[: x.ndim - y.ndim + 1]) for x, y in pairs}
    count = parts(like)[0].shape[0]
    if chains not in ({()}, {(count,)}):
        raise ValueError(f"velocity has the chains {chains} and the point has {count}: as many")
    V = rebuild(like, [0 * y + x for x, y in pairs])
    tangent = space.tangent_projection(start, V)
    off = to_numpy(norm(combine(1.0, V, -1.0, tangent), 1))
    limit = checks.relative_tolerance(real_part(like)) * to_numpy(norm(V, 1))
    bad = np.flatnonzero(off > limit)
    if len(bad):
        raise ValueError(
            f"velocity of chain {bad[0]} is off the tangent space by {off[bad[0]]:.2g}: give "
            "space.tangent_projection(point, velocity)"
        )
    return tangent
