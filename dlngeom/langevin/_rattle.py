r"""Free motion on a manifold by RATTLE, from its tangent projection and its retraction alone.

.. math:: x' = x + h v + n, \quad n \perp T_x, \qquad v' = P_{x'}\big((x' - x) / h\big)

The step is symplectic and symmetric, and keeps the momenta of linear isometries.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from dlngeom._lib.arrays import Array, constant, eps, identity, namespace, to_numpy
from dlngeom._lib.vectors import (
    Point,
    Vector,
    combine,
    coordinates,
    from_coordinates,
    norm,
    parts,
    scale,
)
from dlngeom.langevin._engine._steps import padded, put, take
from dlngeom.submersion._offers import Moves
from dlngeom.submersion._spaces import embedding

__all__ = ["drift", "real_part"]

# Rounds of the fixed point, and how many of them the next one learns from.
_ROUNDS, _MEMORY = 16, 5
# It has converged once the gap is so many rounding errors, and may come to rest at so many times
# as much.
_ROUNDINGS, _RESTING = 4.0, 64.0
# Changes of the gap are parallel up to so many rounding errors.
_PARALLEL = 64.0

# Shortest share of a drift that a chain takes where longer ones find no point.
_SHORTEST = 2.0**-10


class _Goal(NamedTuple):
    """Where the fixed point of some chains starts and what it is to find.

    Attributes
    ----------
    point : Point
    here, wanted : Vector
        Ambient position of the point, and ``h v``.
    """

    point: Point
    here: Vector
    wanted: Vector


def drift(space: Moves, point: Point, velocity: Vector, time: float) -> tuple[Point, Vector]:
    """Move points ``(chain, ...)`` along their velocities for a time.

    A chain for which no point lies in reach along the normal space, as near a singularity, takes
    shorter drifts; the shortest may be the retraction itself.
    """
    (x, v), missed = _rattle(space, point, velocity, time)
    left = np.zeros(parts(point)[0].shape[0])
    left[missed] = time
    share = left / 2
    while len(active := np.flatnonzero(left > 0)):
        active = padded(active, parts(x)[0])
        at, going = take((x, v), active)
        moved, missed = _rattle(space, at, going, share[active])
        short = missed[share[active[missed]] <= time * _SHORTEST]
        if len(short):
            straight = _straight(space, take(at, short), take(going, short), share[active[short]])
            moved, missed = put(moved, short, straight), np.setdiff1d(missed, short)
        found = np.setdiff1d(np.arange(len(active)), missed)
        if len(found):
            x, v = put((x, v), active[found], take(moved, found))
        left[active[found]] -= share[active[found]]
        share = _next_shares(left, share, active[found], active[missed])
    return x, v


def _next_shares(
    left: np.ndarray, share: np.ndarray, found: np.ndarray, missed: np.ndarray
) -> np.ndarray:
    """Shares of the drift to try next: twice what was found, half of what was not.

    They are powers of two of the whole, and twice as much only at a multiple of it, so that all
    sums are exact.
    """
    share = share.copy()
    share[missed] /= 2
    longer = found[np.fmod(left[found], 2 * share[found]) == 0]
    share[longer] = np.minimum(2 * share[longer], left[longer])
    return share


def _rattle(
    space: Moves, point: Point, velocity: Vector, time: Any
) -> tuple[tuple[Point, Vector], np.ndarray]:
    """Take one drift, all chains for one time or each for its own, and list those that cannot."""
    time = time if isinstance(time, float) else constant(time, real_part(velocity))
    goal = _Goal(point, embedding(space, point), scale(time, velocity))
    reached, missed = _solved(space, goal)
    # What was not found is replaced; until then its entries must be those of some point.
    reached = put(reached, missed, take(point, missed)) if len(missed) else reached
    shift = combine(1.0, embedding(space, reached), -1.0, goal.here)
    return (reached, space.tangent_projection(reached, scale(1 / time, shift))), missed


def _solved(space: Moves, goal: _Goal) -> tuple[Point, np.ndarray]:
    r"""Points ``R(w)`` with ``P_x(R(w) - x) = h v``, and the chains that did not reach one.

    The fixed point of :math:`w \mapsto w + h v - P_x(R(w) - x)` contracts by the square of the
    step, since a retraction of second order moves normally to the manifold beside ``w``.
    """
    size = to_numpy(norm(goal.here, 1) + norm(goal.wanted, 1))
    limit = _ROUNDINGS * eps(real_part(goal.here)) * size
    last, active = np.full(size.shape, np.inf), np.arange(len(size))
    w, tried, reached = coordinates(goal.wanted, 1), (), goal.point
    for _ in range(_ROUNDS):
        moved, gap, found = _round(space, goal, w)
        reached = put(reached, active, moved)
        near, before = limit[active], last[active]
        at_rest = (found <= near) | ((found <= _RESTING * near) & (found > before / 2))
        last[active] = found
        kept = np.flatnonzero(~at_rest & (found <= size[active]))
        if len(kept) == 0:
            break
        kept = padded(kept, gap)
        goal, tried = take((goal, (*tried, (w, gap))[-_MEMORY:]), kept)
        w, active = _next(tried), active[kept]
    return reached, np.flatnonzero(~(last <= _RESTING * limit))


def _round(space: Moves, goal: _Goal, w: Array) -> tuple[Point, Array, np.ndarray]:
    """Points ``R(w)``, what their projections still lack, and its size, infinite where unknown."""
    moved = space.retraction(goal.point, from_coordinates(w, goal.wanted, 1))
    shift = combine(1.0, embedding(space, moved), -1.0, goal.here)
    unknown = np.flatnonzero(~np.isfinite(to_numpy(norm(shift, 1))))
    if len(unknown):
        shift = put(shift, unknown, scale(0.0, take(goal.wanted, unknown)))
        moved = put(moved, unknown, take(goal.point, unknown))
    there = space.tangent_projection(goal.point, shift)
    gap = coordinates(combine(1.0, goal.wanted, -1.0, there), 1)
    found = to_numpy(norm(gap, 1)).astype(np.float64)
    found[unknown] = np.inf
    return moved, gap, found


def _next(tried: tuple[tuple[Array, Array], ...]) -> Array:
    """Vector to try after others and their gaps, by Anderson's acceleration of ``w + gap``."""
    w, gap = tried[-1]
    if len(tried) == 1:
        return w + gap
    xp = namespace(w)
    pairs = list(pairwise(tried))
    steps = xp.stack([new[0] - old[0] for old, new in pairs], axis=-1)
    changes = xp.stack([new[1] - old[1] for old, new in pairs], axis=-1)
    gram = changes.mT @ changes
    # Without a little of the unit, changes that are parallel could not be solved for.
    small = _PARALLEL * eps(w) * xp.linalg.trace(gram) + xp.finfo(w.dtype).tiny
    gram = gram + small[..., None, None] * identity(len(pairs), w)
    shares = xp.linalg.solve(gram, changes.mT @ gap[..., None])
    return w + gap - ((steps + changes) @ shares)[..., 0]


def real_part(vector: Vector) -> Array:
    """Return some real array of a vector, for its library and precision."""
    x = parts(vector)[0]
    xp = namespace(x)
    return xp.real(x) if xp.isdtype(x.dtype, "complex floating") else x


def _straight(
    space: Moves, point: Point, velocity: Vector, time: np.ndarray
) -> tuple[Point, Vector]:
    """Move by the retraction, and turn the velocity into the tangent space there."""
    step = scale(constant(time, real_part(velocity)), velocity)
    moved = space.retraction(point, step, order=1)
    turned = space.tangent_projection(moved, velocity)
    before, after = norm(velocity, 1), norm(turned, 1)
    xp = namespace(after)
    some = after > 0
    factor = xp.where(some, before / xp.where(some, after, after + 1), after)
    return moved, scale(factor, turned)
