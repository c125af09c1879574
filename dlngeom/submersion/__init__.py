"""Riemannian submersions: what a space must provide, what follows, what it may offer to engines.

Begin with :class:`RiemannianSubmersion`, and :func:`check_submersion` for a space of your own.
"""

from __future__ import annotations

from dlngeom.submersion._checks import check_submersion
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
    "LiftedBase",
    "RiemannianSubmersion",
    "check_submersion",
    "cometric",
    "gradient",
    "horizontal_projection",
    "inverse_cometric",
    "lift",
    "mean_curvature",
]
