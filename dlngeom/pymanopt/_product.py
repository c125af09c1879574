"""Products of manifolds whose Euclidean Hessians see the embedding of every factor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymanopt.manifolds import product

__all__ = ["Product"]


class Product(product.Product):  # type: ignore[misc]
    """Product manifold that embeds tangent vectors factor by factor.

    pymanopt's own class passes tangent vectors on as they are, which is right for factors that
    represent them as ambient arrays only; with :class:`EndToEnd` as a factor, TrustRegions
    needs this class.  First-order optimizers work with either.
    """

    def embedding(self, point: Sequence[Any], tangent_vector: Sequence[Any]) -> list[Any]:
        """Embed a tangent vector factor by factor."""
        parts = zip(self.manifolds, point, tangent_vector, strict=True)
        return [manifold.embedding(x, z) for manifold, x, z in parts]
