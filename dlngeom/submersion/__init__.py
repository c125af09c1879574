"""Riemannian submersions: what a space must provide, what follows, what it may offer to engines.

Begin with :class:`RiemannianSubmersion`, and :func:`check_submersion` for a space of your own.
A space may offer more than it must: each protocol ``Has...`` is one thing that flows, geodesics and
walks ask for, and do without where it is missing.
"""

from __future__ import annotations

from dlngeom.submersion._checks import check_submersion
from dlngeom.submersion._equations import Equation, Geodesic, Shooting
from dlngeom.submersion._offers import (
    HasAdjustedRank,
    HasBatchAxes,
    HasCompiledSteps,
    HasEmbedding,
    HasExtras,
    HasFlow,
    HasGeodesics,
    HasInverseCometric,
    HasObservables,
    HasPointCheck,
    HasStartCheck,
    HasSubmersion,
    HasWalk,
    Walk,
)
from dlngeom.submersion._spaces import (
    Base,
    LiftedBase,
    RiemannianSubmersion,
    cometric,
    gradient,
    horizontal_projection,
    inverse_cometric,
    lift,
    mean_curvature,
)

__all__ = [
    "Base",
    "Equation",
    "Geodesic",
    "HasAdjustedRank",
    "HasBatchAxes",
    "HasCompiledSteps",
    "HasEmbedding",
    "HasExtras",
    "HasFlow",
    "HasGeodesics",
    "HasInverseCometric",
    "HasObservables",
    "HasPointCheck",
    "HasStartCheck",
    "HasSubmersion",
    "HasWalk",
    "LiftedBase",
    "RiemannianSubmersion",
    "Shooting",
    "Walk",
    "check_submersion",
    "cometric",
    "gradient",
    "horizontal_projection",
    "inverse_cometric",
    "lift",
    "mean_curvature",
]
