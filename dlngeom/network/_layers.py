"""Networks as tuples of layers: product, differential and lifted gradient."""

from __future__ import annotations

from collections.abc import Sequence

from dlngeom._lib.arrays import Array
from dlngeom._lib.door import takes_arrays
from dlngeom.points import _covectors
from dlngeom.points._checks import check_factors
from dlngeom.points._covectors import Covector

__all__ = [
    "differential",
    "lift",
    "lift_actions",
    "lifted_gradient",
    "product",
    "suffix_products",
]


def product(factors: Sequence[Array]) -> Array:
    """Unchecked :func:`dlngeom.network.end_to_end` of layers."""
    result = factors[0]
    for factor in factors[1:]:
        result = factor @ result
    return result


@takes_arrays("factors", "vector")
def differential(factors: Sequence[Array], vector: Sequence[Array]) -> Array:
    r"""Differential of the end-to-end matrix.

    .. math:: \mathrm{d}\phi(V) = \sum_{p=1}^N W_N \cdots W_{p+1}\, V_p\, W_{p-1} \cdots W_1

    Parameters
    ----------
    factors : sequence of N arrays (..., d_p, d_{p-1})
        Layers, input layer first, balanced or not.
    vector : sequence of N arrays (..., d_p, d_{p-1})
        Velocity of the layers.

    Returns
    -------
    array (..., d_N, d_0)

    Raises
    ------
    ValueError
        If the shapes do not fit or an entry is not finite.

    See Also
    --------
    dlngeom.network.end_to_end : The map.
    dlngeom.network.lifted_gradient : The adjoint.

    Notes
    -----
    The product rule for (3.3) of Menon, *The geometry of the deep linear network*.
    """
    factors, vector = check_factors(factors), check_factors(vector)
    shapes = [tuple(tuple(x.shape) for x in layers) for layers in (factors, vector)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"factors and vector have shapes {shapes[0]} and {shapes[1]}")
    below, change = factors[0], vector[0]
    for W, V in zip(factors[1:], vector[1:], strict=True):
        below, change = W @ below, W @ change + V @ below
    return change


@takes_arrays("factors", "egrad")
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

    See Also
    --------
    dlngeom.endtoend.gradient : The gradient downstairs.
    dlngeom.network.differential : The adjoint.
    dlngeom.balanced.horizontal_projection : Projection on the space that contains it.

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
    covector = _covectors.as_covector(
        "egrad", egrad, m, n, like=factors[0], check_finite=check_finite
    )
    return lift(factors, covector)


def lift(factors: Sequence[Array], covector: Covector) -> tuple[Array, ...]:
    """Unchecked :func:`lifted_gradient`."""
    if len(factors) == 1:
        return (_covectors.to_dense(covector),)
    above = suffix_products(factors)
    first = _covectors.apply_transpose(covector, above[0]).mT
    return lift_actions(factors, above, first, _covectors.apply(covector, factors[0].mT))


def lift_actions(
    factors: Sequence[Array], above: Sequence[Array], first: Array, below: Array
) -> tuple[Array, ...]:
    """Lifted gradient by ``(W_N ... W_2)^T E'`` and ``E' W_1^T``, as thin as the first layer."""
    gradients = [first]
    for p, factor in enumerate(factors[1:-1], start=1):
        gradients.append(above[p].mT @ below)
        below = below @ factor.mT
    return (*gradients, below)


def suffix_products(factors: Sequence[Array]) -> list[Array]:
    """``W_N ... W_{p+1}`` for ``p = 1, ..., N-1``."""
    products = [factors[-1]]
    for factor in factors[-2:0:-1]:
        products.append(products[-1] @ factor)
    return products[::-1]
