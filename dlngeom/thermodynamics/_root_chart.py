r"""The root chart of end-to-end matrices, and the Gibbs law there.

In the root ``X = U Lam V^T`` of ``W = U Lam^N V^T`` the volume of ``g^N`` is a multiple of Lebesgue
measure, so that samplers of densities on flat space draw from the law of the Langevin equation.
References are to Menon, *The geometry of the deep linear network*.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, namespace
from dlngeom._lib.derivatives import is_traced, smooth_in
from dlngeom._lib.door import plain, takes_arrays
from dlngeom.thermodynamics._layers import LayerWidths, layer_widths
from dlngeom.thermodynamics._root_functions import entropy_of_root, power

__all__ = ["from_root", "log_gibbs_density", "to_root"]


@takes_arrays("X")
def log_gibbs_density(
    X: Array,
    energy: Callable[[Array], Array],
    widths: Sequence[int],
    beta: float,
    kappa: float = 1.0,
    *,
    check_finite: bool = True,
) -> Array:
    r"""Logarithm of the Gibbs density of the Riemannian Langevin equation, in the root chart.

    .. math:: \log p(X) = -\frac{\beta}{\kappa} E(W) + \frac{1}{\kappa} S(W), \qquad
              X = U \Lambda V^T, \quad W = U \Lambda^N V^T

    against Lebesgue measure of ``X``, up to a constant.

    Parameters
    ----------
    X : array (..., m, n)
        Root of an end-to-end matrix; singular ones and equal singular values are allowed.
    energy : callable
        ``E`` of end-to-end matrices ``(..., m, n)``, one number ``(...)`` for each.  Torch and jax
        differentiate through it.
    widths : sequence of N+1 int
        ``(d_0, ..., d_N)`` with ``d_0 = n``, ``d_N = m`` and inner widths of at least
        ``min(m, n)``: the law of networks of full rank.
    beta : float
        Inverse temperature, > 0.
    kappa : float
        Noise of the observable over that of the gauge, > 0.
    check_finite : bool
        Whether to check the values of the input; they are not checked in code that jax traces.

    Returns
    -------
    array (...)
        Minus infinity where two singular values vanish and ``N >= 2``, or one does and an inner
        width exceeds ``min(m, n)``.

    Raises
    ------
    ValueError
        If shapes, widths, ``beta``, ``kappa`` or what ``energy`` returns do not fit.

    See Also
    --------
    dlngeom.thermodynamics.from_root : Turn the draws into end-to-end matrices.
    dlngeom.langevin.riemannian_langevin : Draw from the same law by the equation itself.
    dlngeom.mici.system : Draw from it upstairs, by Hamiltonian Monte Carlo.
    dlngeom.thermodynamics.equilibrium.log_density : The density of the singular values.

    Notes
    -----
    Theorems 10 and 11, with the volume of :func:`log_svd_density`.  The density is smooth at equal
    singular values.  With inner widths ``min(m, n)`` it is finite and continuously differentiable
    where one singular value vanishes, and smooth there at odd depth.  In ``W`` itself the density
    grows like ``sigma^(1/N - 1)`` at singular square matrices, where gradient samplers stall.

    At even depth the equation keeps the sign of ``det W``; samplers of ``X`` do not, and draw from
    both signs.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeom import thermodynamics
    >>> def energy(W):
    ...     return np.sum(W**2, axis=(-2, -1)) / 2
    >>> X = np.diag([1.0, 0.0])
    >>> float(thermodynamics.log_gibbs_density(X, energy, (2, 2, 2), beta=4.0).round(6))
    0.877598
    """
    beta = checks.inverse_temperature(beta, infinite=False)
    kappa = checks.noise_ratio(kappa)
    layers = _full_rank(X, layer_widths(widths), check_finite)
    if not callable(energy):
        raise TypeError(f"energy={energy!r}: it must be a function of end-to-end matrices")
    value = _numbers(energy(power(X, int(layers.depth))), tuple(X.shape[:-2]), check_finite)
    density: Array = (entropy_of_root(X, layers) - beta * value) / kappa
    return density


@takes_arrays("X")
def from_root(X: Array, depth: int, *, check_finite: bool = True) -> Array:
    r"""End-to-end matrix of a root: each singular value to the power ``N``.

    .. math:: W = U \Lambda^N V^T, \qquad X = U \Lambda V^T

    Parameters
    ----------
    X : array (..., m, n)
        Root.
    depth : int
        Number of layers ``N``.
    check_finite : bool
        Whether to check the values of the input; they are not checked in code that jax traces.

    Returns
    -------
    array (..., m, n)

    Raises
    ------
    ValueError
        If the depth is out of range or infinite, or an entry is not finite.

    See Also
    --------
    dlngeom.thermodynamics.to_root : The inverse.
    dlngeom.thermodynamics.log_gibbs_density : The Gibbs law of roots.

    Notes
    -----
    At odd depth it is the polynomial ``X (X^T X)^((N-1)/2)``.  Torch and jax differentiate it
    rightly at equal and at zero singular values.  At even depth there is no second derivative at a
    zero singular value, and jax has none at equal ones: an error, in compiled code NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeom import thermodynamics
    >>> thermodynamics.from_root(np.diag([2.0, -1.0]), 2)
    array([[ 4.,  0.],
           [ 0., -1.]])
    """
    _checked("X", X, check_finite)
    return power(X, int(checks.depth(depth, infinite=False)))


@smooth_in("W")
@takes_arrays("W")
def to_root(W: Array, depth: int, *, check_finite: bool = True) -> Array:
    r"""Root of an end-to-end matrix: the ``N``-th root of each singular value.

    .. math:: X = U \Sigma^{1/N} V^T, \qquad W = U \Sigma V^T

    Parameters
    ----------
    W : array (..., m, n)
        End-to-end matrix; it may be singular.
    depth : int
        Number of layers ``N``.
    check_finite : bool
        Whether to check the values of the input; they are not checked in code that jax traces.

    Returns
    -------
    array (..., m, n)
        Its singular values are those of every balanced layer.

    Raises
    ------
    ValueError
        If the depth is out of range or infinite, or an entry is not finite.

    See Also
    --------
    dlngeom.thermodynamics.from_root : The inverse.
    dlngeom.thermodynamics.log_gibbs_density : The Gibbs law of roots.

    Notes
    -----
    The chart in which the volume of Theorem 11 is Lebesgue measure, at full rank.  Beyond depth one
    there is no derivative at a zero singular value.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeom import thermodynamics
    >>> thermodynamics.to_root(np.diag([4.0, 9.0]), 2)
    array([[2., 0.],
           [0., 3.]])
    """
    _checked("W", W, check_finite)
    number = int(checks.depth(depth, infinite=False))
    if number == 1:
        return W * 1
    u, s, vt = namespace(W).linalg.svd(W, full_matrices=False)
    root: Array = (u * s[..., None, :] ** (1 / number)) @ vt
    return root


def _checked(name: str, X: Any, check_finite: bool) -> None:
    if isinstance(X, tuple):
        raise TypeError(f"{name} is a {type(X).__name__}: it must be a dense matrix, pass dense(x)")
    checks.matrix(name, X)
    if check_finite and not is_traced(X):
        checks.finite(name, X)


def _full_rank(X: Array, layers: LayerWidths, check_finite: bool) -> LayerWidths:
    """Check a root and widths of networks over it that have full rank."""
    _checked("X", X, check_finite)
    shape, widths = tuple(X.shape[-2:]), layers.widths
    if shape != (widths[-1], widths[0]):
        raise ValueError(
            f"X is {shape[0]} x {shape[1]}: widths={widths} end with {widths[-1]} x {widths[0]}"
        )
    if min(widths) < min(shape):
        raise ValueError(
            f"widths={widths}: inner widths below {min(shape)} leave no matrix of full rank, which "
            "the root chart needs; dlngeom.mici and dlngeom.langevin sample lower ranks"
        )
    return layers


def _numbers(value: Any, batch: tuple[int, ...], check_finite: bool) -> Array:
    """Check energies, one for each matrix; infinite ones are walls."""
    found: Any = plain("the result of energy", value)
    shape = tuple(getattr(found, "shape", ()))
    if isinstance(found, tuple) or shape != batch:
        raise ValueError(f"energy returned shape {shape}: it must be {batch}, one for each matrix")
    if check_finite and not is_traced(found) and bool(_any_nan(found)):
        raise ValueError("energy returned nan: it must be a number, or inf where no matrix may be")
    energies: Array = found
    return energies


def _any_nan(x: Any) -> Any:
    if not hasattr(x, "dtype"):
        return math.isnan(x)
    xp = namespace(x)
    return xp.any(xp.isnan(x))
