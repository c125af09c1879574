"""Levi-Civita connection and curvature of ``g^N``, in closed form.

In the frames of a point the Christoffel operator is a product of matrices in which each term is
weighted by a second divided difference of ``x^N``, a sum of positive terms.  The curvature follows
from O'Neill's formula for the base of a submersion.
"""

from __future__ import annotations

import math
from typing import overload

from dlngeom import spectral
from dlngeom._lib.arrays import Array, constant, namespace
from dlngeom._lib.derivatives import smooth_in
from dlngeom._lib.door import takes_arrays
from dlngeom._lib.vectors import combine
from dlngeom.balanced._curvature import gauss, integrability
from dlngeom.balanced._geometry import tangent_part
from dlngeom.balanced._in_frames import resolve
from dlngeom.endtoend._checks import (
    EndToEndPoint,
    EndToEndVector,
    checked_components,
    checked_point,
)
from dlngeom.endtoend._lifts import push_down, smallest_lift, smallest_network
from dlngeom.points import SVD, Tangent, dense

__all__ = ["christoffel", "christoffel_table", "contract", "curvature"]


@smooth_in("W")
@takes_arrays("W", "X", "Y")
def christoffel(
    W: EndToEndPoint,
    X: EndToEndVector,
    Y: EndToEndVector,
    depth: float,
    *,
    check_finite: bool = True,
) -> Array:
    r"""Christoffel operator: the covariant derivative minus the ordinary one.

    .. math:: \nabla_X Y = D_X Y + \Gamma_W(X, Y), \qquad
              \Gamma_W(X, Y) = -\sum_{p \ne q} W_N \cdots X_q \cdots Y_p \cdots W_1

    with the horizontal lifts of ``X`` and ``Y``.  In the frames of ``W`` this is

    .. math:: \Gamma_{il} = -\sum_j \frac{\sigma_j\, h_{N-2}(\lambda_i^2, \lambda_j^2,
              \lambda_l^2)}{w_{ij} w_{jl}} (X_{ij} Y_{jl} + Y_{ij} X_{jl}), \qquad
              h_k(a, b, c) = \sum_{e+f+g=k} a^e b^f c^g

    Parameters
    ----------
    W : array (..., m, n) or SVD
        Point of full rank, or of the rank of the SVD.
    X, Y : array (..., m, n) or Tangent
        Tangent vectors.
    depth : int or inf
        Number of layers.
    check_finite : bool
        Whether to check the values of the input.

    Returns
    -------
    array (..., m, n)
        Symmetric in ``X`` and ``Y``.  Below full rank its normal component is minus the second
        fundamental form of the matrices of that rank.

    Raises
    ------
    ValueError
        As for :func:`dlngeom.endtoend.inverse_cometric`.

    See Also
    --------
    dlngeom.balanced.second_fundamental_form : The second fundamental form upstairs.
    dlngeom.endtoend.curvature : Curvature of this connection.
    dlngeom.geomstats.DeepLinearMetric : The metric for geomstats.

    Notes
    -----
    Derived from Theorem 13 of Menon, *The geometry of the deep linear network*: geodesics
    downstairs are projections of horizontal geodesics, whose acceleration is normal.
    """
    point = checked_point(W, depth, check_finite, invertible=True)
    first = checked_components("X", W, point, X, check_finite, tangent=True)
    second = first if Y is X else checked_components("Y", W, point, Y, check_finite, tangent=True)
    return contract(point, christoffel_table(point.s, depth), first, second)


def christoffel_table(s: Array, depth: float) -> Array:
    """Weights ``(..., r + 1, r, r + 1)`` of products of entries; index ``r`` is a null space.

    At ``depth=inf`` there are no null spaces, and their weights are zero.
    """
    xp = namespace(s)
    r = s.shape[-1]
    if depth == 1:
        across = constant(range(r + 1), s) == r
        both = xp.astype(across[:, None, None] & across, s.dtype)
        return both / s[..., None, :, None]
    nodes = spectral._layer_nodes(depth)
    left, right, weight = (constant(x, s) for x in nodes[:3])
    square = depth == math.inf
    # One matrix product sums over the layers of the upper vector; those below it are summed before.
    above = s[..., :, None] ** (2 * left)
    pairs = (s[..., None, :, None], s[..., None, None, :])
    share = right[:, None, None]
    below = spectral._partial_weights(*pairs, share, depth)
    weights = spectral.weights(s[..., :, None], s[..., None, :], depth)
    if not square:
        # The null space: powers of zero are constants, and have no derivative.
        last = xp.astype(left == 0, s.dtype) + 0 * above[..., :1, :]
        above = xp.concat([above, last], axis=-2)
        below = xp.concat([below, spectral._beside_zero(pairs[0], share, depth)], axis=-1)
        beside = spectral._beside_zero(s[..., :, None], constant(1.0, s), depth)
        weights = xp.concat([weights, beside], axis=-1)
    size = weights.shape[-1]
    flat = xp.reshape(weight[:, None, None] * below, (*below.shape[:-2], r * size))
    sums = xp.reshape(above @ flat, (*s.shape[:-1], size, r, size))
    table = sums * s[..., None, :, None] / weights[..., None, :, :]
    table = table / weights.mT[..., :, :, None]
    return _padded(table) if square else table


def _padded(table: Array) -> Array:
    """Add zero weights of a null space."""
    xp = namespace(table)
    table = xp.concat([table, table[..., :1, :, :] * 0], axis=-3)
    return xp.concat([table, table[..., :1] * 0], axis=-1)


def contract(point: SVD, table: Array, X: Tangent, Y: Tangent) -> Array:
    """Dense Christoffel operator from its weights, for two tangent vectors."""
    xp = namespace(point.s)
    u, v, r = point.u, point.vt.mT, point.s.shape[-1]

    def product(a: Array, b: Array, weights: Array) -> Array:
        return xp.sum(weights * (a[..., :, :, None] * b[..., None, :, :]), axis=-2)

    pairs = ((X, Y),) if Y is X else ((X, Y), (Y, X))
    core, up, vp, across = (0.0 * x for x in (X.M, X.Up, X.Vp, X.Up @ X.Vp.mT))
    inside, last = table[..., :r, :, :r], table[..., r, :, r]
    for a, b in pairs:
        core = core + product(a.M, b.M, inside)
        up = up + a.Up @ (b.M * table[..., r, :, :r])
        vp = vp + b.Vp @ (a.M * table[..., :r, :, r]).mT
        across = across + (a.Up * last[..., None, :]) @ b.Vp.mT
    total = (u @ core + up) @ v.mT + u @ vp.mT + across
    return -total * (2 / len(pairs))


@overload
def curvature(
    W: Array,
    X: EndToEndVector,
    Y: EndToEndVector,
    Z: EndToEndVector,
    depth: float,
    *,
    check_finite: bool = True,
) -> Array: ...
@overload
def curvature(
    W: SVD,
    X: EndToEndVector,
    Y: EndToEndVector,
    Z: EndToEndVector,
    depth: float,
    *,
    check_finite: bool = True,
) -> Tangent: ...
@smooth_in("W")
@takes_arrays("W", "X", "Y", "Z")
def curvature(
    W: EndToEndPoint,
    X: EndToEndVector,
    Y: EndToEndVector,
    Z: EndToEndVector,
    depth: float,
    *,
    check_finite: bool = True,
) -> EndToEndVector:
    r"""Riemannian curvature of the end-to-end matrices with the metric ``g^N``.

    .. math:: R(X, Y) Z = \nabla_X \nabla_Y Z - \nabla_Y \nabla_X Z - \nabla_{[X, Y]} Z
              = \mathrm{d}\phi\left(R^\uparrow(X, Y) Z + 2 A_Z A_X Y - A_X A_Y Z + A_Y A_X Z\right)

    Parameters
    ----------
    W : array (..., m, n) or SVD
        Point of full rank, or of the rank of the SVD.
    X, Y, Z : array (..., m, n) or Tangent
        Tangent vectors.
    depth : int
        Number of layers.
    check_finite : bool
        Whether to check the values of the input.

    Returns
    -------
    array (..., m, n) or Tangent
        ``<R(X, Y) Y, X>`` is the sectional curvature of orthonormal vectors.

    Raises
    ------
    ValueError
        As for :func:`dlngeom.endtoend.inverse_cometric`, and at ``depth=inf``, where there is no
        space upstairs to compute in.

    See Also
    --------
    dlngeom.balanced.curvature : The curvature upstairs.
    dlngeom.balanced.integrability_tensor : What O'Neill's formula adds to it.
    dlngeom.geomstats.DeepLinearMetric : The metric for geomstats.

    Notes
    -----
    B. O'Neill, *The fundamental equations of a submersion* (1966), in the smallest network over
    ``W``, whose curvature is marked by the arrow; ``A`` is the integrability tensor.  Theorem 13 of
    Menon, *The geometry of the deep linear network*.
    """
    point = checked_point(W, depth, check_finite, invertible=True)
    if depth == float("inf"):
        raise ValueError("depth=inf: curvature is computed upstairs, where it has nothing")
    frames = smallest_network(point, int(depth))
    a, b, c = (
        smallest_lift(
            point, checked_components(name, W, point, V, check_finite, tangent=True), int(depth)
        )
        for name, V in (("X", X), ("Y", Y), ("Z", Z))
    )
    total = gauss(frames, a, b, c)
    for weight, x, y, z in ((2.0, c, a, b), (-1.0, a, b, c), (1.0, b, a, c)):
        inner = integrability(frames, y, z)
        total = combine(1.0, total, weight, integrability(frames, x, inner))
    below = push_down(frames, tangent_part(frames, resolve(frames, total)))
    return below if isinstance(W, SVD) else dense((point, below))
