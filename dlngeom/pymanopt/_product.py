"""Products of manifolds whose Euclidean Hessians see the embedding of every factor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymanopt.manifolds import product

__all__ = ["Product"]


class Product(product.Product):  # type: ignore[misc]
    """Product manifold that embeds tangent vectors factor by factor.

    pymanopt's own class hands tangent vectors to Euclidean Hessians unchanged, which is right only
    for factors whose tangent vectors are ambient arrays.  With :class:`EndToEnd` as a factor,
    TrustRegions needs this class; first-order optimizers work with either.

    Parameters
    ----------
    manifolds : sequence of Manifold
        Factors of the product.

    See Also
    --------
    dlngeom.pymanopt.EndToEnd : A factor that needs it.
    dlngeom.pymanopt.ambient_direction : Embedded directions of :class:`EndToEnd` as matrices.
    """

    def embedding(self, point: Sequence[Any], tangent_vector: Sequence[Any]) -> list[Any]:
        """Embed a tangent vector factor by factor."""
        parts = zip(self.manifolds, point, tangent_vector, strict=True)
        return [manifold.embedding(x, z) for manifold, x, z in parts]
