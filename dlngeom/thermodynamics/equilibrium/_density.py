r"""Equilibrium density of the singular values of a deep linear network, and samples from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dlngeom._lib import checks, memory
from dlngeom._lib.arrays import Array, Seed, as_generator
from dlngeom.thermodynamics.equilibrium._gas import Gas, Potential, checked_potential, quadratic
from dlngeom.thermodynamics.equilibrium._gas_sampler import effective_size, walk
from dlngeom.thermodynamics.equilibrium._limit_laws import ClosedLaw, exponents
from dlngeom.thermodynamics.equilibrium._repulsion import force, log_repulsion

__all__ = ["Sample", "log_density", "log_density_gradient", "mean_virial", "sample"]

# Draws are kept one by one, joined, and turned into singular values.
_COPIES = 4


class Sample(NamedTuple):
    r"""Singular values at equilibrium, with diagnostics of the chains.

    .. math:: \sigma_1 \geq \dots \geq \sigma_d

    Attributes
    ----------
    sigma : array (chain, draw, d)
        Singular values, descending.
    acceptance : dict
        Share of accepted steps, of ``"collective"`` and of ``"single"`` ones.
    effective : dict
        Effective sample sizes of the ``"virial"``, ``sum_k sigma_k V'(sigma_k)``, and of the
        logarithms of the ``"largest"`` and the ``"smallest"`` singular value that is not zero.

    See Also
    --------
    dlngeom.thermodynamics.equilibrium.sample : The sampler.

    Notes
    -----
    Invariant density of (12.12) of Menon, *The geometry of the deep linear network*.
    """

    sigma: np.ndarray
    acceptance: dict[str, float]
    effective: dict[str, float]


def log_density(
    lam: Array | Sequence[float],
    depth: float,
    beta: float,
    kappa: float = 1.0,
    *,
    widths: Sequence[int] | None = None,
    potential: Potential = quadratic,
) -> np.ndarray:
    r"""Logarithm of the equilibrium density of singular values, up to a constant.

    .. math:: -\frac\beta\kappa \sum_k V(\lambda_k^N) + \sum_{k<l} \Big[ a \log|\lambda_k^2
              - \lambda_l^2| + b \log|\sigma_k^2 - \sigma_l^2| \Big] + c \sum_k \log \lambda_k

    with ``b = 1/(2 kappa)``, ``a = 1 - b`` and ``c = m + n - 2r + sum_p (d_p - r) / kappa``.

    Parameters
    ----------
    lam : array (..., r)
        ``sigma^(1/N)``, > 0, in any order; ``sigma`` for ``depth=inf``.
    depth : int or inf
        For ``inf`` the density is against ``d sigma``, with an infinite integral.
    beta, kappa : float
        Inverse temperature, finite, and ratio of the noise of the observable to that of the gauge.
    widths : sequence of N+1 int, optional
        ``(d_0, ..., d_N)``, all ``r`` by default.
    potential : Potential
        ``V`` with its derivative; ``sigma^2 / 2`` by default.

    Returns
    -------
    array (...)
        Minus infinity for equal values.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of real numbers or out of range, or the shapes do not fit.

    See Also
    --------
    dlngeom.thermodynamics.equilibrium.log_density_gradient : The gradient.
    dlngeom.thermodynamics.equilibrium.sample : Draws from the density.
    dlngeom.thermodynamics.log_singular_value_density : The density without energy and entropy.

    Notes
    -----
    Invariant density of (12.12) with Theorems 10 and 11 of Menon, *The geometry of the deep linear
    network*.
    """
    gas, lam, single = _at(lam, depth, beta, kappa, widths, potential)
    energy = np.sum(potential.value(_sigma(lam, depth)), axis=-1)
    outer = single * np.sum(np.log(lam), axis=-1) - gas.strength * energy
    return np.asarray(outer + log_repulsion(gas, lam))


def log_density_gradient(
    lam: Array | Sequence[float],
    depth: float,
    beta: float,
    kappa: float = 1.0,
    *,
    widths: Sequence[int] | None = None,
    potential: Potential = quadratic,
) -> np.ndarray:
    r"""Gradient of :func:`log_density` with respect to ``lam``.

    .. math:: \partial \log p / \partial \lambda_k

    Parameters
    ----------
    lam, depth, beta, kappa, widths, potential
        As for :func:`log_density`.

    Returns
    -------
    array (..., r)

    Raises
    ------
    TypeError, ValueError
        If two values are equal, where the density vanishes and has no gradient, or as for
        :func:`log_density`.

    See Also
    --------
    dlngeom.thermodynamics.equilibrium.log_density : The density.

    Notes
    -----
    Derivative of the density of (12.12) of Menon, *The geometry of the deep linear network*.
    """
    gas, lam, single = _at(lam, depth, beta, kappa, widths, potential)
    ordered = np.sort(lam, axis=-1)
    equal = ordered[..., 1:] == ordered[..., :-1]
    if np.any(equal):
        value = float(ordered[..., 1:][equal][0])
        raise ValueError(
            f"lam has the entry {value} twice: the density vanishes there and has no gradient, "
            "move one of them"
        )
    change = 1.0 if depth in (1, math.inf) else depth * lam ** (depth - 1)
    outer = single / lam - gas.strength * change * potential.slope(_sigma(lam, depth))
    return np.asarray(outer + force(gas, lam))


def mean_virial(
    d: int, depth: float, beta: float, kappa: float = 1.0, *, widths: Sequence[int] | None = None
) -> float:
    r"""Exact mean of the virial ``sum_k sigma_k V'(sigma_k)`` at equilibrium.

    .. math:: \frac{\kappa}{\beta N} \big[ d + d(d-1)(a + Nb) + c d \big]
              \;\longrightarrow\; \frac{d(d-1)}{2\beta}

    For the quadratic potential it is the mean of ``tr W^T W``.

    Parameters
    ----------
    d : int
        Number of singular values.
    depth, beta, kappa, widths
        As for :func:`log_density`.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        As for :func:`log_density`.

    See Also
    --------
    dlngeom.thermodynamics.equilibrium.sample :
        Draws, with the effective sample size of the virial.

    Notes
    -----
    By scaling of ``lam``, since the density without the potential is homogeneous.
    """
    gas = _particles(d, depth, beta, kappa, widths, quadratic, escaped=True)
    return len(gas.mass) * gas.tilt / gas.strength


def sample(
    d: int,
    depth: float,
    *,
    beta: float,
    kappa: float = 1.0,
    widths: Sequence[int] | None = None,
    potential: Potential = quadratic,
    n_chains: int = 4,
    n_draws: int = 250,
    n_warm: int = 100,
    thin: int = 1,
    rng: Seed,
) -> Sample:
    r"""Sample the singular values at equilibrium by Markov chains that leave the law invariant.

    .. math:: \sigma \sim \exp\big(-\tfrac\beta\kappa F_\beta\big)\, d\mathrm{vol}_{g^N}

    Each round is a Hamiltonian step along soft modes and two Metropolis sweeps over all particles,
    in ``O(d^2)`` operations.  All chains start at the most likely configuration.

    Parameters
    ----------
    d : int
        Number of singular values.
    depth, beta, kappa, widths, potential
        As for :func:`log_density`.  For ``depth=inf`` the law is the limit of large depths, in
        which the smallest singular value is zero.
    n_chains, n_draws : int
        Number of chains, and of draws of each.
    n_warm, thin : int
        Number of rounds before the first draw, which tune the steps, and of rounds for each draw.
    rng : numpy.random.Generator or seed

    Returns
    -------
    Sample

    Raises
    ------
    ValueError
        If an argument is out of range, or no most likely configuration is found.

    See Also
    --------
    dlngeom.thermodynamics.equilibrium.log_density : The density.
    dlngeom.thermodynamics.equilibrium.limit_law : The law for large widths.
    dlngeom.langevin.riemannian_langevin : The diffusion with this law at equilibrium.

    Notes
    -----
    Invariant density of (12.12) of Menon, *The geometry of the deep linear network*.
    """
    counts = {"n_chains": n_chains, "n_draws": n_draws, "thin": thin, "n_warm": n_warm}
    for name, value in counts.items():
        checks.integer(name, value, 0 if name == "n_warm" else 1)
    _require_memory(checks.integer("d", d, 1), n_chains, n_draws)
    gas = _particles(d, depth, beta, kappa, widths, potential, escaped=True)
    r = len(gas.mass)
    if r == 0:
        raise ValueError(f"d={d}: for depth=inf it must be at least 2, the smallest value is zero")
    law = ClosedLaw(1 if kappa < 0.75 else depth)
    start = law.log_quantile((np.arange(r) + 0.5) / r) + math.log(r / gas.strength) / 2
    run = walk(gas, start, **counts, rng=as_generator(rng))
    s = np.exp(run.x[..., ::-1])
    statistics = {
        "virial": np.sum(s * potential.slope(s), axis=-1),
        "largest": run.x[..., -1],
        "smallest": run.x[..., 0],
    }
    sigma = np.concatenate([s, np.zeros((*s.shape[:-1], d - r))], axis=-1)
    shares = dict(zip(("collective", "single"), run.acceptance.tolist(), strict=True))
    return Sample(sigma, shares, {k: effective_size(v) for k, v in statistics.items()})


def _require_memory(d: int, n_chains: int, n_draws: int) -> None:
    """Refuse draws, or a Hessian, that do not fit into memory."""
    need = 8 * _COPIES * (n_chains * n_draws * d + d * d)
    what = f"n_chains={n_chains} with n_draws={n_draws} of d={d} values"
    memory.require(what, need, "draw less, a larger thin makes draws less dependent")


def _at(
    lam: Array | Sequence[float],
    depth: float,
    beta: float,
    kappa: float,
    widths: Sequence[int] | None,
    potential: Potential,
) -> tuple[Gas, np.ndarray, float]:
    """Gas, values as an array, and the exponent of their product."""
    lam = checks.real_array("lam", lam)
    if lam.ndim == 0 or lam.shape[-1] == 0:
        raise ValueError(f"lam has shape {lam.shape}: it must be (..., r)")
    checks.finite("lam", lam)
    if np.any(lam <= 0):
        raise ValueError(f"lam has the entry {np.min(lam)}: all entries must be positive")
    gas = _particles(lam.shape[-1], depth, beta, kappa, widths, potential, escaped=False)
    single = -1.0 if depth == math.inf else _excess(lam.shape[-1], depth, kappa, widths)
    return gas, lam, single


def _sigma(lam: np.ndarray, depth: float) -> np.ndarray:
    return lam if depth == math.inf else np.asarray(lam**depth)


def _particles(
    d: int,
    depth: float,
    beta: float,
    kappa: float,
    widths: Sequence[int] | None,
    potential: Potential,
    *,
    escaped: bool,
) -> Gas:
    """Gas of ``d`` particles; at infinite depth without the one at zero, if ``escaped``."""
    d, depth = checks.integer("d", d, 1), checks.depth(depth)
    beta, kappa = checks.inverse_temperature(beta, infinite=False), checks.noise_ratio(kappa)
    excess, potential = _excess(d, depth, kappa, widths), checked_potential(potential)
    a, b = exponents(depth, kappa)
    if depth == math.inf:
        r = d - 1 if escaped else d
        # Each pair with a particle that has gone to zero leaves the factor sigma^(2b).
        tilt = (r - 1) * b + (2 * b if escaped else 0.0)
    else:
        r = d
        tilt = (1 + excess) / depth + (r - 1) * (a / depth + b)
    return Gas(depth, a, b, beta / kappa, tilt, np.ones(r), False, potential)


def _excess(d: int, depth: float, kappa: float, widths: Sequence[int] | None) -> float:
    """Exponent of ``prod_k lam_k`` due to rectangular layers and lower ranks."""
    if widths is None:
        return 0.0
    sizes = checks.widths(widths)
    if depth != len(sizes) - 1:
        raise ValueError(f"widths={sizes} are those of {len(sizes) - 1} layers, not depth={depth}")
    checks.rank(d, *sizes)
    return sizes[0] + sizes[-1] - 2 * d + sum(size - d for size in sizes[1:-1]) / kappa
