"""Manifolds for pymanopt: end-to-end matrices and balanced networks; and its own, for samplers.

Begin with :class:`EndToEnd`.  Thin translations: formulas live in the core, these modules
convert points, tangent vectors and derivatives between the conventions of pymanopt and ours.
"""

from __future__ import annotations

from dlngeom.pymanopt._balanced import Balanced
from dlngeom.pymanopt._end_to_end import EndToEnd, Point, TangentVector, ambient_direction
from dlngeom.pymanopt._from_manifold import from_manifold
from dlngeom.pymanopt._product import Product

__all__ = [
    "Balanced",
    "EndToEnd",
    "Point",
    "Product",
    "TangentVector",
    "ambient_direction",
    "from_manifold",
]
