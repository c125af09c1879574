"""Spaces, points and vectors that the tests of geodesics share."""

import numpy as np

from dlngeom import DeepLinearNetwork, InfinitelyDeepNetwork, endtoend
from dlngeom.dln import EndToEndGeometry
from tests.helpers import reference as ref
from tests.helpers.downstairs import shape, times

# Shape, rank, depth, options of the spectrum.
CASES = [
    ((4, 4), 4, 1, {}),
    ((5, 3), 3, 1, {}),
    ((5, 4), 2, 1, {"tie": True}),
    ((4, 4), 4, 2, {"tie": True}),
    ((5, 4), 2, 2, {}),
    ((3, 5), 3, 3, {}),
    ((4, 4), 3, 3, {"ratio": 1e-3}),
    ((3, 4), 1, 4, {}),
    ((5, 4), 2, 5, {}),
    ((3, 3), 3, 20, {}),
    ((4, 3), 2, 100, {"tie": True}),
    ((3, 3), 3, 100, {}),
    ((3, 3), 3, ref.INF, {}),
    ((3, 3), 3, ref.INF, {"tie": True}),
]

# Widths, rank, options of the spectrum.
NETWORKS = [
    ((3, 3), 3, {}),
    ((4, 3), 2, {}),
    ((3, 3, 3), 3, {"tie": True}),
    ((3, 4, 3), 2, {}),
    ((2, 4, 3, 4), 2, {"tie": True}),
    ((4, 2, 5, 3), 1, {}),
    ((3, 3, 4, 3, 3, 3), 3, {}),
]


def space_of(W, depth):
    m, n = shape(W)
    return InfinitelyDeepNetwork(m) if depth == ref.INF else EndToEndGeometry(m, n, len(W.s), depth)


def reach(W, depth):
    """Length up to which geodesics surely go on; at most a few units of infinite depth."""
    if depth == ref.INF:
        return 1.0
    return min(np.sqrt(depth) * W.s[-1] ** (1 / depth), 3 / np.sqrt(depth))


def vector(W, depth, rng, share=0.5):
    """Random tangent vector, as long as a share of the reach."""
    Z = ref.random_tangent(W, rng)
    return times(share * reach(W, depth) / np.sqrt(endtoend.inner(W, Z, Z, depth)), Z)


def network_and_vector(case, rng, share=0.5):
    """Network space, a point and a tangent vector as long as a share of the reach."""
    widths, rank, options = case
    space = DeepLinearNetwork(widths, rank)
    point = ref.random_frames(widths, rank, rng, **options)
    V = space.tangent_projection(point, ref.random_layers(widths, rng))
    return space, point, scaled(space, point, V, share)


def scaled(space, point, V, share):
    size = share * np.sqrt(space.depth) * point.lam[-1] / np.sqrt(ref.dot(V, V))
    return tuple(size * x for x in V)


def horizontal(space, point, rng, share=0.5):
    V = space.codifferential(point, rng.standard_normal((space.widths[-1], space.widths[0])))
    return scaled(space, point, V, share)
