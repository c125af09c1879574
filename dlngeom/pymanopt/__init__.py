"""Manifolds for the optimizers of pymanopt, and the manifolds of pymanopt for our samplers.

Begin with :class:`EndToEnd`; :class:`Quotient` takes any Riemannian submersion.  These classes only
translate points, tangent vectors and derivatives between the conventions of pymanopt and ours; the
formulas are in other modules.
"""

from __future__ import annotations

from dlngeom.pymanopt._balanced import Balanced
from dlngeom.pymanopt._end_to_end import EndToEnd, Point, TangentVector, ambient_direction
from dlngeom.pymanopt._from_manifold import from_manifold
from dlngeom.pymanopt._invariant import Invariant
from dlngeom.pymanopt._product import Product
from dlngeom.pymanopt._quotient import Quotient

__all__ = [
    "Balanced",
    "EndToEnd",
    "Invariant",
    "Point",
    "Product",
    "Quotient",
    "TangentVector",
    "ambient_direction",
    "from_manifold",
]
