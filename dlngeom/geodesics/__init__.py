"""Geodesics of any space: exponential map, logarithm, distance, parallel transport.

Begin with :func:`exp` and :func:`log`; where there is no geodesic they raise
:class:`GeodesicError`.
"""

from __future__ import annotations

from dlngeom.geodesics._integration import GeodesicError
from dlngeom.geodesics._maps import dist, energy, exp, geodesic, length, log, parallel_transport

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
