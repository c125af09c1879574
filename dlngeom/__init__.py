"""Riemannian geometry of the deep linear network.

``W = W_N ... W_1`` has a geometry upstairs (the balanced networks with the Frobenius
metric), one downstairs (the end-to-end matrices with the metric ``g^N``), and a
Riemannian submersion between them.  Rooms load when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlngeom._lib.lazy import lazy_face as _lazy_face

__version__ = "0.2.0"

# For type checkers alone, which do not see what loads on first use.
if TYPE_CHECKING:
    from dlngeom import (
        balanced,
        completion,
        dln,
        endtoend,
        flow,
        geodesics,
        geomstats,
        geoopt,
        langevin,
        laws,
        mici,
        network,
        plotting,
        points,
        pymanopt,
        quotients,
        spectral,
        submersion,
        thermodynamics,
        torch,
    )
    from dlngeom.dln import (
        DeepLinearNetwork,
        EndToEndGeometry,
        InfinitelyDeepNetwork,
    )
    from dlngeom.points import (
        SVD,
        Frames,
        LowRank,
        Tangent,
        dense,
        factors,
        frames,
        nearest_balanced,
        svd,
    )
    from dlngeom.submersion import (
        Base,
        RiemannianSubmersion,
        check_submersion,
        from_map,
    )

__all__ = [
    "SVD",
    "Base",
    "DeepLinearNetwork",
    "EndToEndGeometry",
    "Frames",
    "InfinitelyDeepNetwork",
    "LowRank",
    "RiemannianSubmersion",
    "Tangent",
    "balanced",
    "check_submersion",
    "completion",
    "dense",
    "dln",
    "endtoend",
    "factors",
    "flow",
    "frames",
    "from_map",
    "geodesics",
    "geomstats",
    "geoopt",
    "langevin",
    "laws",
    "mici",
    "nearest_balanced",
    "network",
    "plotting",
    "points",
    "pymanopt",
    "quotients",
    "spectral",
    "submersion",
    "svd",
    "thermodynamics",
    "torch",
]

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
    "from_map": "submersion",
}
_ROOMS = [name for name in __all__ if name not in _HOMES]

if not TYPE_CHECKING:
    __getattr__, __dir__ = _lazy_face(__name__, {**dict.fromkeys(_ROOMS), **_HOMES})
