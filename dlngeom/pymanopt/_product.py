"""Products of manifolds whose Euclidean Hessians see the embedding of every factor."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from pymanopt.manifolds import product
from pymanopt.manifolds.manifold import Manifold

__all__ = ["Product"]


def _of_all_parts(name: str) -> Callable[..., Any]:
    """Return a method of pymanopt's product, which would leave out what has no counterpart."""
    inherited = getattr(product.Product, name)
    order = inherited.__code__.co_varnames[1 : inherited.__code__.co_argcount]

    @functools.wraps(inherited)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        count = len(self.manifolds)
        for key, value in (*zip(order, args, strict=False), *kwargs.items()):
            _require_parts(key, value, count)
        return inherited(self, *args, **kwargs)

    # pymanopt's own text cites works that its pages list.
    method.__doc__ = f"Apply ``{name}`` of pymanopt's product to all parts."
    return method


def _require_parts(name: str, value: Any, count: int) -> None:
    found = len(value) if hasattr(value, "__len__") else None
    if found != count:
        given = f"is a {type(value).__name__}" if found is None else f"has {found} parts"
        raise ValueError(f"{name} {given}: it must have {count}, one for each manifold")


class Product(product.Product):  # type: ignore[misc]
    """Product manifold that embeds tangent vectors factor by factor.

    pymanopt's own class hands tangent vectors to Euclidean Hessians unchanged, which is right only
    for factors whose tangent vectors are ambient arrays.  With :class:`EndToEnd` as a factor,
    TrustRegions needs this class; first-order optimizers work with either.

    Parameters
    ----------
    manifolds : sequence of Manifold
        Factors of the product.

    Raises
    ------
    ValueError
        If there are none, or one is no manifold.

    See Also
    --------
    dlngeom.pymanopt.EndToEnd : A factor that needs it.
    dlngeom.pymanopt.ambient_direction : Embedded directions of :class:`EndToEnd` as matrices.
    """

    def __init__(self, manifolds: Sequence[Any]) -> None:
        manifolds = tuple(manifolds)
        foreign = [x for x in manifolds if not isinstance(x, Manifold)]
        if foreign or not manifolds:
            what = f"holds {foreign[0]!r}" if foreign else "is empty"
            raise ValueError(f"manifolds {what}: it must be a sequence of manifolds of pymanopt")
        super().__init__(manifolds)

    dist = _of_all_parts("dist")
    euclidean_to_riemannian_gradient = _of_all_parts("euclidean_to_riemannian_gradient")
    euclidean_to_riemannian_hessian = _of_all_parts("euclidean_to_riemannian_hessian")
    exp = _of_all_parts("exp")
    inner_product = _of_all_parts("inner_product")
    log = _of_all_parts("log")
    norm = _of_all_parts("norm")
    pair_mean = _of_all_parts("pair_mean")
    projection = _of_all_parts("projection")
    random_tangent_vector = _of_all_parts("random_tangent_vector")
    retraction = _of_all_parts("retraction")
    to_tangent_space = _of_all_parts("to_tangent_space")
    transport = _of_all_parts("transport")
    zero_vector = _of_all_parts("zero_vector")

    def embedding(self, point: Sequence[Any], tangent_vector: Sequence[Any]) -> list[Any]:
        """Embed a tangent vector factor by factor."""
        for name, value in (("point", point), ("tangent_vector", tangent_vector)):
            _require_parts(name, value, len(self.manifolds))
        parts = zip(self.manifolds, point, tangent_vector, strict=True)
        return [manifold.embedding(x, z) for manifold, x, z in parts]
