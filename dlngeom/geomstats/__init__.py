"""The geometry as manifolds, metrics and bundles of geomstats, and its bundles as ours."""

from dlngeom.geomstats.balanced import BalancedMatrices, BalancedMetric
from dlngeom.geomstats.bundles import from_bundle
from dlngeom.geomstats.gauge import BalancedGroupAction, GaugeGroup
from dlngeom.geomstats.metrics import DeepLinearMetric
from dlngeom.geomstats.quotient import BalancedBundle, BalancedQuotientMetric
from dlngeom.geomstats.spaces import DeepLinearCoordinates, EndToEndMatrices

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
