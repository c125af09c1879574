"""Observables of dense matrices, SVDs, frames or layers, for use along a trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeAlias

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, namespace
from dlngeom._lib.door import takes_arrays
from dlngeom.network._layers import product
from dlngeom.points import SVD, Frames, dense, factors
from dlngeom.points._checks import check_factors
from dlngeom.points._products import singular_value_decomposition

__all__ = ["effective_number", "effective_rank", "end_to_end", "invariants", "singular_values"]

# A list of any, since one of numpy's arrays would be no list of arrays at large.
AnyPoint: TypeAlias = Array | SVD | Frames | tuple[Array, ...] | list[Any]


@takes_arrays("point")
def end_to_end(point: AnyPoint, *, check_finite: bool = True) -> Array:
    r"""Dense end-to-end matrix of a network, or of a point of any other kind.

    .. math:: \phi(W_1, \dots, W_N) = W_N \cdots W_1

    Parameters
    ----------
    point : sequence of N arrays (..., d_p, d_{p-1}), Frames, SVD or array (..., m, n)
        Layers, input layer first, or another form of an end-to-end matrix.
    check_finite : bool
        Whether to reject layers whose values are not finite.

    Returns
    -------
    array (..., m, n)

    Raises
    ------
    ValueError
        If the product of the layers is not defined or one of their entries is not finite.

    See Also
    --------
    dlngeom.points.dense : Dense matrix of a point or a tangent vector.
    dlngeom.network.differential : The derivative.
    dlngeom.DeepLinearNetwork : The submersion of balanced networks by this map.

    Notes
    -----
    Equation (3.3) of Menon, *The geometry of the deep linear network*.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeom import network
    >>> W_1, W_2 = np.ones((3, 2)), np.ones((4, 3))  # input layer first
    >>> network.end_to_end([W_1, W_2]).shape
    (4, 2)
    """
    if not isinstance(point, (tuple, list)):
        checks.matrix("point", point)
        return point
    if isinstance(point, (SVD, Frames)):
        return dense(point)
    return product(check_factors(point, check_finite=check_finite))


@takes_arrays("point")
def singular_values(point: AnyPoint) -> Array:
    r"""Singular values of the end-to-end matrix, descending.

    .. math:: \sigma_k(W), \qquad k = 1, \dots, r

    Parameters
    ----------
    point : array (..., m, n), SVD, Frames or sequence of layers

    Returns
    -------
    array (..., r)
        With ``r = min(m, n)`` for dense matrices and layers.

    Raises
    ------
    ValueError
        If the product of the layers is not defined or one of their entries is not finite.

    See Also
    --------
    dlngeom.network.effective_rank : Their effective number.
    dlngeom.points.svd : Singular vectors too.

    Notes
    -----
    The diagonal of (5.17) of Menon, *The geometry of the deep linear network*.
    """
    if not isinstance(point, (tuple, list)):
        W = end_to_end(point)
        checks.finite("point", W)
        return namespace(W).linalg.svdvals(W)
    if isinstance(point, SVD):
        return point.s
    if isinstance(point, Frames):
        return point.lam ** (len(point.q) - 1)
    layers = check_factors(point)
    s = singular_value_decomposition(layers).s
    missing = min(layers[-1].shape[-2], layers[0].shape[-1]) - s.shape[-1]
    # Narrow layers leave the other singular values zero.
    return namespace(s).concat([s, *[0 * s[..., :1]] * missing], axis=-1) if missing else s


@takes_arrays("point")
def effective_rank(point: AnyPoint) -> Array:
    r"""Exponential of the entropy of the normalised singular values.

    .. math:: \exp\Bigl(-\sum_k p_k \log p_k\Bigr), \qquad p_k = \sigma_k / \sum_l \sigma_l

    Between 1 and the rank, which it equals if all nonzero singular values are equal; 0 for a zero
    matrix.

    Parameters
    ----------
    point : array (..., m, n), SVD, Frames or sequence of layers

    Returns
    -------
    array (...)

    Raises
    ------
    ValueError
        If the product of the layers is not defined or one of their entries is not finite.

    See Also
    --------
    dlngeom.network.singular_values : Singular values of the same points.

    Notes
    -----
    O. Roy and M. Vetterli, *The effective rank* (EUSIPCO 2007); its jumps along the flow are the
    subject of section 13.3 of Menon, *The geometry of the deep linear network*.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeom import network
    >>> network.effective_rank(np.diag([1.0, 1.0, 0.0])).round(6)
    np.float64(2.0)
    """
    return effective_number(singular_values(point))


def effective_number(s: Array) -> Array:
    """Effective rank of matrices with given singular values."""
    xp = namespace(s)
    total = xp.sum(s, axis=-1, keepdims=True)
    p = s / xp.where(total == 0, xp.ones_like(total), total)
    logs = xp.log(xp.where(p == 0, xp.ones_like(p), p))
    size = xp.exp(-xp.sum(p * logs, axis=-1))
    return xp.where(total[..., 0] == 0, xp.zeros_like(size), size)


@takes_arrays("point")
def invariants(point: Frames | Sequence[Array], *, check_finite: bool = True) -> tuple[Array, ...]:
    r"""Conserved quantities of the gradient flow; all zero for a balanced network.

    .. math:: G_p = W_p W_p^T - W_{p+1}^T W_{p+1}, \qquad p = 1, \dots, N-1

    Parameters
    ----------
    point : sequence of N arrays (..., d_p, d_{p-1}), or Frames
        Layers, input layer first.
    check_finite : bool
        Whether to reject layers whose values are not finite.

    Returns
    -------
    tuple of N-1 arrays (..., d_p, d_p)

    Raises
    ------
    ValueError
        If the product of the layers is not defined or an entry is not finite.

    See Also
    --------
    dlngeom.points.polar_coordinates : Coordinates of layers that contain the invariants.
    dlngeom.points.nearest_balanced : A balanced network near layers that are not balanced.

    Notes
    -----
    Equation (4.2) and Theorem 1 of Menon, *The geometry of the deep linear network*.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeom import network
    >>> network.invariants([np.eye(2), np.diag([2.0, 1.0])])
    (array([[-3.,  0.],
           [ 0.,  0.]]),)
    """
    layers = factors(point) if isinstance(point, Frames) else point
    layers = check_factors(layers, check_finite=check_finite)
    return tuple(lower @ lower.mT - upper.mT @ upper for lower, upper in pairwise(layers))
