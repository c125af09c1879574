"""Functions of callers cannot change what a run computes, whatever they do to their argument."""

import numpy as np
import pytest

import dlngeom
from dlngeom import DeepLinearNetwork
from dlngeom.flow import gradient_flow, network_flow
from dlngeom.langevin import network_langevin, riemannian_langevin
from dlngeom.quotients import Sphere

A = np.array([[2.0, 0.5], [0.0, 1.0]])


def in_place(W):
    W -= A
    return W


def tidy(W):
    return W - A


def energy_in_place(W):
    W -= A
    return 0.5 * np.sum(W * W, axis=(-2, -1))


def energy(W):
    return 0.5 * np.sum((W - A) ** 2, axis=(-2, -1))


def layers(depth):
    return [np.eye(2) + 0.1 * p for p in range(depth)]


def flow(depth, gradient, value, rank=2, upstairs=False):
    space = DeepLinearNetwork((2,) * (depth + 1), rank)
    start = space.random_point(0) if upstairs else dlngeom.dense(space.random_point(0))
    options = {"energy": value, "upstairs": upstairs}
    return gradient_flow(space, start, gradient, [0, 0.5, 1.0], **options).observed


def layered(depth, gradient, value):
    return network_flow(layers(depth), gradient, [0, 0.5, 1.0], energy=value).observed


WALK = {"beta": 4.0, "duration": 0.5, "n_steps": 5, "rng": 0}


def noisy(depth, gradient, value):
    run = network_langevin(layers(depth), energy_gradient=gradient, **WALK)
    return run.observed


def walked(depth, gradient, value, adjust=False, downstairs=False):
    space = DeepLinearNetwork((2,) * (depth + 1))
    point, options = space.random_point(0), {**WALK}
    if downstairs:
        space, point = space.base, dlngeom.dense(point)
    if adjust:
        options |= {"adjust": True, "energy": value}
    return riemannian_langevin(space, point, energy_gradient=gradient, **options).observed


RUNS = {
    "flow downstairs": flow,
    "flow of low rank": lambda *x: flow(*x, rank=1),
    "flow upstairs": lambda *x: flow(*x, upstairs=True),
    "flow of layers": layered,
    "noise on layers": noisy,
    "walk upstairs": walked,
    "walk downstairs": lambda *x: walked(*x, downstairs=True),
    "adjusted walk": lambda *x: walked(*x, adjust=True),
}


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("name", RUNS)
def test_gradients_and_energies_may_work_in_place(name, depth):
    if name == "walk downstairs" and depth == 1:
        depth = 3
    expected, found = (
        RUNS[name](depth, *pair) for pair in ((tidy, energy), (in_place, energy_in_place))
    )
    assert expected.keys() == found.keys()
    for key in ("end_to_end", *({"energy"} & expected.keys())):
        np.testing.assert_array_equal(found[key], expected[key])


def test_gradients_on_other_spaces_may_work_in_place():
    def doubled(r):
        r *= 2
        return r

    for upstairs in (True, False):
        start = np.array([1.0, 2.0]) if upstairs else Sphere(2).project(np.array([1.0, 2.0]))
        runs = [
            gradient_flow(Sphere(2), start, g, [0, 1.0], upstairs=upstairs, observe={}).points
            for g in (lambda r: 2 * r, doubled)
        ]
        np.testing.assert_array_equal(*runs)


def spoil(point):
    for x in point if isinstance(point, tuple) else (point,):
        if isinstance(x, tuple):
            spoil(x)
        else:
            x *= 0
    return np.zeros(1)


def watch(kind, space, point, given):
    if kind == "flow":
        gradient_flow(space, point, tidy, [0, 1.0], upstairs=True, observe={"x": spoil})
    elif kind == "layers":
        network_flow(given, tidy, [0, 1.0], observe={"x": spoil})
    elif kind == "walk":
        riemannian_langevin(space, point, observe={"x": spoil}, **WALK)
    else:
        network_flow(given, tidy, [0, 1.0], events=lambda t, x: spoil(x)[0])


@pytest.mark.parametrize("kind", ["flow", "layers", "walk", "event"])
def test_what_is_observed_cannot_be_changed(kind):
    space = DeepLinearNetwork((2, 2))
    point = space.random_point(0)
    before = [x.copy() for x in (point.lam, *point.q)]
    given = [x.copy() for x in layers(1)]
    with pytest.raises(ValueError, match="read-only"):
        watch(kind, space, point, given)
    for x, y in zip((point.lam, *point.q), before, strict=True):
        np.testing.assert_array_equal(x, y)
    np.testing.assert_array_equal(given[0], layers(1)[0])
