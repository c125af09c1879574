"""Geometry downstairs: end-to-end matrices with the metric ``g^N``.

Begin with :func:`gradient` and :func:`retraction`.  The geometry upstairs is
:mod:`dlngeom.balanced`.

Torch and jax differentiate functions of dense matrices rightly at equal singular values too.  At a
zero singular value there is no derivative beyond depth one: an error, in compiled code NaN.
"""

from __future__ import annotations

from dlngeom.endtoend._curvature import christoffel, curvature
from dlngeom.endtoend._geometry import (
    cometric,
    gradient,
    hessian,
    inner,
    inverse_cometric,
    log_volume_density,
    projection_retraction,
    retraction,
    transport,
)

__all__ = [
    "christoffel",
    "cometric",
    "curvature",
    "gradient",
    "hessian",
    "inner",
    "inverse_cometric",
    "log_volume_density",
    "projection_retraction",
    "retraction",
    "transport",
]
