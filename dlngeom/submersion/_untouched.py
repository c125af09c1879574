"""Methods of a space may not change the arrays that they are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dlngeom._lib.arrays import Array, constant, to_numpy
from dlngeom._lib.vectors import Point, Vector, copied, from_coordinates, parts
from dlngeom._lib.vectors import coordinates as flat
from dlngeom.submersion._given import named
from dlngeom.submersion._offers import HasEmbedding, HasInverseCometric
from dlngeom.submersion._spaces import base_point

__all__ = ["require_untouched"]

_Call = tuple[str, Callable[..., Any], dict[str, Any]]


def require_untouched(space: Any, point: Point, rng: np.random.Generator) -> None:
    """Require that no method changes its arguments, for one point and for two.

    Raises
    ------
    ValueError
        If one does; it names the first, whose changes would spoil what others compute.
    """
    for batch in (0, 1):
        x = space.random_point(rng, (2,)) if batch else point
        for name, method, arguments in _calls(space, x, rng, batch):
            given = copied(tuple(arguments.values()))
            try:
                method(*given)
            except NotImplementedError:
                continue
            for argument, value, before in zip(arguments, given, arguments.values(), strict=True):
                if not _same(value, before):
                    raise ValueError(
                        f"{named(space)} is no Riemannian submersion: {name} changes its argument "
                        f"{argument} in place, it must return new arrays"
                    )


def _calls(space: Any, x: Point, rng: np.random.Generator, batch: int) -> Iterator[_Call]:
    """Methods with good arguments, those first whose results are the arguments of others."""
    at = {"point": x}
    yield "project", space.project, at
    below = {"point": base_point(space, copied(x))}
    yield from _of_positions(space, x, below)
    position = space.embedding(copied(x)) if isinstance(space, HasEmbedding) else x
    value = space.project(copied(x))
    vector, covector = _random(rng, position, batch), _random(rng, value, batch)
    ambient, along = at | {"vector": vector}, at | {"covector": covector}
    yield "tangent_projection", space.tangent_projection, ambient
    tangent = at | {"vector": space.tangent_projection(copied(x), copied(vector))}
    yield "vertical_projection", space.vertical_projection, ambient
    yield "codifferential", space.codifferential, along
    yield "differential", space.differential, tangent
    for order in (1, 2):
        yield "retraction", lambda *a, n=order: space.retraction(*a, order=n), tangent
    lifted = space.codifferential(copied(x), copied(covector))
    pushed = space.differential(copied(x), lifted)
    yield from _downstairs(space.base, below, covector, pushed)


def _of_positions(space: Any, x: Point, below: dict[str, Any]) -> Iterator[_Call]:
    if isinstance(space, HasEmbedding):
        yield "embedding", space.embedding, {"point": x}
    yield "log_orbit_volume", space.log_orbit_volume, below
    yield "orbit_point", lambda point: space.orbit_point(point, 0), below


def _downstairs(
    base: Any, below: dict[str, Any], covector: Vector, vector: Vector
) -> Iterator[_Call]:
    yield "cometric of the base", base.cometric, below | {"covector": covector}
    if isinstance(base, HasInverseCometric):
        yield "inverse_cometric of the base", base.inverse_cometric, below | {"vector": vector}
    yield "inner of the base", base.inner, below | {"first": vector, "second": vector}
    for order in (1, 2):
        call = lambda *a, n=order: base.retraction(*a, order=n)  # noqa: E731
        yield "retraction of the base", call, below | {"vector": vector}


def _random(rng: np.random.Generator, like: Vector, batch: int) -> Vector:
    """Short Gaussian vector with the shapes of ``like``."""
    values = flat(like, batch)
    noise = constant(0.1 * rng.standard_normal(values.shape), values)
    return from_coordinates(noise, like, batch)


def _same(value: Vector, before: Vector) -> bool:
    pairs = zip(parts(value), parts(before), strict=True)
    return all(np.array_equal(_bits(x), _bits(y)) for x, y in pairs)


def _bits(x: Array) -> np.ndarray:
    return np.ascontiguousarray(to_numpy(x)).reshape(-1).view(np.uint8)
