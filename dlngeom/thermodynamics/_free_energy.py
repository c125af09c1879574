r"""Thermodynamics of a deep linear network: entropy, free energy, volumes.

References are to Menon, *The geometry of the deep linear network*.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from dlngeom import endtoend
from dlngeom._lib import checks
from dlngeom._lib.arrays import Array
from dlngeom.endtoend import _kernels
from dlngeom.endtoend._checks import checked_point
from dlngeom.points import SVD, Tangent
from dlngeom.points._covectors import Covector
from dlngeom.thermodynamics._entropy import entropy, entropy_egrad, entropy_ehess, entropy_gradient
from dlngeom.thermodynamics._volume_forms import (
    log_network_density,
    log_singular_value_density,
    log_svd_density,
)

__all__ = [
    "entropy",
    "entropy_egrad",
    "entropy_ehess",
    "entropy_gradient",
    "free_energy",
    "free_energy_gradient",
    "free_energy_hessian",
    "log_network_density",
    "log_singular_value_density",
    "log_svd_density",
]


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
    _positive(beta)
    value = energy(W) if callable(energy) else energy
    s = checked_point(W, 1, check_finite).s
    return value - entropy(s, widths, depth=depth, check_finite=check_finite) / beta


def free_energy_gradient(
    W: Array | SVD,
    widths: Sequence[int],
    egrad: Covector,
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
    W, widths, beta, depth, check_finite
        As for :func:`free_energy`.
    egrad : array (..., m, n), sparse, LinearOperator or LowRank
        Euclidean gradient ``E'(W)``.

    Returns
    -------
    array (..., m, n) or Tangent

    Raises
    ------
    ValueError
        As for :func:`free_energy` and :func:`dlngeom.endtoend.gradient`.

    Notes
    -----
    Equation (12.13), at every rank and for all widths.
    """
    _positive(beta)
    force = entropy_gradient(W, widths, depth=depth, check_finite=check_finite)
    number = _number(widths, depth)
    pull = endtoend.gradient(W, egrad, number, check_finite=check_finite)
    return _minus(pull, force, beta)


def free_energy_hessian(
    W: Array | SVD,
    Z: Array | Tangent,
    widths: Sequence[int],
    egrad: Covector,
    ehess: Covector,
    beta: float,
    *,
    depth: float | None = None,
    check_finite: bool = True,
) -> Array | Tangent:
    r"""Hessian of the free energy for the metric ``g^N``, applied to a tangent vector.

    .. math:: \mathrm{Hess}\,F_\beta[Z] = \mathrm{Hess}\,E[Z] - \tfrac1\beta\,\mathrm{Hess}\,S[Z]

    Parameters
    ----------
    W, widths, beta, depth, check_finite
        As for :func:`free_energy`.
    Z : array (..., m, n) or Tangent
        Tangent vector.
    egrad, ehess : array (..., m, n), sparse, LinearOperator or LowRank
        ``E'(W)`` and ``E''(W)[Z]``.

    Returns
    -------
    array (..., m, n) or Tangent

    Raises
    ------
    ValueError
        As for :func:`free_energy` and :func:`dlngeom.endtoend.hessian`.

    Notes
    -----
    Derivative of (12.13); smooth at repeated singular values.
    """
    _positive(beta)
    first = entropy_egrad(W, widths, depth=depth, check_finite=check_finite)
    second = entropy_ehess(W, Z, widths, depth=depth, check_finite=check_finite)
    number = _number(widths, depth)
    pull = endtoend.hessian(W, egrad, ehess, Z, number, check_finite=check_finite)
    force = endtoend.hessian(W, first, second, Z, number, check_finite=False)
    return _minus(pull, force, beta)


def _positive(beta: float) -> None:
    if not beta > 0:
        raise ValueError(f"beta={beta!r}: an inverse temperature must be positive")


def _number(widths: Sequence[int], depth: float | None) -> float:
    return math.inf if depth == math.inf else len(checks.widths(widths)) - 1


def _minus(pull: Array | Tangent, force: Any, beta: float) -> Array | Tangent:
    if isinstance(pull, Tangent):
        return _kernels.combine_tangents(1.0, pull, -1 / beta, force)
    dense_part: Array = pull - force / beta
    return dense_part
