from itertools import pairwise

import numpy as np
import pytest

import dlngeom
from dlngeom import network, points
from dlngeom.points import _charts
from tests.helpers import reference as ref
from tests.helpers.namespaces import with_every_library
from tests.helpers.trees import leaves, pick

WIDTHS = [
    (4, 3),
    (3, 3, 3),
    (3, 3, 3, 3, 3, 3),
    (2, 3, 4, 5),
    (5, 4, 3, 2),
    (3, 5, 2, 4, 3),
    (1, 1, 1),
]
CHARTS = [
    (points.polar_chart, points.polar_coordinates),
    (points.left_polar_chart, points.left_polar_coordinates),
]


def deficient_layers(widths, rank, rng):
    """Unbalanced layers, every one of the same rank."""
    return tuple(ref.dense_svd(ref.random_svd(up, low, rank, rng)) for low, up in pairwise(widths))


def random_coordinates(widths, ranks, rng):
    """Coordinates with polar factors of given ranks, and the layers they must give."""
    layers = [rng.standard_normal((widths[1], widths[0]))]
    turns, invariants = [], []
    for low, up, rank in zip(widths[1:-1], widths[2:], ranks, strict=True):
        range_, image = ref.orthonormal(low, rank, rng), ref.orthonormal(up, rank, rng)
        mixing = ref.orthonormal(rank, rank, rng)
        spd = (mixing * ref.spectrum(rank, rng)) @ mixing.T
        turns.append(image @ range_.T)
        square = range_ @ spd @ spd @ range_.T
        invariants.append(layers[-1] @ layers[-1].T - square)
        layers.append(image @ spd @ range_.T)
    return (layers[0], tuple(turns), tuple(invariants)), layers


def mirror(layers):
    return tuple(x.mT for x in reversed(layers))


def mirrored_coordinates(first, turns, invariants):
    return first.mT, turns[::-1], tuple(-G for G in reversed(invariants))


def close_coordinates(actual, desired, tolerance=1e-12):
    ref.close(actual[0], desired[0], tolerance)
    assert (len(actual[1]), len(actual[2])) == (len(desired[1]), len(desired[2]))
    for x, y in zip(actual[1] + actual[2], desired[1] + desired[2], strict=True):
        assert x.shape == y.shape
        assert np.max(np.abs(x - y)) <= tolerance * max(1, np.max(np.abs(y)))


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize(("chart", "coordinates"), CHARTS)
@pytest.mark.parametrize("kind", ["unbalanced", "deficient", "zero layer", "balanced"])
def test_charts_invert_coordinates(widths, chart, coordinates, kind, rng):
    rank = max(1, min(widths) - 1)
    layers = {
        "unbalanced": lambda: ref.random_layers(widths, rng),
        "deficient": lambda: deficient_layers(widths, rank, rng),
        "zero layer": lambda: (*ref.random_layers(widths, rng)[:-1], np.zeros(widths[:-3:-1])),
        "balanced": lambda: ref.balanced_layers(ref.random_frames(widths, rank, rng)),
    }[kind]()
    end, turns, invariants = coordinates(layers)
    for G, literal in zip(invariants, network.invariants(layers), strict=True):
        np.testing.assert_allclose(G, literal, atol=1e-14 * len(G))
    ref.close_layers(chart(end, turns, invariants), layers, 1e-11)
    if kind == "balanced":
        ref.close_layers(chart(end, turns), layers, 1e-13)


@pytest.mark.parametrize(
    ("widths", "ranks"),
    [
        ((3, 3, 3, 3), (3, 3)),
        ((4, 2, 3, 5), (2, 3)),
        ((3, 5, 4, 2), (4, 2)),
        ((3, 3, 3, 3, 3, 3), (2, 1, 3, 2)),
        ((2, 4, 3, 4), (2, 3)),
        ((4, 3), ()),
    ],
)
def test_coordinates_invert_charts(widths, ranks, rng):
    point, layers = random_coordinates(widths, ranks, rng)
    got = points.polar_chart(*point)
    ref.close_layers(got, layers, 1e-12)
    close_coordinates(points.polar_coordinates(got), point)
    mirrored = mirrored_coordinates(*point)
    got = points.left_polar_chart(*mirrored)
    ref.close_layers(got, mirror(layers), 1e-12)
    close_coordinates(points.left_polar_coordinates(got), mirrored)


@pytest.mark.parametrize("widths", WIDTHS)
def test_turns_are_the_polar_factors_of_the_article(widths, rng):
    """(5.1)-(5.4): ``W_p = Q_p P_p = R_p U_p^T`` with ``U_p = Q_p^T``."""
    layers = ref.random_layers(widths, rng)
    _, right, _ = points.polar_coordinates(layers)
    _, left, _ = points.left_polar_coordinates(layers)
    for W, Q in zip(layers[1:], right, strict=True):
        ref.close(Q @ ref.power(W.T @ W, 0.5), W, 1e-12)
    for W, U in zip(layers[:-1], left, strict=True):
        ref.close(ref.power(W @ W.T, 0.5) @ U.T, W, 1e-12)
    for U, Q in zip(left[1:], right[:-1], strict=True):
        ref.close(U, Q.T, 1e-14)


@pytest.mark.parametrize("rank", [1, 2])
def test_turns_vanish_on_the_null_space(rank, rng):
    layers = deficient_layers((3, 4, 3, 3), rank, rng)
    for coordinates, turned in [
        (points.polar_coordinates, layers[1:]),
        (points.left_polar_coordinates, [W.T for W in layers[:-1]]),
    ]:
        for W, Q in zip(turned, coordinates(layers)[1], strict=True):
            ref.close(Q, W @ np.linalg.pinv(ref.power(W.T @ W, 0.5), rcond=1e-6), 1e-11)


@pytest.mark.parametrize("widths", [(3, 3, 3, 3), (2, 3, 4, 5)])
def test_charts_have_the_given_invariants(widths, rng):
    """(4.2) with negative definite invariants, where the chart is smooth."""
    turns = tuple(ref.orthonormal(up, low, rng) for low, up in pairwise(widths[1:]))
    roots = [rng.standard_normal((d, d)) for d in widths[1:-1]]
    invariants = tuple(-x @ x.T - np.eye(len(x)) for x in roots)
    point = (rng.standard_normal((widths[1], widths[0])), turns, invariants)
    layers = points.polar_chart(*point)
    assert [x.shape for x in layers] == [(up, low) for low, up in pairwise(widths)]
    for p, G in enumerate(invariants):
        ref.close(layers[p] @ layers[p].T - G, layers[p + 1].T @ layers[p + 1], 1e-13)
        ref.close(layers[p + 1], turns[p] @ ref.power(layers[p] @ layers[p].T - G, 0.5), 1e-13)
    close_coordinates(points.polar_coordinates(layers), point)
    mirrored = points.left_polar_chart(*mirrored_coordinates(*point))
    for p, G in enumerate(-G for G in reversed(invariants)):
        ref.close(mirrored[p] @ mirrored[p].T, mirrored[p + 1].T @ mirrored[p + 1] + G, 1e-13)
    ref.close_layers(mirrored, mirror(layers), 1e-15)


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_hyperbola(depth, rng):
    """(5.10): ``w_{p+1} = v_{p+1} sqrt(w_p^2 - g_p)``."""
    g = -rng.uniform(0.1, 1, depth - 1)
    v = rng.choice([-1.0, 1.0], depth - 1)
    w = [-0.7]
    for p in range(depth - 1):
        w.append(v[p] * np.sqrt(w[p] ** 2 - g[p]))
    matrices = [tuple(np.reshape(x, (-1, 1, 1))) for x in (v, g)]
    got = points.polar_chart(np.array([[w[0]]]), *matrices)
    np.testing.assert_allclose(np.ravel(got), w, rtol=1e-14)
    signs = tuple(np.sign([[x]]) for x in w[:-1])
    back = points.left_polar_chart(np.array([[w[-1]]]), signs, matrices[1])
    np.testing.assert_allclose(np.ravel(back), w, rtol=1e-13)


def recursion(first, Q, invariants):
    """(5.9) from a given ``P_1^2``: the right polar factors of all layers."""
    squares = [first]
    for turn, G in zip(Q, invariants, strict=True):
        squares.append(turn @ squares[-1] @ turn.T - G)
    return [ref.power(x, 0.5) for x in squares]


def test_recursion_starts_from_the_square(rng):
    """(5.9) is printed with ``P_1 = W_1^T W_1``; it must be ``P_1^2``."""
    layers = ref.random_layers((3, 3, 3, 3), rng)
    first, turns, invariants = points.polar_coordinates(layers)
    Q = [first @ np.linalg.inv(ref.power(first.T @ first, 0.5)), *turns[:-1]]
    right = [ref.power(W.T @ W, 0.5) for W in layers]
    ref.close_layers(recursion(first.T @ first, Q, invariants), right, 1e-11)
    printed = np.linalg.matrix_power(first.T @ first, 2)
    assert np.max(np.abs(ref.power(printed, 0.5) - right[0])) > 0.1


@pytest.mark.parametrize("widths", [(5, 4, 4, 4), (4, 4, 6, 5), (3, 5, 4, 3)])
def test_balanced_charts_do_not_square_the_condition_number(widths, rng):
    W = ref.dense_svd(ref.random_svd(widths[1], widths[0], 3, rng, ratio=1e-9))
    turns = []
    image = np.linalg.svd(W)[0][:, :3]
    for d in widths[2:]:
        turns.append(ref.orthonormal(d, 3, rng) @ image.T)
        image = turns[-1] @ image
    layers = points.polar_chart(W, turns)
    s = np.linalg.svd(W)[1][:3]
    for lower, upper in pairwise(layers):
        assert np.max(np.abs(lower @ lower.T - upper.T @ upper)) <= 1e-13
        np.testing.assert_allclose(np.linalg.svd(upper)[1][:3], s, atol=1e-14)
    given = points.polar_chart(W, turns, [np.zeros((d, d)) for d in widths[1:-1]])
    # The square of the layers hides what is smaller than the root of the rounding.
    ref.close_layers(given, layers, 1e-8)
    assert np.max(np.abs(given[1] - layers[1])) > 1e-12


def test_roots_of_rounding_errors_are_zero(rng):
    W = ref.dense_svd(ref.random_svd(4, 4, 1, rng))
    turns = [ref.orthonormal(4, 4, rng) for _ in range(2)]
    layers = points.polar_chart(W, turns, [np.zeros((4, 4))] * 2)
    ref.close_layers(layers, points.polar_chart(W, turns), 1e-14)
    for layer in layers:
        assert np.linalg.svd(layer)[1][1] <= 1e-14


@pytest.mark.parametrize("size", [1e-10, -1e-10])
def test_rounding_in_the_invariants_is_forgiven(size, rng):
    layers = deficient_layers((3, 3, 3), 2, rng)
    first, turns, (G,) = points.polar_coordinates(layers)
    ref.close_layers(points.polar_chart(first, turns, [G + size * np.eye(3)]), layers, 1e-9)


SQUARE = {
    "W_1": np.diag([2.0, 1.0, 0.5]),
    "turns": (np.eye(3), np.eye(3)),
    "invariants": (np.zeros((3, 3)), np.zeros((3, 3))),
}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"invariants": (np.zeros((3, 3)), np.diag([0, 1.5, 0]))},
            r"W_2 W_2\^T - G_2 has the eigenvalue -0\.5: .* all are >= 0, to 1e-08 relative",
        ),
        ({"invariants": (np.diag([0, 0, 0.25 + 1e-6]), np.zeros((3, 3)))}, "eigenvalue -1e-06"),
        ({"invariants": (np.eye(3, k=1), np.zeros((3, 3)))}, "G_1 is not symmetric: off by 1"),
        ({"invariants": (np.zeros((3, 3)), np.zeros((2, 2)))}, r"G_2 has shape \(2, 2\)"),
        ({"invariants": (np.zeros((3, 3)),)}, "1 invariants for 2 turns"),
        ({"turns": (np.eye(3), np.eye(3, 4))}, r"Q_3 has shape \(3, 4\): it must be \(..., 3, 3\)"),
        ({"turns": (np.eye(2, 3), np.eye(3, 2))}, r"has rank 3: Q_2 must have as many rows, not 2"),
        ({"turns": (np.diag([1, 1, 1.1]), np.eye(3))}, "Q_2 is not a partial isometry"),
        ({"turns": (np.eye(3), np.diag([1.0, 1, 0]))}, r"Q_3 does not keep .* loses up to 0.5"),
        ({"turns": (np.eye(3), np.full((3, 3), np.nan))}, r"Q_3\[0, 0\] is nan"),
        ({"turns": (np.eye(3, dtype=np.float32), np.eye(3))}, "layers and Q_2: dtypes"),
        ({"turns": (np.eye(3), np.eye(3)[None])}, "layers and Q_3 has batch shapes"),
        ({"W_1": np.ones(3)}, r"W_1 has shape \(3,\)"),
        ({"W_1": np.diag([1, np.inf, 1])}, r"W_1\[1, 1\] is inf"),
    ],
)
def test_the_chart_refuses_bad_input(changed, words):
    points.polar_chart(**SQUARE)
    with pytest.raises(ValueError, match=words):
        points.polar_chart(**(SQUARE | changed))


def test_the_left_chart_refuses_bad_input():
    eye, zero = np.eye(2), np.zeros((2, 2))
    with pytest.raises(ValueError, match=r"W_3\^T W_3 \+ G_2 has the eigenvalue -0\.5"):
        points.left_polar_chart(eye, [eye, eye], [zero, np.diag([-1.5, 0])])
    with pytest.raises(ValueError, match=r"W_2\^T W_2 \+ G_1 has rank 2: U_1 must have .* not 1"):
        points.left_polar_chart(eye, [np.ones((1, 2)), eye])
    with pytest.raises(ValueError, match=r"U_2 has shape \(2, 3\)"):
        points.left_polar_chart(eye, [eye, np.eye(2, 3)])
    with pytest.raises(ValueError, match=r"W_3 has shape \(2,\)"):
        points.left_polar_chart(np.ones(2), [eye, eye])
    with pytest.raises(ValueError, match="G_1 is not symmetric"):
        points.left_polar_chart(eye, [eye], [np.eye(2, k=1)])


def test_the_bad_network_of_a_batch_is_found(rng):
    W = np.stack([np.eye(2), 1e6 * np.eye(2)])
    G = np.stack([np.diag([0.0, 1.5]), np.diag([1.0, 1e12 * (1 + 1e-9)])])
    turn = np.stack([np.eye(2)] * 2)
    with pytest.raises(ValueError, match=r"eigenvalue -0\.5"):
        points.polar_chart(W, [turn], [G])
    points.polar_chart(W[1], [turn[1]], [G[1]])
    with pytest.raises(ValueError, match="W_2 W_1 is not defined"):
        points.polar_coordinates([np.eye(2), np.eye(3)])
    with pytest.raises(ValueError, match="W_2 W_1 is not defined"):
        points.left_polar_coordinates([np.eye(2), np.eye(3)])
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="arrays of one library"):
        points.polar_chart(W, [torch.eye(2)])


# Namespaces, dtypes, batches.

FUNCTIONS = {
    "polar_chart": lambda x: points.polar_chart(*x["right"]),
    "polar_chart balanced": lambda x: points.polar_chart(*x["right"][:2]),
    "left_polar_chart": lambda x: points.left_polar_chart(*x["left"]),
    "polar_coordinates": lambda x: points.polar_coordinates(x["layers"]),
    "left_polar_coordinates": lambda x: points.left_polar_coordinates(x["layers"]),
    "nearest_balanced": lambda x: dlngeom.factors(points.nearest_balanced(x["layers"])),
}


def inputs(rng, batch=()):
    layers = ref.random_layers((3, 3, 3, 3), rng, batch)
    return {
        "layers": layers,
        "right": points.polar_coordinates(layers),
        "left": points.left_polar_coordinates(layers),
    }


@pytest.mark.parametrize(("xp", "name"), with_every_library(FUNCTIONS), indirect=["xp"])
def test_charts_keep_the_library(name, xp, rng):
    given = inputs(rng)
    expected = FUNCTIONS[name](given)
    got = FUNCTIONS[name]({key: xp.array(value) for key, value in given.items()})
    ref.close_layers(leaves(xp.numpy(got)), leaves(expected), 1e-11)
    if xp.name == "jax":
        return
    single = FUNCTIONS[name]({key: xp.array(value, np.float32) for key, value in given.items()})
    assert xp.dtypes(single) == {"float32"}
    ref.close_layers(leaves(xp.numpy(single)), leaves(expected), 3e-4)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_batched_charts_equal_looped_ones(name, rng):
    given = inputs(rng, (2, 3))
    got = leaves(FUNCTIONS[name](given))
    for i in np.ndindex(2, 3):
        one = {key: pick(value, i) for key, value in given.items()}
        ref.close_layers([x[i] for x in got], leaves(FUNCTIONS[name](one)), 1e-12)


def test_public_names_of_the_charts():
    assert set(_charts.__all__) <= set(dir(_charts))
    assert all(getattr(_charts, name).__doc__ for name in _charts.__all__)
