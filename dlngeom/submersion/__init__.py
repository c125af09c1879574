"""Riemannian submersions: the interface of a space, what follows from it, optional protocols.

Begin with :class:`RiemannianSubmersion`; :func:`check_submersion` tests an implementation.
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
