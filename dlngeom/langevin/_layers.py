"""Noise on the layers of any network, balanced or not."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Literal

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, Seed
from dlngeom._lib.derivatives import detached
from dlngeom._lib.door import takes_arrays
from dlngeom._lib.trajectory import Observe, Trajectory
from dlngeom.langevin._engine._runs import RunOptions, require_functions, walk_on, with_chains
from dlngeom.langevin._unbalanced import UnbalancedWalk
from dlngeom.points import SVD, Frames
from dlngeom.points._checks import check_factors
from dlngeom.points._covectors import Covector

__all__ = ["network_langevin"]


@takes_arrays("factors")
def network_langevin(
    factors: Sequence[Array],
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
    duration, n_steps, warmup, rng, n_chains, save_every, observe, pool, progress, checkpoint
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
    dlngeom.langevin.riemannian_langevin : The equation on balanced networks; it warns alike.
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
    require_functions(energy_gradient=energy_gradient)
    options = RunOptions(
        duration, n_steps, warmup, save_every, n_chains, observe, pool, progress, checkpoint, rng
    )
    options.check()
    start = with_chains(check_factors(factors), factors[0].ndim - 2, n_chains)
    call = {"function": "network_langevin", "beta": beta, "kappa": kappa}
    vertical = 2 / beta
    return walk_on(
        UnbalancedWalk(), start, None, options, vertical, kappa * vertical, call, energy_gradient
    )
