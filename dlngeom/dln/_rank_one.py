r"""Geodesics of matrices of rank one: straight lines in the plane of an unrolled cone.

.. math:: \lambda e^{i \theta} = \lambda_0 + t (\dot\lambda_0 + i \lambda_0 \omega), \qquad
          \omega^2 = (|\dot u|^2 + |\dot v|^2) / N

Both singular vectors turn on great circles, in proportion to the angle ``theta``.
"""

from __future__ import annotations

import numpy as np

from dlngeom._lib.arrays import Array, namespace, to_numpy
from dlngeom._lib.ode.system import SolverState
from dlngeom.points import SVD, Tangent
from dlngeom.submersion._equations import Geodesic

__all__ = ["rank_one_geodesic"]

# Smallest distance of a line to the apex of its cone, relative to that at its start.
_BOUNDARY = 1e-6


def rank_one_geodesic(point: SVD, Z: Tangent, depth: int) -> Geodesic:
    """Geodesic of rank one, without its parallel transport."""
    s = point.s[..., None]
    xp, lam = namespace(s), s ** (1 / depth)
    turns = (point.u, Z.Up / s), (point.vt.mT, Z.Vp / s)
    speeds = [_norm(dq) for _, dq in turns]
    omega = xp.sqrt((speeds[0] ** 2 + speeds[1] ** 2) / depth)
    unit = xp.where(omega > 0, omega, xp.ones_like(omega))
    start = (
        xp.concat([lam, 0 * lam], axis=-1),
        xp.concat([lam * Z.M / (depth * s), lam * omega], axis=-1),
    )

    def at(state: SolverState) -> SVD:
        rho, angle = _polar(state[0])
        u, v = (
            xp.cos(angle / unit * speed) * q + _sine(angle / unit, speed) * dq
            for (q, dq), speed in zip(turns, speeds, strict=True)
        )
        return SVD(u, (rho**depth)[..., 0], v.mT)

    def velocity(state: SolverState) -> Tangent:
        (x, dx), (rho, angle) = state, _polar(state[0])
        along = x @ dx.mT / rho
        turn = (x[..., :1] * dx[..., 1:] - x[..., 1:] * dx[..., :1]) / (rho**2 * unit)
        up, vp = (
            rho**depth * turn * (xp.cos(angle / unit * w) * dq - w * xp.sin(angle / unit * w) * q)
            for (q, dq), w in zip(turns, speeds, strict=True)
        )
        return Tangent(up, depth * rho ** (depth - 1) * along, vp)

    return Geodesic(
        start,
        lambda state: (state[1], state[1] * 0),
        at,
        velocity,
        lambda state: _norm(state[0].mT)[..., 0, 0],
        lambda state, vector: (vector[0] * 0,),
        meets=lambda time: _apex(start, time),
    )


def _norm(column: Array) -> Array:
    """Length ``(..., 1, 1)`` of a column."""
    xp = namespace(column)
    return xp.sqrt(xp.sum(column**2, axis=-2, keepdims=True))


def _polar(x: Array) -> tuple[Array, Array]:
    """Radius and angle of rows of two coordinates."""
    return _norm(x.mT), namespace(x).atan2(x[..., 1:], x[..., :1])


def _sine(time: Array, speed: Array) -> Array:
    """Sine of an angle over its speed, at speed zero too."""
    xp = namespace(speed)
    safe = xp.where(speed > 0, speed, xp.ones_like(speed))
    return xp.where(speed > 0, xp.sin(time * safe) / safe, time)


def _apex(start: SolverState, time: float) -> float | None:
    """First time up to a given one, of any sign, at which a line passes through the apex."""
    x, v = (np.asarray(to_numpy(y), np.float64).reshape(-1, 2) for y in start)
    squares = np.sum(v**2, axis=-1)
    still = squares == 0
    when = -np.sum(x * v, axis=-1) / np.where(still, 1.0, squares)
    way = np.linalg.norm(x + when[:, None] * v, axis=-1)
    met = ~still & (way <= _BOUNDARY * np.linalg.norm(x, axis=-1))
    met &= (when / time > 0) & (when / time <= 1 + _BOUNDARY)
    times = (1 - _BOUNDARY) * when[met]
    return float(times[np.argmin(np.abs(times))]) if len(times) else None
