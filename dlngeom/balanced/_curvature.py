"""Weingarten map, second fundamental form, integrability tensor, curvature, upstairs.

The curvature follows from the equation of Gauss for submanifolds.  Points are
:class:`~dlngeom.Frames`, vectors are tuples of ``N`` arrays, input layer first.
"""

from __future__ import annotations

from collections.abc import Sequence

from dlngeom._lib.arrays import Array, antisymmetric, constant, namespace, symmetric
from dlngeom._lib.door import takes_arrays
from dlngeom._lib.vectors import combine
from dlngeom.balanced._balance import balance, balance_defect, correct, multipliers
from dlngeom.balanced._curves import acceleration
from dlngeom.balanced._geometry import (
    balance_at,
    checked,
    checked_vector,
    horizontal_part,
    tangent_part,
    vertical_part,
)
from dlngeom.balanced._in_frames import AmbientInFrames, TangentInFrames, assemble, resolve
from dlngeom.points import Frames
from dlngeom.points._tuples import Layers

__all__ = [
    "curvature",
    "gauss",
    "integrability",
    "integrability_tensor",
    "normal_acceleration",
    "second_form",
    "second_fundamental_form",
    "weingarten",
]


@takes_arrays("frames", "X", "Y")
def second_fundamental_form(
    frames: Frames, X: Sequence[Array], Y: Sequence[Array], *, check_finite: bool = True
) -> Layers:
    r"""Second fundamental form of the balanced manifold in the ambient space.

    .. math:: \mathrm{II}(X, Y) = (I - P)\, D_X Y

    Parameters
    ----------
    frames : Frames
    X, Y : sequence of N arrays (..., d_p, d_{p-1})
        Tangent vectors; components off the tangent space are ignored.
    check_finite : bool
        Whether to check the values of the input.

    Returns
    -------
    tuple of N arrays (..., d_p, d_{p-1})
        A normal vector.

    Raises
    ------
    ValueError
        If shapes do not fit, frames are not orthonormal or an entry is not finite.

    See Also
    --------
    dlngeom.balanced.weingarten : The adjoint map.
    dlngeom.endtoend.christoffel : The connection downstairs.

    Notes
    -----
    The normal part of the acceleration of curves in the chart (5.16), (5.20) of Menon, *The
    geometry of the deep linear network*.
    """
    frames, X = checked(frames, "X", X, check_finite)
    return second_form(frames, X, checked_vector(frames, "Y", Y, check_finite))


def second_form(frames: Frames, X: Sequence[Array], Y: Sequence[Array]) -> Layers:
    """Unchecked :func:`second_fundamental_form`, by polarisation of ``II(V, V)``."""
    both = normal_acceleration(frames, combine(1.0, X, 1.0, Y))
    apart = normal_acceleration(frames, combine(1.0, X, -1.0, Y))
    bent: Layers = combine(0.25, both, -0.25, apart)
    return bent


def normal_acceleration(frames: Frames, V: Sequence[Array]) -> Layers:
    """Unchecked ``II(V, V)``: the normal part of the acceleration of any curve along ``V``."""
    along = tangent_part(frames, resolve(frames, V))
    bent = acceleration(frames, along)
    flat = tangent_part(frames, bent)
    column = frames.lam[..., None, :]
    layers = []
    for p in range(len(V)):
        low, high = frames.q[p], frames.q[p + 1]
        core = bent.core[..., p, :, :] - flat.core[..., p, :, :]
        left, right = bent.left[p] - flat.perp[p + 1], bent.right[p] - flat.perp[p]
        across = 2 * (along.perp[p + 1] / column) @ along.perp[p].mT
        layers.append(high @ (core @ low.mT + right.mT) + left @ low.mT + across)
    return tuple(layers)


@takes_arrays("frames", "X", "Y")
def integrability_tensor(
    frames: Frames, X: Sequence[Array], Y: Sequence[Array], *, check_finite: bool = True
) -> Layers:
    r"""O'Neill's integrability tensor of the submersion to end-to-end matrices.

    .. math:: A_X Y = P_v \nabla_{P_h X} P_h Y + P_h \nabla_{P_h X} P_v Y

    Parameters
    ----------
    frames : Frames
    X, Y : sequence of N arrays (..., d_p, d_{p-1})
        Tangent vectors; components off the tangent space are ignored.
    check_finite : bool
        Whether to check the values of the input.

    Returns
    -------
    tuple of N arrays (..., d_p, d_{p-1})
        Vertical if ``Y`` is horizontal, horizontal if ``Y`` is vertical.

    Raises
    ------
    ValueError
        If shapes do not fit, frames are not orthonormal or an entry is not finite.

    See Also
    --------
    dlngeom.endtoend.curvature : What the tensor adds to the curvature downstairs.
    dlngeom.geomstats.BalancedBundle : The fiber bundle for geomstats.

    Notes
    -----
    B. O'Neill, *The fundamental equations of a submersion* (1966).  Infinitesimal gauge rotations
    ``omega W`` are linear in the network ``W`` and isometric.  Hence for horizontal vectors
    ``<A_X Y, omega W> = -<Y, omega X>``, which a solve along depth turns into ``A_X Y``, and
    ``A_X (omega W)`` is the horizontal part of ``omega X``.
    """
    frames, X = checked(frames, "X", X, check_finite)
    return integrability(frames, X, checked_vector(frames, "Y", Y, check_finite))


def integrability(frames: Frames, X: Sequence[Array], Y: Sequence[Array]) -> Layers:
    """Unchecked :func:`integrability_tensor`."""
    first, second = resolve(frames, X), resolve(frames, Y)
    at = horizontal_part(frames, first)
    up = _from_horizontal(frames, at, horizontal_part(frames, second))
    across = _from_vertical(frames, at, vertical_part(frames, second))
    total: Layers = combine(1.0, assemble(frames, up), 1.0, assemble(frames, across))
    return total


def _from_horizontal(frames: Frames, X: TangentInFrames, Y: TangentInFrames) -> TangentInFrames:
    """Vertical ``A_X Y`` of two horizontal vectors."""
    at = balance(frames.lam, len(frames.q) - 1)
    above = X.core.mT[..., 1:, :, :] @ Y.core[..., 1:, :, :]
    below = Y.core[..., :-1, :, :] @ X.core.mT[..., :-1, :, :]
    turning = above - below
    if turning.shape[-3]:
        # Along a horizontal vector only the two end frames move out of their span.
        last = constant([p == turning.shape[-3] - 1 for p in range(turning.shape[-3])], frames.lam)
        first = constant([p == 0 for p in range(turning.shape[-3])], frames.lam)
        high = (X.perp[-1].mT @ Y.perp[-1])[..., None, :, :]
        low = (Y.perp[0].mT @ X.perp[0])[..., None, :, :]
        turning = turning + last[:, None, None] * high - first[:, None, None] * low
    row, column = frames.lam[..., None, :, None], frames.lam[..., None, None, :]
    defect = -antisymmetric(turning) / namespace(row).maximum(row, column)
    return TangentInFrames(correct(at, multipliers(at, defect)), tuple(x * 0 for x in X.perp))


def _from_vertical(frames: Frames, X: TangentInFrames, V: TangentInFrames) -> TangentInFrames:
    """Horizontal ``A_X V`` of a horizontal and a vertical vector."""
    xp = namespace(frames.lam)
    at = balance(frames.lam, len(frames.q) - 1)
    row, column = frames.lam[..., None, :, None], frames.lam[..., None, None, :]
    omega = -multipliers(at, antisymmetric(balance_defect(at, V.core))) / xp.maximum(row, column)
    none = X.core[..., :1, :, :] * 0
    omega = xp.concat([none, omega, none], axis=-3)
    core = omega[..., 1:, :, :] @ X.core - X.core @ omega[..., :-1, :, :]
    rest = [x * 0 for x in X.perp]
    left = (*rest[1:-1], -X.perp[-1] @ omega[..., -2, :, :])
    right = (-X.perp[0] @ omega[..., 1, :, :], *rest[1:-1])
    return horizontal_part(frames, AmbientInFrames(core, left, right))


@takes_arrays("frames", "X", "Y", "Z")
def curvature(
    frames: Frames,
    X: Sequence[Array],
    Y: Sequence[Array],
    Z: Sequence[Array],
    *,
    check_finite: bool = True,
) -> Layers:
    r"""Curvature of the balanced manifold.

    .. math:: R(X, Y) Z = \mathcal{W}(X, \mathrm{II}(Y, Z)) - \mathcal{W}(Y, \mathrm{II}(X, Z))

    Parameters
    ----------
    frames : Frames
    X, Y, Z : sequence of N arrays (..., d_p, d_{p-1})
        Tangent vectors; components off the tangent space are ignored.
    check_finite : bool
        Whether to check the values of the input.

    Returns
    -------
    tuple of N arrays (..., d_p, d_{p-1})
        ``<R(X, Y) Y, X>`` is the sectional curvature of orthonormal vectors.

    Raises
    ------
    ValueError
        If shapes do not fit, frames are not orthonormal or an entry is not finite.

    See Also
    --------
    dlngeom.endtoend.curvature : The curvature downstairs.
    dlngeom.balanced.weingarten : The Weingarten map.
    dlngeom.geomstats.BalancedMatrices : The manifold for geomstats.

    Notes
    -----
    The equation of Gauss in a flat space; ``W`` is the Weingarten map.
    """
    frames, X = checked(frames, "X", X, check_finite)
    Y, Z = (checked_vector(frames, name, V, check_finite) for name, V in (("Y", Y), ("Z", Z)))
    return gauss(frames, X, Y, Z)


def gauss(frames: Frames, X: Sequence[Array], Y: Sequence[Array], Z: Sequence[Array]) -> Layers:
    """Unchecked :func:`curvature`, by the equation of Gauss."""
    first = weingarten(frames, X, second_form(frames, Y, Z), check_finite=False)
    second = weingarten(frames, Y, second_form(frames, X, Z), check_finite=False)
    curved: Layers = combine(1.0, first, -1.0, second)
    return curved


@takes_arrays("frames", "V", "normal")
def weingarten(
    frames: Frames, V: Sequence[Array], normal: Sequence[Array], *, check_finite: bool = True
) -> tuple[Array, ...]:
    r"""Weingarten map of the balanced manifold in the ambient space.

    .. math:: \langle \mathcal{W}(V, \nu), U \rangle = \langle \nu, \mathrm{II}(V, U) \rangle

    A normal vector is :math:`\nu_p = W_p S_{p-1} - S_p W_p + R_p` with symmetric multipliers
    ``S_p`` and, below full rank, a map ``R_p`` from the complement of ``Q_{p-1}`` to that of
    ``Q_p``.

    Parameters
    ----------
    frames : Frames
    V : sequence of N arrays (..., d_p, d_{p-1})
        Tangent vector.
    normal : sequence of N arrays (..., d_p, d_{p-1})
        Normal vector; a tangent component is ignored.
    check_finite : bool
        Whether to check the values of the input.

    Returns
    -------
    tuple of N arrays (..., d_p, d_{p-1})
        A tangent vector.

    Raises
    ------
    ValueError
        If shapes do not fit, frames are not orthonormal or an entry is not finite.

    See Also
    --------
    dlngeom.balanced.second_fundamental_form : The adjoint map.
    dlngeom.pymanopt.Balanced : The manifold for pymanopt.

    Notes
    -----
    P.-A. Absil, R. Mahony and J. Trumpf, *An extrinsic look at the Riemannian Hessian* (GSI 2013).
    """
    frames, V = checked(frames, "V", V, check_finite)
    normal = checked_vector(frames, "normal", normal, check_finite)
    vector = tangent_part(frames, resolve(frames, V))
    change = _normal_change(frames, vector, normal)
    return assemble(frames, tangent_part(frames, change))


def _normal_change(frames: Frames, V: TangentInFrames, normal: Sequence[Array]) -> AmbientInFrames:
    """``-(V_p S_{p-1} - S_p V_p)`` and the part of ``R_p``, in frames."""
    S, s = _normal_multipliers(frames, resolve(frames, normal))
    lam = frames.lam[..., None, :]
    core, left, right = [], [], []
    for p, nu in enumerate(normal):
        C, low, high = V.core[..., p, :, :], V.perp[p], V.perp[p + 1]
        core.append(S[p + 1] @ C - C @ S[p] + s[p + 1].mT @ high - low.mT @ s[p])
        up, down = nu @ (low / lam), nu.mT @ (high / lam)
        q_low, q_high = frames.q[p], frames.q[p + 1]
        left.append(s[p + 1] @ C - high @ S[p] + up - q_high @ (q_high.mT @ up))
        right.append(low @ S[p + 1] - s[p] @ C.mT + down - q_low @ (q_low.mT @ down))
    return AmbientInFrames(namespace(frames.lam).stack(core, axis=-3), tuple(left), tuple(right))


def _normal_multipliers(frames: Frames, normal: AmbientInFrames) -> tuple[list[Array], list[Array]]:
    """Multipliers of a normal vector: cores ``S_p`` and parts ``s_p`` across the frames."""
    xp = namespace(frames.lam)
    row, column = frames.lam[..., :, None], frames.lam[..., None, :]
    at = balance_at(frames)
    scaled = multipliers(at, symmetric(balance_defect(at, normal.core)))
    inner = scaled / xp.maximum(row, column)[..., None, :, :]
    zero = row * column * 0
    S = [zero, *(inner[..., p, :, :] for p in range(inner.shape[-3])), zero]
    pairs = zip(normal.left[:-1], normal.right[1:], strict=True)
    s = [(hi - lo) / (2 * column) for lo, hi in pairs]
    return S, [normal.right[0] * 0, *s, normal.left[-1] * 0]
