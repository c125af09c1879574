"""Points of both geometries, tangent vectors and covectors, and the charts between them.

Begin with :func:`svd` and :func:`dense` downstairs, :func:`frames` and :func:`factors` upstairs,
and :func:`nearest_balanced` for layers that are not balanced.
"""

from __future__ import annotations

from dlngeom.points._charts import (
    left_polar_chart,
    left_polar_coordinates,
    polar_chart,
    polar_coordinates,
)
from dlngeom.points._frames import factors, frames, svd
from dlngeom.points._nearest import nearest_balanced
from dlngeom.points._tuples import SVD, Frames, LowRank, Tangent, dense

__all__ = [
    "SVD",
    "Frames",
    "LowRank",
    "Tangent",
    "dense",
    "factors",
    "frames",
    "left_polar_chart",
    "left_polar_coordinates",
    "nearest_balanced",
    "polar_chart",
    "polar_coordinates",
    "svd",
]
