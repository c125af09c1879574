r"""Free energy of end-to-end matrices, with its gradient and Hessian for ``g^N``.

References are to Menon, *The geometry of the deep linear network*.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dlngeom import endtoend
from dlngeom._lib import checks
from dlngeom._lib.arrays import Array
from dlngeom._lib.derivatives import smooth_in
from dlngeom._lib.door import plain, takes_arrays
from dlngeom.endtoend import _kernels
from dlngeom.endtoend._checks import checked_components
from dlngeom.points import SVD, Tangent, dense
from dlngeom.points._covectors import Covector
from dlngeom.thermodynamics._entropy import entropy
from dlngeom.thermodynamics._entropy_derivatives import entropy_gradient, entropy_hessian
from dlngeom.thermodynamics._layers import layer_widths, point_of

__all__ = ["free_energy", "free_energy_gradient", "free_energy_hessian"]


@takes_arrays("W")
def free_energy(
    W: Array | SVD,
    widths: Sequence[int],
    energy: Array | Callable[[Any], Array],
    beta: float,
    *,
    depth: float | None = None,
    check_finite: bool = True,
) -> Array:
    r"""Free energy of an end-to-end matrix at inverse temperature ``beta``.

    .. math:: F_\beta(W) = E(W) - S(W) / \beta

    Parameters
    ----------
    W : array (..., m, n) or SVD
        Point; a dense one has rank ``min(m, n)``.
    widths : sequence of N+1 int
        ``(d_0, ..., d_N)``.
    energy : array (...) or callable
        ``E(W)``, or the function ``E`` of ``W``.
    beta : float
        Inverse temperature, > 0; ``inf`` leaves the energy.
    depth : inf, optional
        As for :func:`entropy`.
    check_finite : bool
        Whether to check the values of the input.

    Returns
    -------
    array (...)

    Raises
    ------
    ValueError
        If ``beta`` is not positive, or as for :func:`entropy`.

    See Also
    --------
    dlngeom.thermodynamics.entropy : The entropy.
    dlngeom.thermodynamics.free_energy_gradient : The gradient.
    dlngeom.thermodynamics.landscape.local_minima : The minima.

    Notes
    -----
    Equation (6.6).

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeom import thermodynamics
    >>> W = np.diag([2.0, 1.0])
    >>> F = thermodynamics.free_energy(W, (2, 2, 2), np.sum(W**2) / 2, beta=10.0)
    >>> float(F.round(6))
    2.15731
    """
    beta = checks.inverse_temperature(beta)
    volume = entropy(W, widths, depth=depth, check_finite=check_finite)
    value = plain("energy", energy(W) if callable(energy) else energy)
    shape, batch = tuple(getattr(value, "shape", ())), tuple(volume.shape)
    if isinstance(value, tuple) or shape not in ((), batch):
        raise ValueError(f"energy has shape {shape}: it must be {batch}, a number for each matrix")
    free: Array = value - volume / beta
    return free


@takes_arrays("W", "egrad")
def free_energy_gradient(
    W: Array | SVD,
    egrad: Covector,
    widths: Sequence[int],
    beta: float,
    *,
    depth: float | None = None,
    check_finite: bool = True,
) -> Array | Tangent:
    r"""Gradient of the free energy for the metric ``g^N``.

    .. math:: \mathrm{grad}_{g^N} F_\beta = \mathcal{A}_{N,W}(E'(W))
              - \tfrac1\beta\, \mathrm{grad}_{g^N} S

    Parameters
    ----------
    W : array (..., m, n) or SVD
        Point; a dense one has rank ``min(m, n)``.
    egrad : array (..., m, n), sparse, LinearOperator or LowRank
        Euclidean gradient ``E'(W)``.
    widths, beta, depth, check_finite
        As for :func:`free_energy`.

    Returns
    -------
    array (..., m, n) or Tangent

    Raises
    ------
    ValueError
        As for :func:`free_energy` and :func:`dlngeom.endtoend.gradient`.

    See Also
    --------
    dlngeom.thermodynamics.free_energy : The free energy.
    dlngeom.endtoend.gradient : The gradient of the energy.
    dlngeom.thermodynamics.entropy_gradient : The gradient of the entropy.

    Notes
    -----
    Equation (12.13), at every rank and for all widths.
    """
    beta = checks.inverse_temperature(beta)
    force = entropy_gradient(W, widths, depth=depth, check_finite=check_finite)
    number = layer_widths(widths, depth).depth
    pull = endtoend.gradient(W, egrad, number, check_finite=check_finite)
    return _minus(pull, force, beta)


@smooth_in("W")
@takes_arrays("W", "egrad", "ehess", "Z")
def free_energy_hessian(
    W: Array | SVD,
    egrad: Covector,
    ehess: Covector,
    Z: Array | Tangent,
    widths: Sequence[int],
    beta: float,
    *,
    depth: float | None = None,
    check_finite: bool = True,
) -> Array | Tangent:
    r"""Hessian of the free energy for the metric ``g^N``, applied to a tangent vector.

    .. math:: \mathrm{Hess}\,F_\beta[Z] = \mathrm{Hess}\,E[Z] - \tfrac1\beta\,\mathrm{Hess}\,S[Z]

    Parameters
    ----------
    W : array (..., m, n) or SVD
        Point; a dense one has rank ``min(m, n)``.
    egrad, ehess : array (..., m, n), sparse, LinearOperator or LowRank
        ``E'(W)`` and ``E''(W)[Z]``.
    Z : array (..., m, n) or Tangent
        Tangent vector.
    widths, beta, depth, check_finite
        As for :func:`free_energy`.

    Returns
    -------
    array (..., m, n) or Tangent

    Raises
    ------
    ValueError
        As for :func:`free_energy` and :func:`dlngeom.endtoend.hessian`.

    See Also
    --------
    dlngeom.thermodynamics.free_energy_gradient : The gradient.
    dlngeom.endtoend.hessian : The Hessian of the energy.
    dlngeom.thermodynamics.entropy_ehess : The Euclidean Hessian of the entropy.

    Notes
    -----
    Derivative of (12.13); smooth at repeated singular values.
    """
    beta = checks.inverse_temperature(beta)
    layers = layer_widths(widths, depth)
    point = point_of(W, layers, check_finite)
    vector = checked_components("Z", W, point, Z, check_finite, tangent=True)
    pull = endtoend.hessian(W, egrad, ehess, Z, layers.depth, check_finite=check_finite)
    force = entropy_hessian(point, vector, layers)
    return _minus(pull, force if isinstance(W, SVD) else dense((point, force)), beta)


def _minus(pull: Array | Tangent, force: Any, beta: float) -> Array | Tangent:
    if isinstance(pull, Tangent):
        return _kernels.combine_tangents(1.0, pull, -1 / beta, force)
    dense_part: Array = pull - force / beta
    return dense_part
