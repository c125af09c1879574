"""Geodesics of any space: exponential map, logarithm, distance, parallel transport.

Begin with :func:`exp` and :func:`log`; they raise :class:`GeodesicError` where there is none.
"""

from __future__ import annotations

from dlngeom.geodesics._maps import dist, energy, exp, geodesic, length, log, parallel_transport
from dlngeom.geodesics._paths import GeodesicError

__all__ = [
    "GeodesicError",
    "dist",
    "energy",
    "exp",
    "geodesic",
    "length",
    "log",
    "parallel_transport",
]
