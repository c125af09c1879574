"""Curves of balanced networks through a point, exactly balanced for every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from dlngeom._lib.arrays import (
    Array,
    identity,
    is_square,
    namespace,
    norm,
    polar_of_expansion,
    symmetric,
)
from dlngeom.balanced._balance import (
    Balance,
    Rotations,
    balance,
    balance_defect,
    correct,
    multipliers,
    rotations,
    squares,
    tangent_rotations,
)
from dlngeom.balanced._in_frames import AmbientInFrames, StepInFrames, TangentInFrames
from dlngeom.points import Frames

__all__ = [
    "acceleration",
    "bent_cores",
    "cayley",
    "corrected",
    "corrected_core",
    "damped_share",
    "fast_move",
    "polar_move",
    "retract",
    "signed_svd",
    "turned",
]


# Largest square of half a rotation whose Cayley transform is computed by products.
_SMALL_SQUARE = 0.1

Move = Callable[[Array, Array, Array | float, Array], Array]


def retract(frames: Frames, V: TangentInFrames) -> Frames:
    """First-order retraction of a tangent vector given in frames."""
    return turned(frames, rotations(frames.lam, V.core), V.perp)


def polar_move(frame: Array, omega: Array, perp: Array | float, lam: Array) -> Array:
    """Polar factor of ``Q + Q Om + L / lam``, orthonormal for every step."""
    # No singular value is below one, since Om is antisymmetric and L is orthogonal to Q.
    return polar_of_expansion(frame @ (identity(omega.shape[-1], omega) + omega) + perp / lam)


def fast_move(frame: Array, omega: Array, perp: Array | float, lam: Array) -> Array:
    """Agree with :func:`polar_move` to second order, by a Cayley transform of square frames.

    The result is orthonormal up to ``eps |Om|``.
    """
    if not is_square(frame):
        return polar_move(frame, omega, perp, lam)
    unit = identity(omega.shape[-1], omega)
    linalg = namespace(omega).linalg
    # The transpose of I - Om / 2 is I + Om / 2.
    return 2 * linalg.solve(unit + omega / 2, frame.mT).mT - frame


def cayley(omega: Array) -> Array:
    r"""Rotations :math:`(I - \Omega/2)^{-1} (I + \Omega/2)` of antisymmetric matrices."""
    unit = identity(omega.shape[-1], omega)
    if omega.shape[-1] == 2:
        # The square of an antisymmetric 2 x 2 matrix is a multiple of the identity.
        square = (omega[..., :1, 1:] / 2) ** 2
        rotation: Array = ((1 - square) * unit + omega) / (1 + square)
        return rotation
    if not isinstance(omega, np.ndarray):
        return namespace(omega).linalg.solve(unit - omega / 2, unit + omega / 2)
    square = omega @ omega
    square /= 4
    far = np.asarray(~(norm(square) <= _SMALL_SQUARE))
    if far.any():
        # One by one, so that a result does not depend on the other matrices of a batch.
        square[far] = 0
    moved = _near_cayley(omega, square)
    if far.any():
        moved[far] = np.linalg.solve(unit - omega[far] / 2, unit + omega[far] / 2)
    return moved


def _near_cayley(omega: np.ndarray, square: np.ndarray) -> np.ndarray:
    """Cayley transforms by products, for small squares ``Omega^2/4``, which are overwritten."""
    # (I - square)^-1 by powers of a rest whose norm is below 1/20.
    middle = 2 / (2 + _SMALL_SQUARE)
    rest = middle * square
    _diagonal(rest)[...] += 1 - middle
    second = rest @ rest
    fourth = second @ second
    sixth = fourth @ second
    fourth += second
    _diagonal(fourth)[...] += 1
    _diagonal(rest)[...] += 1
    inverse = rest @ fourth
    inverse += inverse @ sixth
    square += omega
    _diagonal(square)[...] += 1
    square *= middle
    product: np.ndarray = square @ inverse
    return product


def _diagonal(x: np.ndarray) -> np.ndarray:
    """Diagonals of matrices, as a view."""
    diagonal: np.ndarray = np.einsum("...ii->...i", x)
    return diagonal


def turned(
    frames: Frames,
    motion: Rotations,
    perp: tuple[Array | float, ...],
    move: Move = polar_move,
    *,
    ends_only: bool = False,
) -> Frames:
    """Move ``Lam`` by a symmetric ``h``, and the frames by rotations and out of their span.

    ``Lam + h`` may be indefinite.  With ``ends_only`` the inner frames stay fixed, which is enough
    for the end-to-end matrix.
    """
    omega, h = motion
    lam = frames.lam[..., None, :]
    values, left, right = signed_svd(lam * identity(lam.shape[-1], lam) + h)
    q, last = [], len(frames.q) - 1
    for p, frame in enumerate(frames.q):
        if ends_only and 0 < p < last:
            q.append(frame)
            continue
        # H = P S Q^T is symmetric, so W_p = Q_p H Q_{p-1}^T takes P and Q in turn.
        turn = right if p % 2 else left
        q.append(move(frame, omega[..., p, :, :], perp[p], lam) @ turn)
    return Frames(values, tuple(q))


def signed_svd(H: Array) -> tuple[Array, Array, Array]:
    """SVD of a symmetric matrix, descending; the left and right vectors differ by signs."""
    values, vectors = namespace(H).linalg.eigh(H)
    if not isinstance(values, np.ndarray):
        return _sorted_by_size(values, vectors)
    values, left = values[..., ::-1], np.ascontiguousarray(vectors[..., ::-1])
    indefinite = ~(values[..., -1] > 0)
    if not indefinite.any():
        return values, left, left
    # Only these need sorting; the right vectors of the others are the left ones.
    values, right = values.copy(), left.copy()
    found = _sorted_by_size(values[indefinite], left[indefinite])
    values[indefinite], left[indefinite], right[indefinite] = found
    return values, left, right


def _sorted_by_size(values: Array, vectors: Array) -> tuple[Array, Array, Array]:
    """Singular values and vectors from eigenvalues and eigenvectors in any order."""
    xp = namespace(values)
    sizes = xp.abs(values)
    order = xp.argsort(-sizes, axis=-1)
    left = xp.take_along_axis(vectors, order[..., None, :], axis=-1)
    values = xp.take_along_axis(values, order, axis=-1)
    signs = xp.where(values < 0, -xp.ones_like(values), xp.ones_like(values))
    return xp.abs(values), left, left * signs[..., None, :]


def acceleration(frames: Frames, V: TangentInFrames) -> AmbientInFrames:
    """Second derivative at zero of ``t -> retract(frames, t V)``.

    Parts that map across the frames on both sides are left out.
    """
    motion = rotations(frames.lam, V.core)
    omega, h = motion
    lower_lam = frames.lam[..., :, None]
    K = [part / frames.lam[..., None, :] for part in V.perp]
    core = _core_acceleration(frames, V.core, motion, K)
    depth = len(frames.q) - 1
    left = tuple(2 * K[p + 1] @ (h - lower_lam * omega[..., p, :, :]) for p in range(depth))
    right = tuple(2 * K[p] @ (h - lower_lam * omega[..., p + 1, :, :]) for p in range(depth))
    return AmbientInFrames(core, left, right)


def _core_acceleration(
    frames: Frames, core: Array, motion: Rotations, K: Sequence[Array | float]
) -> Array:
    """Second derivative within the frames, by ``C_p = Om_p Lam + h - Lam Om_{p-1}``."""
    xp = namespace(core)
    bent = bent_cores(core, motion)
    if all(is_square(q) for q in frames.q):
        return bent
    zero = motion.h * 0
    gram = [
        zero if isinstance(k, float) or is_square(q) else k.mT @ k
        for q, k in zip(frames.q, K, strict=True)
    ]
    row, column = frames.lam[..., :, None], frames.lam[..., None, :]
    across = [hi * column + row * lo for lo, hi in pairwise(gram)]
    return bent - xp.stack(across, axis=-3)


def bent_cores(core: Array, motion: Rotations) -> Array:
    """Second derivative of the cores of square frames."""
    omega, h = motion
    shifted = core + h[..., None, :, :]
    return omega[..., 1:, :, :] @ shifted - shifted @ omega[..., :-1, :, :]


def corrected_core(lam: Array, core: Array, at: Balance) -> Rotations:
    """:func:`corrected` for square frames, damped."""
    motion = rotations(lam, core)
    bent = bent_cores(core, motion)
    correction, excess = tangent_rotations(at, lam, bent)
    share = damped_share(squares(core), excess)
    omega = motion.omega - share[..., None] * correction.omega
    return Rotations(omega, motion.h - share * correction.h)


def corrected(
    frames: Frames,
    V: TangentInFrames | StepInFrames,
    at: Balance | None = None,
    *,
    damped: bool = False,
) -> tuple[Rotations, tuple[Array | float, ...]]:
    """Motion of ``V`` minus half the tangential acceleration of its curve.

    With ``damped`` a correction as long as ``V`` shrinks smoothly, an effect of fourth order.
    """
    motion = rotations(frames.lam, V.core)
    lam = frames.lam[..., None, :]
    K = [part if is_square(q) else part / lam for q, part in zip(frames.q, V.perp, strict=True)]
    core = _core_acceleration(frames, V.core, motion, K)
    at = balance(frames.lam, len(frames.q) - 1) if at is None else at
    S = multipliers(at, symmetric(balance_defect(at, core)))
    bent = _perpendicular_acceleration(frames, motion, K)
    core = core - correct(at, S)
    if not damped:
        perp = tuple(x - y / 2 for x, y in zip(V.perp, bent, strict=True))
        return rotations(frames.lam, V.core - core / 2), perp
    share = _damping(V, StepInFrames(core, tuple(bent)))
    perp = tuple(x - share * y for x, y in zip(V.perp, bent, strict=True))
    return rotations(frames.lam, V.core - share[..., None] * core), perp


def _damping(V: TangentInFrames | StepInFrames, correction: StepInFrames) -> Array:
    """Share of a correction to apply: a half, and less where it is longer than the step."""

    def squared(x: TangentInFrames | StepInFrames) -> Array:
        xp = namespace(x.core)
        total = squares(x.core)
        return sum(
            (xp.sum(L * L, axis=(-2, -1)) for L in x.perp if not isinstance(L, float)), total
        )

    return damped_share(squared(V), squared(correction))


def damped_share(step: Array, correction: Array) -> Array:
    """Share of a correction from its squared length and that of the step."""
    excess = correction / namespace(step).where(step == 0, 1 + step, step)
    return (0.5 / (1 + excess / 4))[..., None, None]


def _perpendicular_acceleration(
    frames: Frames, motion: Rotations, K: Sequence[Array | float]
) -> list[Array | float]:
    """Tangential acceleration out of the frames, a mean over the layers next to each frame."""
    omega, h = motion
    lower_lam, last = frames.lam[..., :, None], len(frames.q) - 1
    bent: list[Array | float] = []
    for p, (frame, k) in enumerate(zip(frames.q, K, strict=True)):
        if isinstance(k, float) or is_square(frame):
            bent.append(k)
            continue
        near = [omega[..., j, :, :] for j in (p - 1, p + 1) if 0 <= j <= last]
        bent.append(2 * k @ (h - lower_lam * (sum(near[1:], near[0]) / len(near))))
    return bent
