r"""Geometry downstairs: end-to-end matrices with the metric ``g^N``.

A point is a dense ``W``, of rank ``min(m, n)``, or an :class:`~dlngeom.SVD` of any rank; a
dense point gives dense tangent vectors, an SVD gives :class:`~dlngeom.Tangent`.  References
are to Menon, *The geometry of the deep linear network*.
"""

from __future__ import annotations

from typing import overload

from dlngeom import spectral
from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, namespace
from dlngeom._lib.derivatives import held, require_separate, smooth_in
from dlngeom._lib.door import takes_arrays
from dlngeom.endtoend import _kernels, _lifts
from dlngeom.endtoend._checks import (
    EndToEndPoint,
    EndToEndVector,
    checked_components,
    checked_point,
)
from dlngeom.points import SVD, Tangent, dense
from dlngeom.points._covectors import Covector, as_covector

__all__ = [
    "cometric",
    "gradient",
    "hessian",
    "inner",
    "inverse_cometric",
    "log_volume_density",
    "projection_retraction",
    "retraction",
    "transport",
]


@overload
def cometric(W: Array, Z: Covector, depth: float, *, check_finite: bool = True) -> Array: ...
@overload
def cometric(W: SVD, Z: Covector, depth: float, *, check_finite: bool = True) -> Tangent: ...
@smooth_in("W")
@takes_arrays("W", "Z")
def cometric(
    W: EndToEndPoint, Z: Covector, depth: float, *, check_finite: bool = True
) -> EndToEndVector:
    r"""Apply the operator that turns Euclidean into Riemannian gradients.

    .. math:: \mathcal{A}_{N,W}(Z) = \sum_{k=1}^N (WW^T)^{\frac{N-k}{N}} Z (W^TW)^{\frac{k-1}{N}}

    Parameters
    ----------
    W : array (..., m, n) or SVD
        Point; a dense one may be singular.
    Z : array (..., m, n), sparse, LinearOperator, LowRank or Tangent
        Covector.
    depth : int or inf
        Number of layers ``N``; ``inf`` means the limit of the operator divided by ``N``, for
        square invertible ``W``.
    check_finite : bool
        Whether to check the values of the input.

    Returns
    -------
    array (..., m, n) or Tangent
        Tangent vector.  At ``depth=1`` below full rank the result is projected on the tangent
        space; at other depths the operator maps into it.

    Raises
    ------
    ValueError
        If shapes, rank or depth do not fit or an entry is not finite.

    See Also
    --------
    dlngeom.endtoend.inverse_cometric : The inverse.
    dlngeom.balanced.horizontal_projection : Projection on the horizontal space upstairs.
    dlngeom.submersion.cometric : The cometric of any submersion.

    Notes
    -----
    Equation (4.14) of Menon, *The geometry of the deep linear network*; null directions are
    included at every rank.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeom import endtoend
    >>> endtoend.cometric(np.diag([4.0, 1.0]), np.ones((2, 2)), depth=2)
    array([[8., 5.],
           [5., 2.]])
    """
    point = checked_point(W, depth, check_finite)
    vector = checked_components("Z", W, point, Z, check_finite, tangent=False)
    return _like(W, point, _kernels.scaled(vector, _kernels.metric(point.s, depth), 1.0))


@overload
def gradient(W: Array, egrad: Covector, depth: float, *, check_finite: bool = True) -> Array: ...
@overload
def gradient(W: SVD, egrad: Covector, depth: float, *, check_finite: bool = True) -> Tangent: ...
@takes_arrays("W", "egrad")
def gradient(
    W: EndToEndPoint, egrad: Covector, depth: float, *, check_finite: bool = True
) -> EndToEndVector:
    r"""Riemannian gradient of ``E`` for ``g^N``: :func:`cometric` applied to ``E'(W)``.

    .. math:: \mathrm{grad}_{g^N} E(W) = \mathcal{A}_{N,W}(E'(W))

    Parameters
    ----------
    W : array (..., m, n) or SVD
        Point.
    egrad : array (..., m, n), sparse, LinearOperator or LowRank
        Euclidean gradient ``E'(W)``.
    depth : int or inf
        Number of layers.
    check_finite : bool
        Whether to check the values of the input.

    Returns
    -------
    array (..., m, n) or Tangent

    Raises
    ------
    ValueError
        If shapes, rank or depth do not fit or an entry is not finite.

    See Also
    --------
    dlngeom.submersion.gradient : The gradient upstairs.
    dlngeom.network.lifted_gradient : The gradient in the layers.
    dlngeom.pymanopt.EndToEnd : The manifold for pymanopt.

    Notes
    -----
    Theorem 3 of Menon, *The geometry of the deep linear network*, with the tangent projection that
    is needed at ``N = 1`` below full rank.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeom import endtoend
    >>> W = np.diag([4.0, 1.0])
    >>> endtoend.gradient(W, W - np.eye(2), depth=2)
    array([[24.,  0.],
           [ 0.,  0.]])
    """
    return cometric(W, egrad, depth, check_finite=check_finite)


@overload
def inverse_cometric(
    W: Array, Z: EndToEndVector, depth: float, *, check_finite: bool = True
) -> Array: ...
@overload
def inverse_cometric(
    W: SVD, Z: EndToEndVector, depth: float, *, check_finite: bool = True
) -> Tangent: ...
@smooth_in("W")
@takes_arrays("W", "Z")
def inverse_cometric(
    W: EndToEndPoint, Z: EndToEndVector, depth: float, *, check_finite: bool = True
) -> EndToEndVector:
    r"""Apply the inverse of :func:`cometric`, which turns a tangent vector into a covector.

    .. math:: Y = \mathcal{A}_{N,W}^{-1} Z

    Parameters
    ----------
    W : array (..., m, n) or SVD
        Point of full rank, or of the rank of the SVD.
    Z : array (..., m, n) or Tangent
        Tangent vector.
    depth : int or inf
        Number of layers.
    check_finite : bool
        Whether to check the values of the input.

    Returns
    -------
    array (..., m, n) or Tangent
        The representative of the covector that is tangent itself.

    Raises
    ------
    ValueError
        If ``sigma_min <= max(m, n) eps sigma_1`` for a dense ``W``, if ``Z`` is not tangent, or
        if shapes, rank or depth do not fit.

    See Also
    --------
    dlngeom.endtoend.cometric : The inverse.
    dlngeom.endtoend.inner : The metric.
    dlngeom.submersion.inverse_cometric : The covector in any submersion.

    Notes
    -----
    Lemma 1 and equation (4.16) of Menon, *The geometry of the deep linear network*.
    """
    point = checked_point(W, depth, check_finite, invertible=True)
    vector = checked_components("Z", W, point, Z, check_finite, tangent=True)
    return _like(W, point, _kernels.scaled(vector, _kernels.metric(point.s, depth), -1.0))


@smooth_in("W")
@takes_arrays("W", "Z1", "Z2")
def inner(
    W: EndToEndPoint,
    Z1: EndToEndVector,
    Z2: EndToEndVector,
    depth: float,
    *,
    check_finite: bool = True,
) -> Array:
    r"""Inner product of tangent vectors in the metric ``g^N``.

    .. math:: g^N(W)(Z_1, Z_2) = \mathrm{tr}(Z_1^T \mathcal{A}_{N,W}^{-1} Z_2)

    Parameters
    ----------
    W : array (..., m, n) or SVD
        Point of full rank, or of the rank of the SVD.
    Z1, Z2 : array (..., m, n) or Tangent
        Tangent vectors.
    depth : int or inf
        Number of layers.
    check_finite : bool
        Whether to check the values of the input.

    Returns
    -------
    array (...)

    Raises
    ------
    ValueError
        As for :func:`inverse_cometric`.

    See Also
    --------
    dlngeom.endtoend.inverse_cometric : The metric as an operator.
    dlngeom.geomstats.DeepLinearMetric : The metric for geomstats.

    Notes
    -----
    Equation (4.17) of Menon, *The geometry of the deep linear network*; (14.10) for ``depth=inf``.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeom import endtoend
    >>> W, Z = np.diag([4.0, 1.0]), np.eye(2)
    >>> float(endtoend.inner(W, Z, Z, depth=2))
    0.625
    """
    point = checked_point(W, depth, check_finite, invertible=True)
    a = checked_components("Z1", W, point, Z1, check_finite, tangent=True)
    b = checked_components("Z2", W, point, Z2, check_finite, tangent=True)
    return _kernels.inner_product(a, b, _kernels.metric(point.s, depth))


@overload
def hessian(
    W: Array,
    egrad: Covector,
    ehess: Covector,
    Z: EndToEndVector,
    depth: float,
    *,
    check_finite: bool = True,
) -> Array: ...
@overload
def hessian(
    W: SVD,
    egrad: Covector,
    ehess: Covector,
    Z: EndToEndVector,
    depth: float,
    *,
    check_finite: bool = True,
) -> Tangent: ...
@smooth_in("W")
@takes_arrays("W", "egrad", "ehess", "Z")
def hessian(
    W: EndToEndPoint,
    egrad: Covector,
    ehess: Covector,
    Z: EndToEndVector,
    depth: float,
    *,
    check_finite: bool = True,
) -> EndToEndVector:
    r"""Riemannian Hessian of ``E`` for ``g^N``, applied to a tangent vector.

    .. math:: \mathrm{Hess}\,E(W)[Z] = \mathrm{d}\phi\,(P\, D(\nabla L)[Z^h])

    Parameters
    ----------
    W : array (..., m, n) or SVD
        Point of full rank, or of the rank of the SVD.
    egrad, ehess : array (..., m, n), sparse, LinearOperator or LowRank
        ``E'(W)`` and ``E''(W)[Z]``.
    Z : array (..., m, n) or Tangent
        Tangent vector.
    depth : int or inf
        Number of layers.
    check_finite : bool
        Whether to check the values of the input.

    Returns
    -------
    array (..., m, n) or Tangent

    Raises
    ------
    ValueError
        As for :func:`inverse_cometric`.

    See Also
    --------
    dlngeom.endtoend.gradient : The gradient.
    dlngeom.thermodynamics.free_energy_hessian : The Hessian with an entropy.
    dlngeom.pymanopt.EndToEnd : The manifold for pymanopt.

    Notes
    -----
    By Theorem 13 of Menon, *The geometry of the deep linear network*, ``phi`` is a Riemannian
    submersion.  So the Hessian is that of ``L = E o phi`` on the smallest network over ``W``, along
    the horizontal lift ``Z^h`` of ``Z``; ``P`` is the tangent projection.
    """
    point = checked_point(W, depth, check_finite, invertible=True)
    vector = checked_components("Z", W, point, Z, check_finite, tangent=True)
    m, n = point.u.shape[-2], point.vt.shape[-1]
    G, H = (
        as_covector(name, value, m, n, like=point.s, check_finite=check_finite)
        for name, value in (("egrad", egrad), ("ehess", ehess))
    )
    return _like(W, point, _kernels.hessian_of_covectors(point, vector, G, H, depth))


@overload
def retraction(
    W: Array, Z: EndToEndVector, depth: float, *, order: int = 2, check_finite: bool = True
) -> Array: ...
@overload
def retraction(
    W: SVD, Z: EndToEndVector, depth: float, *, order: int = 2, check_finite: bool = True
) -> SVD: ...
@smooth_in("W")
@takes_arrays("W", "Z")
def retraction(
    W: EndToEndPoint, Z: EndToEndVector, depth: float, *, order: int = 2, check_finite: bool = True
) -> EndToEndPoint:
    r"""Retract a tangent vector along the end-to-end matrices of a curve of balanced networks.

    .. math:: R(Z) = U'\, (\Lambda + h)^N\, V'^T, \qquad
              U' = \mathrm{polar}(U + U\Omega_N + U_p \Sigma^{-1})

    Parameters
    ----------
    W : array (..., m, n) or SVD
        Point of full rank, or of the rank of the SVD.
    Z : array (..., m, n) or Tangent
        Tangent vector.
    depth : int or inf
        Number of layers.
    order : 1 or 2
        Order of agreement with the exponential map.
    check_finite : bool
        Whether to check the values of the input.

    Returns
    -------
    array (..., m, n) or SVD
        Point of the same rank, unless ``Lambda + h`` is singular.

    Raises
    ------
    ValueError
        As for :func:`inverse_cometric`, and if ``order`` is neither 1 nor 2.

    See Also
    --------
    dlngeom.balanced.retraction : The retraction upstairs.
    dlngeom.endtoend.projection_retraction : A retraction that is the same at every depth.
    dlngeom.pymanopt.EndToEnd : The manifold for pymanopt.

    Notes
    -----
    ``Omega`` and ``h`` are those of :func:`dlngeom.balanced.retraction` along the horizontal lift
    of ``Z``, by Theorem 13 of Menon, *The geometry of the deep linear network*; ``V'`` is analogous
    to ``U'``. For ``depth=inf`` the core is ``exp(log Sigma + h)``.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeom import endtoend
    >>> W, Z = np.diag([4.0, 1.0]), np.diag([0.4, 0.0])
    >>> endtoend.retraction(W, Z, depth=2)
    array([[4.41, 0.  ],
           [0.  , 1.  ]])
    """
    order = checks.integer("order", order, 1, 2)
    point = checked_point(W, depth, check_finite, invertible=True)
    vector = checked_components("Z", W, point, Z, check_finite, tangent=True)
    retract = (_lifts.first_order_retraction, _lifts.second_order_retraction)[order - 1]
    result = retract(point, vector, depth)
    if not isinstance(W, SVD):
        return dense(result)
    require_separate(result.s[..., None, :], *result)
    return result


@takes_arrays("W", "Z")
def projection_retraction(W: SVD, Z: Tangent, *, check_finite: bool = True) -> SVD:
    r"""Retract to the best approximation of ``W + Z`` of the rank of ``W``.

    .. math:: R(Z) = \arg\min_{\mathrm{rank}\,X = r} \| X - (W + Z) \|_F

    Parameters
    ----------
    W : SVD
        Point.
    Z : Tangent
        Tangent vector.
    check_finite : bool
        Whether to check the values of the input.

    Returns
    -------
    SVD
        A retraction of second order for ``depth=1``, of first order for other depths.  It carries
        no derivatives of torch and jax.

    Raises
    ------
    ValueError
        If shapes do not fit or an entry is not finite.

    See Also
    --------
    dlngeom.endtoend.retraction : The retraction of the metric ``g^N``.
    dlngeom.pymanopt.EndToEnd : The manifold for pymanopt.

    Notes
    -----
    P.-A. Absil and J. Malick, *Projection-like retractions on matrix manifolds* (SIAM J. Optim. 22,
    2012).
    """
    W, Z = held(W), held(Z)
    point = checked_point(W, 1, check_finite)
    vector = checked_components("Z", W, point, Z, check_finite, tangent=True)
    return _kernels.truncated_svd(point, vector)


@overload
def transport(
    W: EndToEndPoint, other: Array, Z: EndToEndVector, depth: float, *, check_finite: bool = True
) -> Array: ...
@overload
def transport(
    W: EndToEndPoint, other: SVD, Z: EndToEndVector, depth: float, *, check_finite: bool = True
) -> Tangent: ...
@smooth_in("W", "other")
@takes_arrays("W", "other", "Z")
def transport(
    W: EndToEndPoint,
    other: EndToEndPoint,
    Z: EndToEndVector,
    depth: float,
    *,
    check_finite: bool = True,
) -> EndToEndVector:
    r"""Transport a tangent vector from ``W`` to ``other`` without increasing its length.

    .. math:: T(Z) = \mathcal{A}_{W'}^{1/2}\, P_{W'}\, \mathcal{A}_W^{-1/2} Z

    Parameters
    ----------
    W, other : array (..., m, n) or SVD
        Two dense points, or two SVDs, of the same shape and rank.
    Z : array (..., m, n) or Tangent
        Tangent vector at ``W``.
    depth : int or inf
        Number of layers; ``depth=1`` is the orthogonal projection.
    check_finite : bool
        Whether to check the values of the input.

    Returns
    -------
    array (..., m, n) or Tangent
        Tangent vector at ``other``.

    Raises
    ------
    ValueError
        As for :func:`inverse_cometric`.

    See Also
    --------
    dlngeom.geodesics.parallel_transport : Transport along a geodesic, an isometry.
    dlngeom.pymanopt.EndToEnd : The manifold for pymanopt.

    Notes
    -----
    ``A_W`` is the operator (4.14) of Menon, *The geometry of the deep linear network*, ``W'`` is
    ``other`` and ``P_W'`` the orthogonal projection on its tangent space.
    """
    point = checked_point(W, depth, check_finite, invertible=True)
    target = checked_point(other, depth, check_finite, invertible=True)
    vector = checked_components("Z", W, point, Z, check_finite, tangent=True)
    if any(x.shape[-2:] != y.shape[-2:] for x, y in zip(point, target, strict=True) if x.ndim > 1):
        raise ValueError(
            f"W and other differ in shape or rank: {[tuple(x.shape) for x in point]} and "
            f"{[tuple(x.shape) for x in target]}"
        )
    here, there = (_kernels.metric(x.s, depth) for x in (point, target))
    return _like(other, target, _kernels.transport(point, target, vector, here, there))


@smooth_in("W")
@takes_arrays("W")
def log_volume_density(W: EndToEndPoint, depth: float, *, check_finite: bool = True) -> Array:
    r"""Logarithm of the volume density against Lebesgue measure, at full rank.

    .. math:: \log\sqrt{\det g^N} = -\tfrac12 \sum_{k=1}^m \sum_{l=1}^n \log w_N(\sigma_k, \sigma_l)

    Parameters
    ----------
    W : array (..., m, n) or SVD
        Point of rank ``min(m, n)``.
    depth : int or inf
        Number of layers.
    check_finite : bool
        Whether to check the values of the input.

    Returns
    -------
    array (...)

    Raises
    ------
    ValueError
        If the rank is below ``min(m, n)``, or as for :func:`inverse_cometric`.

    See Also
    --------
    dlngeom.thermodynamics.log_svd_density : The volume in the coordinates of an SVD.
    dlngeom.thermodynamics.entropy : Logarithm of the volume of the orbit upstairs.
    dlngeom.spectral.weights : The weights.

    Notes
    -----
    Theorem 11, (6.4), of Menon, *The geometry of the deep linear network*, with the exponent
    corrected.
    """
    point = checked_point(W, depth, check_finite, invertible=True)
    xp = namespace(point.s)
    m, r, n = point.u.shape[-2], point.s.shape[-1], point.vt.shape[-1]
    if r < min(m, n):
        raise ValueError(f"W has rank {r}: the density against Lebesgue measure needs {min(m, n)}")
    row, column = _kernels.pair(point.s)
    core = xp.sum(spectral._log_weights(row, column, depth), axis=(-2, -1))
    border = 0.0 if m == n else (m + n - 2 * r) * (2 - 2 / depth)
    return -(core + border * xp.sum(xp.log(point.s), axis=-1)) / 2


def _like(W: EndToEndPoint, point: SVD, vector: Tangent) -> EndToEndVector:
    return vector if isinstance(W, SVD) else dense((point, vector))
