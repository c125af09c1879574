"""Manifolds, metrics and bundles for geomstats, and the bundles of geomstats for our samplers.

Begin with :class:`EndToEndMatrices` and its :class:`DeepLinearMetric`.
"""

from __future__ import annotations

try:
    import geomstats.backend as _backend  # noqa: F401
except ImportError as error:
    raise ImportError(
        "dlngeom.geomstats needs geomstats, and that numpy<2.4: pip install 'dlngeom[geomstats]'"
    ) from error

from dlngeom.geomstats._balanced import BalancedMatrices, BalancedMetric
from dlngeom.geomstats._from_bundle import from_bundle
from dlngeom.geomstats._metrics import DeepLinearMetric
from dlngeom.geomstats._quotient import (
    BalancedBundle,
    BalancedGroupAction,
    BalancedQuotientMetric,
    GaugeGroup,
)
from dlngeom.geomstats._spaces import DeepLinearCoordinates, EndToEndMatrices

__all__ = [
    "BalancedBundle",
    "BalancedGroupAction",
    "BalancedMatrices",
    "BalancedMetric",
    "BalancedQuotientMetric",
    "DeepLinearCoordinates",
    "DeepLinearMetric",
    "EndToEndMatrices",
    "GaugeGroup",
    "from_bundle",
]
