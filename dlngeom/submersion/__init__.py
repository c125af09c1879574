"""Riemannian submersions: the interface of a space, what follows from it, optional protocols.

Begin with :class:`RiemannianSubmersion`; :func:`check_submersion` tests an implementation,
:mod:`dlngeom.quotients` has worked examples, and :func:`from_map` makes one from a map alone.  A
space may provide more than it must.  Engines (flow, geodesics, langevin) never test for a class:
they use the methods of these protocols where a space has them.  The last three are asked of walks.

===========================  =========  ========================================
protocol                     used by    what an engine does without it
===========================  =========  ========================================
:class:`HasEmbedding`        this room  takes points for ambient vectors
:class:`HasBasePoint`        this room  takes projections for points downstairs
:class:`HasMeanCurvature`    this room  differentiates the vertical projection
:class:`HasInverseCometric`  this room  inverts the matrix of the cometric
:class:`HasSubmersion`       langevin   refuses a base without a walk
:class:`HasPointCheck`       langevin   compares with a random point
:class:`HasStartCheck`       langevin   checks the start as any point
:class:`HasBatchAxes`        langevin   compares with a random point
:class:`HasFlow`             flow       integrates in the ambient space
:class:`HasGeodesics`        geodesics  refuses
:class:`HasClosedLog`        geodesics  solves the boundary value problem
:class:`HasWalk`             langevin   walks in the ambient space
:class:`HasUncheckedMoves`   langevin   moves by the methods of the space
:class:`HasAcceptance`       langevin   adapts no step in the warm-up
:class:`HasAdjustedRank`     langevin   refuses ``adjust=True``
:class:`HasExtras`           langevin   records nothing more
:class:`HasObservables`      langevin   observes nothing by default
:class:`HasCompiledSteps`    langevin   never compiles a step
===========================  =========  ========================================
"""

from __future__ import annotations

from dlngeom.submersion._checks import check_submersion
from dlngeom.submersion._equations import Chart, ClosedLog, Equation, Geodesic, Shooting
from dlngeom.submersion._from_map import from_map
from dlngeom.submersion._offers import (
    HasAcceptance,
    HasAdjustedRank,
    HasBasePoint,
    HasBatchAxes,
    HasClosedLog,
    HasCompiledSteps,
    HasEmbedding,
    HasExtras,
    HasFlow,
    HasGeodesics,
    HasInverseCometric,
    HasMeanCurvature,
    HasObservables,
    HasPointCheck,
    HasStartCheck,
    HasSubmersion,
    HasUncheckedMoves,
    HasWalk,
    Moves,
    Walk,
)
from dlngeom.submersion._spaces import (
    Base,
    BasePoint,
    LiftedBase,
    RiemannianSubmersion,
    cometric,
    entropy_gradient,
    gradient,
    horizontal_projection,
    inverse_cometric,
    lift,
    mean_curvature,
)

__all__ = [
    "Base",
    "BasePoint",
    "Chart",
    "ClosedLog",
    "Equation",
    "Geodesic",
    "HasAcceptance",
    "HasAdjustedRank",
    "HasBasePoint",
    "HasBatchAxes",
    "HasClosedLog",
    "HasCompiledSteps",
    "HasEmbedding",
    "HasExtras",
    "HasFlow",
    "HasGeodesics",
    "HasInverseCometric",
    "HasMeanCurvature",
    "HasObservables",
    "HasPointCheck",
    "HasStartCheck",
    "HasSubmersion",
    "HasUncheckedMoves",
    "HasWalk",
    "LiftedBase",
    "Moves",
    "RiemannianSubmersion",
    "Shooting",
    "Walk",
    "check_submersion",
    "cometric",
    "entropy_gradient",
    "from_map",
    "gradient",
    "horizontal_projection",
    "inverse_cometric",
    "lift",
    "mean_curvature",
]
