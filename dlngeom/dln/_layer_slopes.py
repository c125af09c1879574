r"""Derivatives of the accelerations of outer layers, by their entries and velocities.

All is written with the symmetric root ``Q`` of ``(L^T L + R^T R) / 2``, in frames where it is
diagonal at the point: solutions of :math:`Q X + X Q = B` vary by those of
:math:`Q \delta X + \delta X Q = \delta B - \delta Q\, X - X\, \delta Q`.  So nothing is divided by
a difference of singular values.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dlngeom.dln._layer_motion import (
    PACE,
    Motion,
    eliminated,
    homogeneous,
    inner_velocities,
    layer_lag,
    motion_at,
    multipliers_of,
)
from dlngeom.dln._variations import (
    add_to,
    joined,
    left,
    right,
    second_variation,
    traces,
    transposed,
    units,
)

__all__ = ["layer_slopes"]

# A matrix and its variation.
_Varied = tuple[np.ndarray, np.ndarray]


def layer_slopes(
    x: np.ndarray, v: np.ndarray, middle: np.ndarray, m: int, depth: int
) -> np.ndarray:
    """Differentiate by entries of layers, then of velocities: ``(..., m + n, r, direction)``."""
    motion = motion_at(x, v, m, depth)
    last, first = _sides(motion, (middle @ motion.turn).mT, m)
    square = last.square + first.square
    root = _Root(motion.lam, (square + transposed(square)) / 2, depth)
    covector = _covector(motion, _core(motion, (last, first), root, depth), root, depth)
    turns = _turns(motion, covector, (last, first), root, depth)
    second = _second(motion, turns, (last, first), root)
    return right(second, motion.turn.mT)


class _Side(NamedTuple):
    """First or last layer and its velocity, and variations of products with constant matrices.

    Attributes
    ----------
    x, v, unit : array
        Layer, its velocity, and the variation of the layer.
    along : matrix with its variation
        Product ``X^T V``.
    square, still, across : array
        Variations by positions of ``X^T X``, halved and not yet symmetric, of ``H^T X`` with the
        horizontal velocity ``H`` held, and of ``M^T X`` with the layer ``M`` in the middle.
    middle : array
        Products ``M^T X`` and ``M^T V``, side by side.
    """

    x: np.ndarray
    v: np.ndarray
    unit: np.ndarray
    along: _Varied
    square: np.ndarray
    still: np.ndarray
    across: np.ndarray
    middle: np.ndarray


def _sides(motion: Motion, middle: np.ndarray, m: int) -> tuple[_Side, _Side]:
    unit = units(motion.layers.shape[-2], motion.turn)
    last, first = (
        (motion.layers[..., rows, :], motion.velocity[..., rows, :], h, middle[..., rows])
        for rows, h in zip((slice(m), slice(m, None)), motion.horizontal, strict=True)
    )
    return _side(*last, unit[..., :m, :, :]), _side(*first, unit[..., m:, :, :])


def _side(
    x: np.ndarray, v: np.ndarray, h: np.ndarray, middle: np.ndarray, unit: np.ndarray
) -> _Side:
    held = np.concatenate([x.mT, v.mT, h.mT, middle], axis=-2)
    by_x, by_v, still, across = np.split(left(held, unit), 4, axis=-3)
    along = x.mT @ v, joined(transposed(by_v), by_x)
    both = middle @ np.concatenate([x, v], axis=-1)
    return _Side(x, v, unit, along, by_x, still, across, both)


class _Root:
    """Diagonal root ``Q`` and its variation by positions, given that of its square."""

    def __init__(self, lam: np.ndarray, square: np.ndarray, depth: int) -> None:
        self.row, self.column = lam[..., :, None], lam[..., None, :]
        self.grid = self.row[..., None], self.column[..., None]
        self.square, self._sum = square, self.grid[0] + self.grid[1]
        self.change = square / self._sum
        self._squares = self.grid[0] ** 2 + self.grid[1] ** 2
        self._slopes = homogeneous(self.row, self.column, 2 * depth - 3)
        self._powers = {1: self.change, 2: square}

    def power(self, exponent: int) -> np.ndarray:
        """Variation of a power, from the inverse on."""
        if exponent not in self._powers:
            if exponent == -1:
                self._powers[-1] = self.change / -(self.grid[0] * self.grid[1])
            else:
                self._powers[exponent] = self.change * self._slopes[exponent - 1][..., None]
        return np.asarray(self._powers[exponent])

    def between(self, low: int, x: np.ndarray, change: np.ndarray, high: int) -> np.ndarray:
        """Variation of ``Q^low X Q^high``."""
        low_power = self.row**low if low else np.ones_like(self.row)
        high_power = self.column**high if high else np.ones_like(self.column)
        varied = change * (low_power * high_power)[..., None]
        if low:
            varied = add_to(varied, right(self.power(low), x * high_power))
        if high:
            varied = add_to(varied, left(low_power * x, self.power(high)))
        return np.asarray(varied)

    def solved(self, x: np.ndarray, change: np.ndarray, sign: int) -> np.ndarray:
        """Variation of ``X`` that solves ``Q X + X Q = B + sign B^T``, given that of ``B``."""
        change = add_to(change, -right(self.change, x))
        return np.asarray((change + sign * transposed(change)) / self._sum)

    def spin(self, x: np.ndarray, change: np.ndarray) -> np.ndarray:
        """Variation of ``X`` that solves ``Q^2 X + X Q^2 = B - B^T``, given that of ``B``."""
        change = add_to(change, -right(self.square, x))
        return np.asarray((change - transposed(change)) / self._squares)


def _core(motion: Motion, sides: tuple[_Side, _Side], root: _Root, depth: int) -> np.ndarray:
    """Variation of the velocity of the product."""
    (last, d_last), (first, d_first) = (side.along for side in sides)
    core = root.between(-1, last, d_last, depth - 1)
    core += root.between(depth - 1, first.mT, transposed(d_first), -1)
    if depth > 2:
        inside = motion.rate / (root.row + root.column)
        change = root.solved(inside, (d_last + d_first) / 2, 1)
        for p in range(1, depth - 1):
            core += root.between(p, inside, change, depth - 1 - p)
    return core


def _covector(motion: Motion, core: np.ndarray, root: _Root, depth: int) -> np.ndarray:
    """Variation of the covector of a velocity."""
    C = motion.covector
    for j in range(1, depth):
        power, k = root.power(2 * j), 2 * (depth - 1 - j)
        core = add_to(core, -right(power, C * root.column**k) - left(root.row**k * C, power))
    row, column = root.grid
    return np.asarray(core / homogeneous(row * row, column * column, depth - 1)[-1])


def _turns(
    motion: Motion, covector: np.ndarray, sides: tuple[_Side, _Side], root: _Root, depth: int
) -> list[tuple[_Varied, _Varied]]:
    """Factors of ``X A + V B``, the acceleration of both layers up to common terms."""
    C, grid = motion.covector, (root.row, root.column)
    ends = (C, covector), (C.mT, transposed(covector))
    found = [
        _spin(side, motion, i, end, root, depth)
        for i, (side, end) in enumerate(zip(sides, ends, strict=True))
    ]
    (d_last, last_gram), (d_first, first_gram) = found
    inner = [
        (h, root.between(depth - p, C, covector, p - 1))
        for p, h in enumerate(inner_velocities(motion, grid, depth), 2)
    ]
    multipliers = multipliers_of(motion, [h for h, _ in inner], grid, depth)
    changes = _multipliers(multipliers, inner, (first_gram, last_gram), root)
    last, first = motion.spins
    squares = [right(d, spin) for d, spin in ((d_last, last), (d_first, first))]
    squares = [x + transposed(x) for x in squares]
    turn, change = multipliers[depth - 1] - last @ last, changes[depth - 1] - squares[0]
    pairs = list(zip(multipliers, changes, strict=True))
    spin = first, d_first
    for p, h in enumerate(inner):
        step = (h[0] - h[0].mT) / (root.row + root.column)
        later = spin[0] + step, spin[1] + root.solved(step, h[1].copy(), -1)
        lag, d_lag = _lag(pairs[p + 1], pairs[p + 2], spin, later, h, root)
        turn, change, spin = turn + lag, change + d_lag, later
    other = -multipliers[1] - first @ first, -changes[1] - squares[1]
    return [((turn, change), (2 * last, 2 * d_last)), (other, (2 * first, 2 * d_first))]


def _spin(
    side: _Side, motion: Motion, i: int, covector: _Varied, root: _Root, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """Variations of a spin, and half that of the Gram matrix of the horizontal velocity."""
    (C, change), spin, h = covector, motion.spins[i], motion.horizontal[i]
    inside = root.between(0, C, change, depth - 1)
    inside = root.between(1, C * root.column ** (depth - 1), inside, 0)
    d_spin = root.spin(spin, side.along[1] - inside)
    return d_spin, joined(-right(side.still, spin), side.still) - left(h.mT @ side.x, d_spin)


def _multipliers(
    multipliers: list[np.ndarray],
    inner: list[_Varied],
    grams: tuple[np.ndarray, np.ndarray],
    root: _Root,
) -> list[np.ndarray]:
    """Variations of the multipliers ``S_0`` to ``S_N``."""
    above = [grams[0], *(right(change, h.mT) for h, change in inner)]
    below = [*(left(h.mT, change) for h, change in inner), grams[1]]
    sides = []
    for p, (x, y) in enumerate(zip(above, below, strict=True), 1):
        around = (multipliers[p - 1] + multipliers[p + 1]) * root.column
        moved = right(root.change, around) - right(root.square, multipliers[p])
        half = add_to(x - y, moved)
        sides.append(half + transposed(half))
    return eliminated(sides, root.grid, len(sides) + 1)


def _lag(
    S: _Varied, T: _Varied, before: _Varied, after: _Varied, h: _Varied, root: _Root
) -> _Varied:
    """Lag of spins at a layer that stays symmetric, and its variation."""
    low = 2 * h[0] + root.row * before[0]
    high = after[0] * root.column - 2 * h[0]
    later = root.between(0, *after, 1)
    X = root.between(1, *S, 0) - root.between(0, *T, 1)
    X += right(2 * h[1] + root.between(1, *before, 0), before[0]) + left(low, before[1])
    X += right(after[1], high) + left(after[0], later - 2 * h[1])
    X -= 2 * (right(later, before[0]) + left(after[0] * root.column, before[1]))
    lag = layer_lag([S[0], T[0]], (before[0], after[0]), h[0], (root.row, root.column))
    return lag, root.solved(lag, X, -1)


def _second(
    motion: Motion,
    turns: list[tuple[_Varied, _Varied]],
    sides: tuple[_Side, _Side],
    root: _Root,
) -> np.ndarray:
    """Variation of the accelerations, with the common spin and the change of pace."""
    (common, d_common), (fall, d_fall) = _common_spin(turns, sides), _fall(motion, sides, root)
    second = [
        second_variation(
            (side.x, side.v),
            side.unit,
            (turn + common, spin + fall),
            (d_turn + d_common, d_spin + d_fall),
        )
        for ((turn, d_turn), (spin, d_spin)), side in zip(turns, sides, strict=True)
    ]
    return np.concatenate(second, axis=-3)


def _common_spin(turns: list[tuple[_Varied, _Varied]], sides: tuple[_Side, _Side]) -> _Varied:
    """Keep layers nearest to those in the middle: their common spin."""
    parts = []
    for ((turn, d_turn), (spin, d_spin)), side in zip(turns, sides, strict=True):
        change = left(side.middle, np.concatenate([d_turn, d_spin], axis=-3))
        change += joined(right(side.across, turn), right(side.across, spin))
        gap = side.middle @ np.concatenate([turn, spin], axis=-2)
        parts.append((gap, change, side.middle[..., : gap.shape[-1]], side.across))
    gap, d_gap, gram, d_gram = (x + y for x, y in zip(*parts, strict=True))
    s, q = np.linalg.eigh((gram + gram.mT) / 2)
    scale = s[..., :, None] + s[..., None, :]
    spin = q @ ((q.mT @ (gap.mT - gap) @ q) / scale) @ q.mT
    change = add_to(-d_gap, -right(d_gram + transposed(d_gram), spin) / 2)
    change = right(left(q.mT, change - transposed(change)), q) / scale[..., None]
    return spin, right(left(q, change), q.mT)


def _fall(motion: Motion, sides: tuple[_Side, _Side], root: _Root) -> _Varied:
    """Multiple of the identity that changes the pace."""
    rate, row, column = motion.rate, root.row, root.column
    identity, total = np.eye(row.shape[-2]), np.sum(column**-2, axis=(-2, -1))
    inverse = identity * column**-2
    fall = np.sum(rate * inverse**2, axis=(-2, -1)) / total
    change = traces(inverse**2, sides[0].along[1] + sides[1].along[1])
    inside = fall[..., None, None] * inverse**2
    inside = inside - rate * (row**-4 * column**-2 + row**-2 * column**-4)
    change = PACE / 2 * add_to(change, traces(inside, root.square)) / total[..., None]
    fall = PACE / 2 * fall[..., None, None] * identity
    return fall, change[..., None, None, :] * identity[..., None]
