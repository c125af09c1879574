r"""Exact laws of observables of the diffusions that :mod:`dlngeom.langevin` simulates.

A Kolmogorov-Smirnov test compares a sampler with them.  ``time`` and ``beta`` have the units of
:func:`dlngeom.langevin.brownian_motion`: the generator is ``1/beta`` times a Laplacian.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, Numbers, Seed, as_generator
from dlngeom.dln import DeepLinearNetwork

__all__ = ["cone_law", "dyson_law", "radial_law", "radial_law_infinite_depth", "sphere_law"]


def radial_law(
    s0: Numbers,
    shape: tuple[int, int],
    depth: float,
    time: float,
    beta: float,
    size: int,
    rng: Seed,
) -> np.ndarray:
    r"""Sample the singular values of Brownian motion of end-to-end matrices.

    .. math:: \lambda(t) \overset{d}{=} \mathrm{sv}\big(\Lambda_0
              + \sqrt{2t/(\beta N)}\, G\big), \qquad G \in \mathbb{R}^{(m+n-r) \times r}

    Parameters
    ----------
    s0 : array (r,)
        Singular values of ``W`` at the start, > 0.
    shape : (int, int)
        ``(m, n)``.
    depth : int or inf
        Number of layers; ``inf`` needs ``m = n = r``.
    time, beta : float
        Time and inverse temperature, as for :func:`dlngeom.langevin.brownian_motion`; at
        ``beta=inf`` nothing moves.
    size : int
        Number of samples.
    rng : numpy.random.Generator or seed

    Returns
    -------
    array (size, r)
        ``lambda = sigma^(1/N)``, descending; ``sigma`` itself for ``depth=inf``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of real numbers or out of range.

    See Also
    --------
    dlngeom.langevin.brownian_motion : Sampler of the process itself.
    dlngeom.laws.radial_law_infinite_depth : The limit of infinite depth.
    dlngeom.laws.cone_law : Law of the squared norm upstairs.

    Notes
    -----
    For every rank and shape, the process of Theorem 18 of Menon, *The geometry of the deep linear
    network*, has the singular values of a Gaussian matrix.  For ``m = n = r`` the smallest one is
    reflected at zero.
    """
    s0, (m, n) = _spectrum(s0), _sides(shape)
    if checks.depth(depth) == math.inf:
        if not m == n == len(s0):
            raise ValueError(f"depth=inf: shape={(m, n)} with {len(s0)} values, it needs (r, r)")
        return radial_law_infinite_depth(s0, time, beta, size, rng)
    variance, r = _variance(time, beta), checks.rank(len(s0), m, n)
    start = np.zeros((m + n - r, r))
    np.fill_diagonal(start, np.sort(s0)[::-1] ** (1 / depth))
    noise = as_generator(rng).standard_normal((checks.integer("size", size, 1), *start.shape))
    return np.linalg.svd(start + math.sqrt(variance / depth) * noise, compute_uv=False)


def radial_law_infinite_depth(
    s0: Numbers, time: float, beta: float, size: int, rng: Seed
) -> np.ndarray:
    r"""Sample the singular values of Brownian motion of matrices with infinite depth.

    .. math:: \log \sigma(t) \overset{d}{=} \mathrm{eig}\big(\log \Sigma_0 + H\big), \qquad
              H_{ii} \sim \mathcal{N}(0, 2t/\beta), \quad H_{ij} \sim \mathcal{N}(0, t/\beta)

    Parameters
    ----------
    s0 : array (r,)
        Singular values at the start, > 0.
    time, beta : float
        Time, in units of :class:`dlngeom.InfinitelyDeepNetwork`, and inverse temperature, which
        may be ``inf``.
    size : int
        Number of samples.
    rng : numpy.random.Generator or seed

    Returns
    -------
    array (size, r)
        ``sigma``, descending.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of real numbers or out of range.

    See Also
    --------
    dlngeom.InfinitelyDeepNetwork : The space of the process.
    dlngeom.laws.radial_law : The same at finite depth.
    dlngeom.laws.dyson_law : Dyson Brownian motion of any index.

    Notes
    -----
    This is Brownian motion for (14.10) of Menon, *The geometry of the deep linear network*: the
    logarithms of the singular values are Dyson Brownian motion of symmetric matrices.
    """
    s0, variance = _spectrum(s0), _variance(time, beta)
    noise = as_generator(rng).standard_normal((checks.integer("size", size, 1), len(s0), len(s0)))
    symmetric = (noise + noise.swapaxes(-1, -2)) * math.sqrt(variance / 4)
    values = np.linalg.eigvalsh(np.diag(np.log(s0)) + symmetric)
    return np.asarray(np.exp(values[:, ::-1]))


def cone_law(
    space: DeepLinearNetwork, r0_squared: float, time: float, beta: float, kappa: float
) -> Any:
    r"""Law of the squared norm of all layers, under the RLE without energy.

    .. math:: \frac{\sum_p |W_p|^2}{2\kappa t/\beta} \sim \chi'^2\Big(\frac{\dim V
              + \kappa \dim H}{\kappa},\; \frac{R_0^2}{2\kappa t/\beta}\Big)

    Parameters
    ----------
    space : DeepLinearNetwork
    r0_squared : float
        Squared norm at the start.
    time, beta, kappa : float
        Time, inverse temperature, and ratio of the noise of the observable to that of the gauge;
        ``kappa = 1`` is Brownian motion.

    Returns
    -------
    scipy.stats frozen distribution

    Raises
    ------
    ValueError
        If an argument is out of range, or ``kappa = 0``, where there is no spread; the message
        then gives the value.

    See Also
    --------
    dlngeom.langevin.riemannian_langevin : Sampler of the process itself.
    dlngeom.laws.sphere_law : The same for vectors over their lengths.
    dlngeom.laws.radial_law : Law of the singular values downstairs.

    Notes
    -----
    Equation (12.11) of Menon, *The geometry of the deep linear network*, with ``E = 0``.  The
    balanced manifold is a cone, on which the squared norm is a squared Bessel process.

    Examples
    --------
    >>> from dlngeom import DeepLinearNetwork, laws
    >>> law = laws.cone_law(DeepLinearNetwork((2, 2, 2)), 4.0, time=0.5, beta=2.0, kappa=1.0)
    >>> float(law.mean())
    6.5
    """
    _check_space(space)
    return _squared_bessel(space.dim_orbit, space.dim_base, r0_squared, time, beta, kappa)


def sphere_law(dimension: int, r0_squared: float, time: float, beta: float, kappa: float) -> Any:
    r"""Law of the squared length of a vector whose radial noise is scaled by ``kappa``.

    .. math:: \frac{|x|^2}{2\kappa t/\beta} \sim \chi'^2\Big(\frac{d - 1 + \kappa}{\kappa},\;
              \frac{r_0^2}{2\kappa t/\beta}\Big)

    Parameters
    ----------
    dimension : int
        ``d``, that of :class:`dlngeom.quotients.Sphere`.
    r0_squared : float
        Squared length at the start.
    time, beta, kappa : float
        As for :func:`cone_law`; (11.10) is ``beta = 2``, ``kappa = 0``.

    Returns
    -------
    scipy.stats frozen distribution

    Raises
    ------
    ValueError
        If an argument is out of range, or ``kappa = 0``, where there is no spread; the message
        then gives the value (11.11).

    See Also
    --------
    dlngeom.quotients.Sphere : The space of the process.
    dlngeom.langevin.riemannian_langevin : Sampler of the process itself.
    dlngeom.laws.cone_law : The same for balanced networks.

    Notes
    -----
    Equations (11.10) and (11.11) of Menon, *The geometry of the deep linear network*.
    """
    dimension = checks.integer("dimension", dimension, 1)
    return _squared_bessel(dimension - 1, 1, r0_squared, time, beta, kappa)


def _squared_bessel(
    vertical: int, horizontal: int, start: float, time: float, beta: float, kappa: float
) -> Any:
    variance = _variance(time, checks.inverse_temperature(beta, infinite=False))
    start, kappa = checks.positive("r0_squared", start), checks.noise_ratio(kappa, zero=True)
    if variance == 0:
        raise ValueError(f"time={time!r} and beta={beta!r}: nothing moves, there is no spread")
    if kappa == 0:
        value = start + vertical * variance
        raise ValueError(f"kappa=0: there is no spread, the squared norm is {value!r}")
    scale = kappa * variance
    return stats.ncx2(df=vertical / kappa + horizontal, nc=start / scale, scale=scale)


def dyson_law(
    x0: Array | Sequence[float], time: float, beta: float, kappa: float, size: int, rng: Seed
) -> np.ndarray:
    r"""Sample the eigenvalues of Hermitian matrices whose spectral noise is scaled by ``kappa``.

    .. math:: dx_i = \frac{2}{\beta} \sum_{j \ne i} \frac{dt}{x_i - x_j}
              + \sqrt{\frac{2\kappa}{\beta}}\, dW_i

    This is Dyson Brownian motion (11.1) of index ``2 / kappa`` at the time ``2 t / beta``.

    Parameters
    ----------
    x0 : array (d,)
        Eigenvalues at the start.
    time, beta, kappa : float
        As for :func:`cone_law`, for :class:`dlngeom.quotients.HermitianSpectrum`; (11.4) is
        ``beta = 2``.
    size : int
        Number of samples.
    rng : numpy.random.Generator or seed

    Returns
    -------
    array (size, d)
        Ascending.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of real numbers or out of range, or no exact law is known; from
        distinct eigenvalues one is for ``kappa`` 2, 1 and 1/2 (real, complex and quaternion
        matrices).

    See Also
    --------
    dlngeom.quotients.HermitianSpectrum : The space of the process.
    dlngeom.langevin.riemannian_langevin : Sampler of the process itself.
    dlngeom.laws.radial_law_infinite_depth : The case of singular values at infinite depth.

    Notes
    -----
    Equations (11.1) and (11.4) of Menon, *The geometry of the deep linear network*.  From equal
    eigenvalues the law is, for every ``kappa``, that of the tridiagonal matrices of Dumitriu and
    Edelman, *Matrix models for beta ensembles*, J. Math. Phys. 43 (2002).
    """
    x0 = np.sort(checks.real_array("x0", x0))
    variance, rng, size = _variance(time, beta), as_generator(rng), checks.integer("size", size, 1)
    if x0.ndim != 1 or x0.size == 0 or not np.all(np.isfinite(x0)):
        raise ValueError(f"x0={x0!r}: it must be finite, of shape (d,)")
    kappa = checks.noise_ratio(kappa)
    if np.ptp(x0) == 0:
        return np.asarray(x0 + math.sqrt(variance) * _tridiagonal(len(x0), kappa, size, rng))
    if kappa not in _GAUSSIAN:
        known = ", ".join(map(str, _GAUSSIAN))
        raise ValueError(f"kappa={kappa}: from distinct eigenvalues the law is known for {known}")
    noise = _GAUSSIAN[kappa](len(x0), size, rng)
    copies = noise.shape[-1] // len(x0)
    start = np.kron(np.eye(copies), np.diag(x0))
    return np.asarray(np.linalg.eigvalsh(start + math.sqrt(variance) * noise)[:, ::copies])


def _real_noise(d: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Symmetric matrices with variance 2 on the diagonal and 1 off it."""
    x = rng.standard_normal((size, d, d))
    return np.asarray((x + x.swapaxes(-1, -2)) / math.sqrt(2))


def _complex_noise(d: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Hermitian matrices with variance 1 on the diagonal."""
    x = rng.standard_normal((size, d, d)) + 1j * rng.standard_normal((size, d, d))
    return np.asarray((x + x.conj().swapaxes(-1, -2)) / 2)


def _quaternion_noise(d: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Self-dual matrices with variance 1/2 on the diagonal, as complex ones of twice the size."""
    first = _complex_noise(d, size, rng)
    x = rng.standard_normal((size, d, d)) + 1j * rng.standard_normal((size, d, d))
    second = (x - x.swapaxes(-1, -2)) / 2
    rows = [np.concatenate([first, second], axis=-1)]
    rows.append(np.concatenate([-second.conj(), first.conj()], axis=-1))
    return np.asarray(np.concatenate(rows, axis=-2) / math.sqrt(2))


_GAUSSIAN = {2.0: _real_noise, 1.0: _complex_noise, 0.5: _quaternion_noise}


def _tridiagonal(d: int, kappa: float, size: int, rng: np.random.Generator) -> np.ndarray:
    """Eigenvalues of density ``prod |x_i - x_j|^(2/kappa) exp(-|x|^2 / (2 kappa))``."""
    diagonal = rng.standard_normal((size, d))
    chi = np.sqrt(rng.chisquare(2 / kappa * np.arange(1, d), (size, d - 1)) / 2)
    matrices = np.zeros((size, d, d))
    index = np.arange(d)
    matrices[:, index, index] = diagonal
    matrices[:, index[1:], index[:-1]] = chi
    return np.asarray(math.sqrt(kappa) * np.linalg.eigvalsh(matrices, UPLO="L"))


def _check_space(space: Any) -> None:
    if not isinstance(space, DeepLinearNetwork):
        raise TypeError(f"space={space!r}: it must be a DeepLinearNetwork")


def _spectrum(s0: Numbers) -> np.ndarray:
    values = np.atleast_1d(checks.real_array("s0", s0))
    if values.ndim != 1 or not np.all(np.isfinite(values)) or not np.all(values > 0):
        raise ValueError(f"s0={s0!r}: it must be positive and finite, of shape (r,)")
    return values


def _sides(shape: Any) -> tuple[int, int]:
    """Return the shape of a matrix, two integers."""
    try:
        sides = list(shape)
    except TypeError:
        sides = []
    if len(sides) != 2:
        raise ValueError(f"shape={shape!r}: it must be (m, n)")
    m, n = checks.widths(sides)
    return m, n


def _variance(time: float, beta: float) -> float:
    """Variance ``2 t / beta`` of each coordinate of Brownian motion."""
    return 2 * checks.nonnegative("time", time) / checks.inverse_temperature(beta)
