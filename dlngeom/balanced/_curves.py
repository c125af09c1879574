"""Curves of balanced networks through a point, exactly balanced for every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from dlngeom._lib.arrays import (
    Array,
    identity,
    is_square,
    namespace,
    polar_of_expansion,
    symmetric,
)
from dlngeom._lib.eigen import descending_eigh
from dlngeom.balanced._balance import (
    Balance,
    Rotations,
    balance,
    balance_defect,
    correct,
    multipliers,
    rotations,
    squares,
)
from dlngeom.balanced._in_frames import AmbientInFrames, StepInFrames, TangentInFrames
from dlngeom.points import Frames

__all__ = [
    "acceleration",
    "bent_cores",
    "corrected",
    "damped_share",
    "fast_move",
    "polar_move",
    "retract",
    "rotation",
    "signed_svd",
    "turned",
]


# Largest angle of a rotation that is computed by products, and the polynomial of modulus one up to
# there: it agrees with the exponential function to second order, and has modulus one at 0 and at
# six Chebyshev nodes.
_LARGEST_ANGLE = 0.7
_COEFFICIENTS = (
    0.002798467950374201875,
    0.026286730382734922899,
    0.11519845142018832751,
    0.82235256165184673476,
    0.1341106701446209437,
    2.2045074044157073194,
)

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


def rotation(omega: Array, squared: Array) -> Array:
    """Rotations ``I + Omega + Omega^2/2 + O(Omega^3)`` of antisymmetric matrices.

    Parameters
    ----------
    omega : array (..., r, r)
    squared : array (...)
        Sum of the squares of the entries above the diagonal, no less than the largest angle's.
    """
    unit = identity(omega.shape[-1], omega)
    if omega.shape[-1] == 2:
        # The square of an antisymmetric 2 x 2 matrix is a multiple of the identity.
        square = squared[..., None, None] / 4
        turned: Array = ((1 - square) * unit + omega) / (1 + square)
        return turned
    if not isinstance(omega, np.ndarray):
        xp, near = namespace(omega), (squared <= _LARGEST_ANGLE**2)[..., None, None]
        moved = _unit_polynomial(xp.where(near, omega, omega * 0), unit)
        return xp.where(near, moved, _cayley(omega, unit))
    far = np.asarray(~(squared <= _LARGEST_ANGLE**2))
    if not far.any():
        return _unit_polynomial(omega, unit)
    # One by one, so that a result does not depend on the other matrices of a batch.
    patched = np.array(_unit_polynomial(np.where(far[..., None, None], 0.0, omega), unit))
    patched[far] = _cayley(omega[far], unit)
    return patched


def _cayley(omega: Array, unit: Array) -> Array:
    return namespace(omega).linalg.solve(unit - omega / 2, unit + omega / 2)


def _unit_polynomial(x: Array, unit: Array) -> Array:
    """Polynomial ``I + x + x^2/2 + ...`` of degree 8 by three products.

    Its modulus is one, up to 3e-17, on the imaginary axis as far as the largest angle.
    """
    a, b, c, d, e, f = _COEFFICIENTS
    square = x @ x
    fourth = square @ (a * square + b * x)
    product = (fourth + c * square + d * x) @ (fourth + e * square)
    result: Array = product + f * fourth + square / 2 + x + unit
    return result


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


def signed_svd(H: Array, *, any_signs: bool = False) -> tuple[Array, Array, Array]:
    """SVD of a symmetric matrix, descending; the left and right vectors differ by signs.

    With ``any_signs`` those of both together may differ between libraries.
    """
    found: Any = descending_eigh(H, any_signs=any_signs)
    if not isinstance(H, np.ndarray):
        return _sorted_by_size(*found)
    values, left = found
    positive = values[..., -1] > 0
    if positive.all():
        return values, left, left
    # Only the others need sorting; the right vectors of these are the left ones.
    indefinite, right = ~positive, left.copy()
    found = _sorted_by_size(values[indefinite], left[indefinite])
    values[indefinite], left[indefinite], right[indefinite] = found
    return values, left, right


def _sorted_by_size(values: Array, vectors: Array) -> tuple[Array, Array, Array]:
    """Singular values and vectors from eigenvalues and eigenvectors in any order.

    Those of numpy have one batch axis.
    """
    xp = namespace(values)
    order = xp.argsort(-xp.abs(values), axis=-1)
    if isinstance(values, np.ndarray):
        # Functions that index along an axis take longer than the sort of a few small matrices.
        rows = np.arange(order.shape[0])[:, None]
        values, left = values[rows, order], vectors.mT[rows, order].mT
    else:
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
