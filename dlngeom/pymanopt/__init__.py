"""Manifolds for pymanopt: end-to-end matrices and balanced networks; and its own, for samplers.

Thin translations: formulas live in the core, these modules convert points, tangent vectors and
derivatives between pymanopt's conventions and ours.
"""

from dlngeom.pymanopt.balanced import Balanced
from dlngeom.pymanopt.end_to_end import EndToEnd, Point, TangentVector, ambient_direction
from dlngeom.pymanopt.from_manifold import from_manifold
from dlngeom.pymanopt.product import Product

__all__ = [
    "Balanced",
    "EndToEnd",
    "Point",
    "Product",
    "TangentVector",
    "ambient_direction",
    "from_manifold",
]
