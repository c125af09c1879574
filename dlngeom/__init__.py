"""Riemannian geometry of the deep linear network.

``W = W_N ... W_1`` has a geometry upstairs (the balanced networks with the Frobenius
metric), one downstairs (the end-to-end matrices with the metric ``g^N``), and a
Riemannian submersion between them.  Rooms load when they are first used.
"""

from __future__ import annotations

from dlngeom._lib.lazy import lazy_face as _lazy_face

__version__ = "0.1.0"

_ROOMS = (
    "balanced",
    "completion",
    "dln",
    "endtoend",
    "flow",
    "geodesics",
    "geomstats",
    "langevin",
    "laws",
    "network",
    "plotting",
    "points",
    "pymanopt",
    "quotients",
    "spectral",
    "submersion",
    "thermodynamics",
)
_HOMES = {
    "SVD": "points",
    "Frames": "points",
    "LowRank": "points",
    "Tangent": "points",
    "dense": "points",
    "factors": "points",
    "frames": "points",
    "nearest_balanced": "points",
    "svd": "points",
    "DeepLinearNetwork": "dln",
    "EndToEndGeometry": "dln",
    "InfinitelyDeepNetwork": "dln",
    "Base": "submersion",
    "RiemannianSubmersion": "submersion",
    "check_submersion": "submersion",
}

__all__ = sorted((*_ROOMS, *_HOMES))

__getattr__, __dir__ = _lazy_face(__name__, {**dict.fromkeys(_ROOMS), **_HOMES})
