"""Geometry upstairs: the manifold of balanced networks with the Frobenius metric.

Points are :class:`~dlngeom.Frames`, vectors are tuples of layers.  Begin with
:func:`tangent_projection` and :func:`retraction`.  The geometry downstairs is
:mod:`dlngeom.endtoend`.
"""

from __future__ import annotations

from dlngeom.balanced._curvature import (
    curvature,
    integrability_tensor,
    second_fundamental_form,
    weingarten,
)
from dlngeom.balanced._geometry import (
    dimension,
    horizontal_projection,
    orthonormal_frame,
    retraction,
    tangent_projection,
    vertical_projection,
)

__all__ = [
    "curvature",
    "dimension",
    "horizontal_projection",
    "integrability_tensor",
    "orthonormal_frame",
    "retraction",
    "second_fundamental_form",
    "tangent_projection",
    "vertical_projection",
    "weingarten",
]
