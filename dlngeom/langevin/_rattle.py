r"""Free motion on a manifold by RATTLE, from its tangent projection and its retraction alone.

.. math:: x' = x + h v + n, \quad n \perp T_x, \qquad v' = P_{x'}\big((x' - x) / h\big)

The step is symplectic and symmetric, and keeps the momenta of linear isometries.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from dlngeom._lib.arrays import Array, constant, eps, namespace, to_numpy
from dlngeom._lib.vectors import Point, Vector, combine, norm, parts, rebuild, scale
from dlngeom.langevin._engine._steps import padded, put, take
from dlngeom.submersion import RiemannianSubmersion
from dlngeom.submersion._spaces import embedding

__all__ = ["drift"]

# Rounds of the fixed point.  It has converged once the gap is so many rounding errors, and may
# come to rest at some more.
_ROUNDS = 30
_ROUNDINGS, _RESTING = 4.0, 256.0

# Times that a drift is halved where it finds no point: the shortest is a thousandth.
_HALVINGS = 10


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


def drift(
    space: RiemannianSubmersion,
    point: Point,
    velocity: Vector,
    time: float,
    halvings: int = _HALVINGS,
) -> tuple[Point, Vector]:
    """Move points ``(chain, ...)`` along their velocities for a time.

    A chain for which no point lies in reach along the normal space, as near a singularity, takes
    shorter drifts; the shortest may be the retraction itself.
    """
    moved, missed = _rattle(space, point, velocity, time)
    if len(missed) == 0:
        return moved
    chains = padded(missed, parts(point)[0])
    x, v = take((point, velocity), chains)
    if halvings == 0:
        return put(moved, chains, _straight(space, x, v, time))  # type: ignore[no-any-return]
    for _ in range(2):
        x, v = drift(space, x, v, time / 2, halvings - 1)
    return put(moved, chains, (x, v))  # type: ignore[no-any-return]


def _rattle(
    space: RiemannianSubmersion, point: Point, velocity: Vector, time: float
) -> tuple[tuple[Point, Vector], np.ndarray]:
    """Take one drift, and list the chains that found no point."""
    goal = _Goal(point, embedding(space, point), scale(time, velocity))
    reached, missed = _solved(space, goal)
    # What was not found is replaced; until then its entries must be those of some point.
    reached = put(reached, missed, take(point, missed)) if len(missed) else reached
    shift = combine(1.0, embedding(space, reached), -1.0, goal.here)
    return (reached, space.tangent_projection(reached, scale(1 / time, shift))), missed


def _solved(space: RiemannianSubmersion, goal: _Goal) -> tuple[Point, np.ndarray]:
    r"""Points ``R(w)`` with ``P_x(R(w) - x) = h v``, and the chains that did not reach one.

    The fixed point of :math:`w \mapsto w + h v - P_x(R(w) - x)` contracts by the square of the
    step, since a retraction of second order moves normally to the manifold beside ``w``.
    """
    size = to_numpy(norm(goal.here, 1) + norm(goal.wanted, 1))
    limit = _ROUNDINGS * eps(parts(goal.here)[0]) * size
    last, active = np.full(size.shape, np.inf), np.arange(len(size))
    w, reached = goal.wanted, goal.point
    for _ in range(_ROUNDS):
        moved, gap, found = _round(space, goal, w)
        reached = put(reached, active, moved)
        # One that gets no nearer has come to rest, or never will: it is not moved further.
        going = (found > limit[active]) & (found <= last[active] / 2)
        last[active] = found
        kept = np.flatnonzero(going)
        if len(kept) == 0:
            break
        kept = padded(kept, parts(gap)[0])
        goal, w = take((goal, combine(1.0, w, 1.0, gap)), kept)
        active = active[kept]
    return reached, np.flatnonzero(~(last <= _RESTING / _ROUNDINGS * limit))


def _round(
    space: RiemannianSubmersion, goal: _Goal, w: Vector
) -> tuple[Point, Vector, np.ndarray]:
    """Points ``R(w)``, what their projections still lack, and its size, infinite where unknown."""
    moved = space.retraction(goal.point, w)
    shift = combine(1.0, embedding(space, moved), -1.0, goal.here)
    unknown = np.flatnonzero(~np.isfinite(to_numpy(norm(shift, 1))))
    if len(unknown):
        shift = put(shift, unknown, scale(0.0, take(goal.wanted, unknown)))
        moved = put(moved, unknown, take(goal.point, unknown))
    gap = combine(1.0, goal.wanted, -1.0, space.tangent_projection(goal.point, shift))
    found = to_numpy(norm(gap, 1)).astype(np.float64)
    found[unknown] = np.inf
    return moved, gap, found


def _straight(
    space: RiemannianSubmersion, point: Point, velocity: Vector, time: float
) -> tuple[Point, Vector]:
    """Move by the retraction, and turn the velocity into the tangent space there."""
    moved = space.retraction(point, scale(time, velocity), order=1)
    turned = space.tangent_projection(moved, velocity)
    before, after = norm(velocity, 1), norm(turned, 1)
    xp = namespace(after)
    some = after > 0
    factor = xp.where(some, before / xp.where(some, after, after + 1), after)
    return moved, scale(factor, turned)
