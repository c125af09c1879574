"""Quantities to watch along a trajectory, of dense matrices, SVDs, Frames or layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlngeom import network
from dlngeom._array import Array, namespace
from dlngeom.points import factors
from dlngeom.tuples import SVD, Frames, dense

__all__ = ["effective_rank", "end_to_end", "invariants", "singular_values"]


def end_to_end(point: Any) -> Array:
    r"""Dense end-to-end matrix of a point of any kind.

    .. math:: W = W_N \cdots W_1

    Parameters
    ----------
    point : array (..., m, n), SVD, Frames or sequence of layers

    Returns
    -------
    array (..., m, n)
    """
    if isinstance(point, (SVD, Frames)):
        return dense(point)
    if isinstance(point, (tuple, list)):
        return network.product(point)
    return point


def singular_values(point: Any) -> Array:
    r"""Singular values of the end-to-end matrix, descending.

    .. math:: \sigma_k(W), \qquad k = 1, \dots, r

    Parameters
    ----------
    point : array (..., m, n), SVD, Frames or sequence of layers

    Returns
    -------
    array (..., r)
        With ``r = min(m, n)`` for dense matrices and layers.
    """
    if isinstance(point, SVD):
        return point.s
    if isinstance(point, Frames):
        return point.lam ** (len(point.q) - 1)
    W = end_to_end(point)
    linalg: Any = namespace(W).linalg
    return linalg.svd(W, full_matrices=False)[1]


def effective_rank(point: Any) -> Array:
    r"""Exponential of the entropy of the normalised singular values.

    .. math:: \exp\Bigl(-\sum_k p_k \log p_k\Bigr), \qquad p_k = \sigma_k / \sum_l \sigma_l

    Between 1 and the rank, equal to it where all singular values are equal; 0 for a zero matrix.

    Parameters
    ----------
    point : array (..., m, n), SVD, Frames or sequence of layers

    Returns
    -------
    array (...)

    Notes
    -----
    O. Roy and M. Vetterli, *The effective rank* (EUSIPCO 2007); its jumps along the flow are the
    subject of section 13.3 of Menon, *The geometry of the deep linear network*.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeom import observables
    >>> observables.effective_rank(np.diag([1.0, 1.0, 0.0])).round(6)
    np.float64(2.0)
    """
    s = singular_values(point)
    xp = namespace(s)
    total = xp.sum(s, axis=-1, keepdims=True)
    p = s / xp.where(total == 0, xp.ones_like(total), total)
    logs = xp.log(xp.where(p == 0, xp.ones_like(p), p))
    size = xp.exp(-xp.sum(p * logs, axis=-1))
    return xp.where(total[..., 0] == 0, xp.zeros_like(size), size)


def invariants(point: Frames | Sequence[Array]) -> tuple[Array, ...]:
    r"""Conserved quantities of the layers, :func:`dlngeom.network.invariants`.

    .. math:: G_p = W_p W_p^T - W_{p+1}^T W_{p+1}

    Parameters
    ----------
    point : Frames or sequence of N layers

    Returns
    -------
    tuple of N-1 arrays (..., d_p, d_p)
    """
    layers = factors(point) if isinstance(point, Frames) else tuple(point)
    return network.invariants(layers, check_finite=False)
