"""Networks as tuples of layers: product, differential, lifted gradient and invariants."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from dlngeom import covectors
from dlngeom._array import Array
from dlngeom._check_points import check_factors
from dlngeom.covectors import Covector

__all__ = ["differential", "end_to_end", "invariants", "lifted_gradient"]


def end_to_end(factors: Sequence[Array], *, check_finite: bool = True) -> Array:
    r"""End-to-end matrix of a network.

    .. math:: \phi(W_1, \dots, W_N) = W_N \cdots W_1

    Parameters
    ----------
    factors : sequence of N arrays (..., d_p, d_{p-1})
        Layers, input layer first.
    check_finite : bool
        Whether to reject values that are not finite.

    Returns
    -------
    array (..., d_N, d_0)

    Raises
    ------
    ValueError
        If the product is not defined or an entry is not finite.

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
    return product(check_factors(factors, check_finite=check_finite))


def product(factors: Sequence[Array]) -> Array:
    """Unchecked :func:`end_to_end`."""
    result = factors[0]
    for factor in factors[1:]:
        result = factor @ result
    return result


def differential(factors: Sequence[Array], vector: Sequence[Array]) -> Array:
    r"""Differential of the end-to-end matrix.

    .. math:: \mathrm{d}\phi(V) = \sum_{p=1}^N W_N \cdots W_{p+1}\, V_p\, W_{p-1} \cdots W_1

    Parameters
    ----------
    factors : sequence of N arrays (..., d_p, d_{p-1})
        Layers, input layer first, balanced or not.
    vector : sequence of N arrays (..., d_p, d_{p-1})
        Change of the layers.

    Returns
    -------
    array (..., d_N, d_0)

    Raises
    ------
    ValueError
        If the shapes do not fit or an entry is not finite.

    Notes
    -----
    Section 7 of Menon, *The geometry of the deep linear network*.
    """
    factors, vector = check_factors(factors), check_factors(vector)
    shapes = [tuple(tuple(x.shape) for x in layers) for layers in (factors, vector)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"factors and vector have shapes {shapes[0]} and {shapes[1]}")
    below, change = factors[0], vector[0]
    for W, V in zip(factors[1:], vector[1:], strict=True):
        below, change = W @ below, W @ change + V @ below
    return change


def lifted_gradient(
    factors: Sequence[Array], egrad: Covector, *, check_finite: bool = True
) -> tuple[Array, ...]:
    r"""Gradient of ``L(factors) = E(W_N ... W_1)`` in the layers.

    .. math:: \nabla_{W_p} L = (W_N \cdots W_{p+1})^T\, E'(W)\, (W_{p-1} \cdots W_1)^T

    Parameters
    ----------
    factors : sequence of N arrays (..., d_p, d_{p-1})
        Layers, input layer first, balanced or not.
    egrad : array (..., m, n), sparse, LinearOperator or LowRank
        ``E'(W)`` at the end-to-end matrix.
    check_finite : bool
        Whether to reject values that are not finite.

    Returns
    -------
    tuple of N arrays (..., d_p, d_{p-1})

    Raises
    ------
    ValueError
        If shapes do not fit or an entry is not finite.

    Notes
    -----
    Equation (3.6) of Menon, *The geometry of the deep linear network*.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeom import network
    >>> layers = [np.ones((3, 2)), np.ones((4, 3))]
    >>> [G.shape for G in network.lifted_gradient(layers, np.ones((4, 2)))]
    [(3, 2), (4, 3)]
    """
    factors = check_factors(factors, check_finite=check_finite)
    m, n = factors[-1].shape[-2], factors[0].shape[-1]
    covector = covectors.as_covector(
        "egrad", egrad, m, n, like=factors[0], check_finite=check_finite
    )
    return lift(factors, covector)


def lift(factors: Sequence[Array], covector: Covector) -> tuple[Array, ...]:
    """Unchecked :func:`lifted_gradient`."""
    if len(factors) == 1:
        return (covectors.to_dense(covector),)
    above = _suffix_products(factors)
    first = covectors.apply_transpose(covector, above[0]).mT
    # From the second layer on only E' W_1^T matters, which is as thin as the first hidden layer.
    below = covectors.apply(covector, factors[0].mT)
    gradients = [first]
    for p, factor in enumerate(factors[1:-1], start=1):
        gradients.append(above[p].mT @ below)
        below = below @ factor.mT
    return (*gradients, below)


def _suffix_products(factors: Sequence[Array]) -> list[Array]:
    """``W_N ... W_{p+1}`` for ``p = 1, ..., N-1``."""
    products = [factors[-1]]
    for factor in factors[-2:0:-1]:
        products.append(products[-1] @ factor)
    return products[::-1]


def invariants(factors: Sequence[Array], *, check_finite: bool = True) -> tuple[Array, ...]:
    r"""Conserved quantities of the gradient flow; all zero for a balanced network.

    .. math:: G_p = W_p W_p^T - W_{p+1}^T W_{p+1}, \qquad p = 1, \dots, N-1

    Parameters
    ----------
    factors : sequence of N arrays (..., d_p, d_{p-1})
        Layers, input layer first.
    check_finite : bool
        Whether to reject values that are not finite.

    Returns
    -------
    tuple of N-1 arrays (..., d_p, d_p)

    Raises
    ------
    ValueError
        If the product of the layers is not defined or an entry is not finite.

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
    factors = check_factors(factors, check_finite=check_finite)
    return tuple(lower @ lower.mT - upper.mT @ upper for lower, upper in pairwise(factors))
