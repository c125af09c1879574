"""The library itself, or what to install."""

from __future__ import annotations

try:
    from mici.matrices import IdentityMatrix
    from mici.states import ChainState
    from mici.systems import (
        DenseConstrainedEuclideanMetricSystem,
        EuclideanMetricSystem,
        System,
    )
except ImportError as error:
    raise ImportError("dlngeom.mici needs mici: pip install 'dlngeom[mici]'") from error

__all__ = [
    "ChainState",
    "DenseConstrainedEuclideanMetricSystem",
    "EuclideanMetricSystem",
    "IdentityMatrix",
    "System",
]
