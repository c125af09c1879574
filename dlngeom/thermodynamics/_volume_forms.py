r"""Volume forms of end-to-end matrices and of balanced networks, in singular values.

References are to Menon, *The geometry of the deep linear network*.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dlngeom import spectral
from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, constant, namespace
from dlngeom._lib.door import takes_arrays
from dlngeom._lib.stiefel import log_stiefel_volume
from dlngeom.endtoend._kernels import pair
from dlngeom.points._checks import require_positive
from dlngeom.thermodynamics._entropy import symmetric_entropy
from dlngeom.thermodynamics._layers import layer_widths

__all__ = ["log_network_density", "log_singular_value_density", "log_svd_density"]

COORDINATES = ("s", "lam", "log_s")


@takes_arrays("s")
def log_svd_density(
    s: Array,
    shape: tuple[int, int],
    depth: float,
    *,
    coordinate: str = "s",
    check_finite: bool = True,
) -> Array:
    r"""Logarithm of the volume density of ``g^N`` in the coordinates of an SVD.

    .. math:: d\mathrm{vol} = N^{r/2}\, 2^{-r(m+n-r-1)/2} \prod_{k<l} (\lambda_k^2 - \lambda_l^2)
              \prod_k \lambda_k^{m+n-2r}\; d\lambda\, dU\, dV

    Parameters
    ----------
    s : array (..., r)
        Singular values, > 0, in any order.
    shape : (int, int)
        Shape ``(m, n)`` of the matrix.
    depth : int or inf
        Number of layers; ``inf`` needs ``m = n = r``.
    coordinate : {"s", "lam", "log_s"}
        Variable of the density: ``sigma``, ``lambda = sigma^(1/N)``, which ``depth=inf`` excludes,
        or ``log sigma``.
    check_finite : bool
        Whether to check the values of the input.

    Returns
    -------
    array (...)
        Minus infinity where singular values are equal.  ``dU`` and ``dV`` are volumes of Stiefel
        manifolds as quotients of orthogonal groups in the Frobenius metric.

    Raises
    ------
    ValueError
        If ``s`` is not positive, or shapes, rank, depth and coordinate do not fit.

    See Also
    --------
    dlngeom.endtoend.log_volume_density : The density against Lebesgue measure.
    dlngeom.thermodynamics.log_singular_value_density : Integral over the frames.

    Notes
    -----
    Theorem 11, (6.4), of Menon, *The geometry of the deep linear network*, at every rank and shape,
    with the exponent corrected and the constant included.  For ``depth=inf`` it is
    ``prod (log sigma_k - log sigma_l) d(log sigma) dU dV``.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeom import thermodynamics
    >>> float(thermodynamics.log_svd_density(np.array([2.0, 1.0]), (2, 2), depth=1).round(6))
    0.405465
    """
    m, n, depth = _checked(s, shape, depth, coordinate, check_finite)
    xp, r, number = namespace(s), s.shape[-1], 1.0 if depth == math.inf else depth
    pairs = xp.triu(_log_gaps(s) - spectral._log_weights(*pair(s), depth), k=1)
    jacobian = {"s": 1.0, "lam": 1 / depth, "log_s": 0.0}[coordinate]
    single = (m + n - 2 * r + 1) / depth - jacobian
    layers = (r / 2 if coordinate == "lam" else -r / 2) * math.log(number)
    total = xp.sum(pairs, axis=(-2, -1)) + single * xp.sum(xp.log(s), axis=-1)
    return total + layers - r * (m + n - r - 1) / 2 * math.log(2)


@takes_arrays("s")
def log_singular_value_density(
    s: Array,
    shape: tuple[int, int],
    depth: float,
    *,
    coordinate: str = "s",
    check_finite: bool = True,
) -> Array:
    r"""Logarithm of the density of singular values under the volume of ``g^N``.

    .. math:: \mathrm{vol}\{W : \sigma(W) \in B\} = \int_{B,\ \sigma_1 > \dots > \sigma_r} \rho
              \, d\sigma

    Parameters
    ----------
    s, shape, depth, coordinate, check_finite
        As for :func:`log_svd_density`.

    Returns
    -------
    array (...)
        Density on ordered singular values.

    Raises
    ------
    ValueError
        As for :func:`log_svd_density`.

    See Also
    --------
    dlngeom.thermodynamics.log_network_density : The density upstairs.
    dlngeom.thermodynamics.log_svd_density : The density with the frames.
    dlngeom.thermodynamics.equilibrium.log_density : The density of the equilibrium law.

    Notes
    -----
    (6.4) of Menon, *The geometry of the deep linear network*, integrated over the frames.  They
    contribute ``vol St(r, m) vol St(r, n) / 2^r``, since a matrix has ``2^r`` SVDs.
    """
    density = log_svd_density(s, shape, depth, coordinate=coordinate, check_finite=check_finite)
    r = s.shape[-1]
    frames = sum(log_stiefel_volume(r, int(d)) for d in shape)
    return density + frames - r * math.log(2)


@takes_arrays("s")
def log_network_density(
    s: Array, widths: Sequence[int], *, coordinate: str = "s", check_finite: bool = True
) -> Array:
    r"""Logarithm of the density of singular values under the volume of balanced networks.

    .. math:: \rho_{\mathrm{up}} = \rho\, e^{S}, \qquad
              \mathrm{vol}\{(W_1, \dots, W_N) : \sigma(W) \in B\}
              = \int_{B,\ \sigma_1 > \dots > \sigma_r} \rho_{\mathrm{up}}\, d\sigma

    Parameters
    ----------
    s : array (..., r)
        Singular values of the end-to-end matrix, > 0, in any order.
    widths : sequence of N+1 int
        ``(d_0, ..., d_N)``.
    coordinate, check_finite
        As for :func:`log_svd_density`.

    Returns
    -------
    array (...)
        Density of the volume in the Frobenius metric of the layers.

    Raises
    ------
    ValueError
        As for :func:`log_svd_density` and :func:`entropy_of_singular_values`.

    See Also
    --------
    dlngeom.thermodynamics.log_singular_value_density : The density downstairs.
    dlngeom.thermodynamics.entropy : Logarithm of their ratio.

    Notes
    -----
    Co-area formula for the submersion of Theorem 13, with the entropy of Theorem 10,
    of Menon, *The geometry of the deep linear network*.
    """
    layers = layer_widths(widths)
    shape = (layers.widths[-1], layers.widths[0])
    density = log_singular_value_density(
        s, shape, layers.depth, coordinate=coordinate, check_finite=check_finite
    )
    layers.rank(s.shape[-1])
    return density + symmetric_entropy(s, layers)


def _checked(
    s: Array, shape: tuple[int, int], depth: float, coordinate: str, check_finite: bool
) -> tuple[int, int, float]:
    """Sizes of the matrix, and the depth."""
    depth = checks.depth(depth)
    if np.shape(shape) != (2,):
        raise ValueError(f"shape={shape!r}: it must be (m, n)")
    m, n = checks.widths(shape)
    checks.floating("s", s)
    if s.ndim == 0 or not 1 <= s.shape[-1] <= min(m, n):
        raise ValueError(
            f"s has shape {tuple(s.shape)}: it must be (..., r), r from 1 to {min(m, n)}"
        )
    if depth == math.inf and not m == n == s.shape[-1]:
        raise ValueError(f"depth=inf: shape={(m, n)} with {s.shape[-1]} values, it needs (r, r)")
    known = COORDINATES if depth < math.inf else ("s", "log_s")
    if coordinate not in known:
        raise ValueError(f"coordinate={coordinate!r} at depth={depth}: it must be one of {known}")
    if check_finite:
        checks.finite("s", s)
        require_positive("s", s)
    return m, n, depth


def _log_gaps(s: Array) -> Array:
    """``log |sigma_k^2 - sigma_l^2|``, which is minus infinity at a tie, without a warning."""
    xp = namespace(s)
    row, column = pair(s)
    gap = xp.abs(row - column)
    tie = gap == 0
    finite = xp.log(xp.where(tie, xp.ones_like(gap), gap))
    return xp.where(tie, constant(-math.inf, s), finite) + xp.log(row + column)
