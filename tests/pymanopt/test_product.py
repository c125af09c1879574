"""Products of manifolds take one part for each factor."""

import inspect

import numpy as np
import pytest
from pymanopt.manifolds import Euclidean, Sphere
from pymanopt.manifolds.manifold import Manifold

from dlngeom.pymanopt import Balanced, EndToEnd, Product

# Number of points and vectors that a method takes, after the point.
METHODS = {
    "dist": 1, "embedding": 1, "euclidean_to_riemannian_gradient": 1,
    "euclidean_to_riemannian_hessian": 3, "exp": 1, "inner_product": 2, "log": 1, "norm": 1,
    "pair_mean": 1, "projection": 1, "random_tangent_vector": 0, "retraction": 1,
    "to_tangent_space": 1, "transport": 2, "zero_vector": 0,
}  # fmt: skip


@pytest.fixture
def product():
    return Product([Sphere(4), Euclidean(3)])


def test_no_method_is_left_out():
    own = {name for name in vars(Product) if not name.startswith("_")}
    taking = {
        name
        for name, method in inspect.getmembers(Manifold, inspect.isfunction)
        if not name.startswith("_") and "point" in "".join(inspect.signature(method).parameters)
    }
    assert own == set(METHODS)
    assert taking - {"random_point"} <= own


@pytest.mark.parametrize("change", [lambda x: x[:1], lambda x: [*x, x[0]], lambda x: None])
@pytest.mark.parametrize("name", METHODS)
def test_too_few_and_too_many_parts(product, name, change):
    point = product.random_point()
    vector = product.random_tangent_vector(point)
    points = {"dist", "log", "pair_mean"}
    rest = [point if name in points else vector] * METHODS[name]
    if name == "transport":
        rest = [point, vector]
    arguments, method = [point, *rest], getattr(product, name)
    method(*arguments)
    names = list(inspect.signature(method).parameters)
    for k, (key, value) in enumerate(zip(names, arguments, strict=True)):
        changed = [*arguments[:k], change(value), *arguments[k + 1 :]]
        with pytest.raises(ValueError, match=rf"{key} (has [13] parts|is a NoneType): it must"):
            method(*changed)
        with pytest.raises(ValueError, match=rf"{key} "):
            method(**dict(zip(names, changed, strict=True)))


@pytest.mark.parametrize("manifolds", [[], [3], [Sphere(3), None], ["x"]])
def test_factors_must_be_manifolds(manifolds):
    with pytest.raises(ValueError, match="it must be a sequence of manifolds"):
        Product(manifolds)


def test_values_are_those_of_the_factors():
    factors = [EndToEnd(4, 3, 2, 2, rng=0), Sphere(3)]
    product = Product(factors)
    x = product.random_point()
    z = product.random_tangent_vector(x)
    squares = [m.norm(y, v) ** 2 for m, y, v in zip(factors, x, z, strict=True)]
    assert product.norm(x, z) == pytest.approx(np.sqrt(sum(squares)))


@pytest.mark.parametrize(
    ("make", "keyword"),
    [
        (lambda **k: EndToEnd(4, 3, 2, 2, **k), "retract"),
        (lambda **k: Balanced((3, 3), **k), "rnk"),
        (lambda **k: Product([Sphere(3)], **k), "manifold"),
    ],
)
def test_misspelt_keywords_are_named(make, keyword):
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{keyword}'"):
        make(**{keyword: 1})
