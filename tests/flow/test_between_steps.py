"""What a flow saves, interpolates or hands to events between its steps is as accurate as they are.

Diagonal starts of equal entries reduce the flow to one scalar equation for each singular value,
``sigma' = N sigma^(2-2/N) (s - sigma)``, and ``sigma^2 (s - sigma)`` for infinite depth.
"""

import math
from itertools import product

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from dlngeom import DeepLinearNetwork, InfinitelyDeepNetwork
from dlngeom.flow import gradient_flow
from tests.helpers.parameters import slow

TARGET = np.array([5, 3, 1.5])
# Start and end for each depth: a wait near zero, the rise, and a long rest at the target.
RUNS = {1: (1e-3, 8), 2: (1e-3, 8), 3: (1e-2, 8), 5: (5e-2, 20), math.inf: (5e-2, 40)}


def exact(depth, t):
    start, _ = RUNS[depth]

    def rates(_, sigma):
        power = sigma**2 if depth == math.inf else depth * sigma ** (2 - 2 / depth)
        return power * (TARGET - sigma)

    steps = {"rtol": 1e-13, "atol": 1e-16, "max_step": t[-1] / 200}
    return solve_ivp(rates, (0, t[-1]), np.full(3, start), "DOP853", t, **steps).y.T


def saved(depth, t, rtol, **options):
    """Singular values along the flow, and what interpolates them."""
    space = InfinitelyDeepNetwork(3) if depth == math.inf else DeepLinearNetwork((3,) * (depth + 1))
    start = RUNS[depth][0] * np.eye(3)
    run = gradient_flow(space, start, lambda W: W - np.diag(TARGET), t, rtol=rtol, **options)
    return np.diagonal(run.points[0], axis1=-2, axis2=-1), run


def errors(depth, rtol, draws=81, **options):
    """Largest errors over all saved times, and of integrating straight to some of them."""
    t = np.linspace(0, RUNS[depth][1], draws)
    truth = exact(depth, t)
    found = np.max(np.abs(saved(depth, t, rtol, **options)[0] - truth), axis=1)
    # The errors of multistep methods peak in the rise, straight or not.
    some = {int(np.argmax(found)), *np.linspace(1, draws - 1, 4).astype(int).tolist()}
    straight = [
        np.max(np.abs(saved(depth, t[[0, k]], rtol, **options)[0][-1] - truth[k])) for k in some
    ]
    return np.max(found), max(straight)


def check(depth, tolerances, **options):
    found = []
    for rtol in tolerances:
        error, straight = errors(depth, rtol, **options)
        assert error <= 20 * max(straight, rtol * TARGET[0]), rtol
        # Errors far below the tolerance need not follow it.
        found.append(max(error, 1e-2 * rtol * TARGET[0]))
    slope = np.polyfit(np.log(tolerances), np.log(found), 1)[0]
    assert slope >= 0.8, found


def test_saved_points_are_as_accurate_as_steps():
    check(2, [1e-4, 1e-6, 1e-8], draws=21)


# Each method with the exponents of its tolerances; tighter ones take minutes.
METHODS = {
    None: (3, 4, 6, 8, 10),
    "DOP853": (3, 5),
    "RK45": (3, 5, 7),
    "RK23": (3, 5, 7),
    "Radau": (3, 5, 7),
    "BDF": (3, 5, 7),
    "LSODA": (3, 5, 7, 10),
}
# Infinite depth takes most of the time: the default, an implicit method, and one that switches.
AT_INFINITY = (None, "Radau", "LSODA")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("depth", "method"),
    [(n, x) for n, x in product(RUNS, METHODS) if n < math.inf or x in AT_INFINITY],
)
def test_every_method_is_as_accurate_between_its_steps(depth, method):
    tolerances = [10.0**-k for k in METHODS[method]]
    check(depth, tolerances, draws=21, **({} if method is None else {"method": method}))


@pytest.mark.parametrize("rtol", [1e-4, 1e-6, 1e-8])
def test_a_sharp_rise_is_not_stepped_over(rtol):
    """The estimate of high order believes a step across the rise that is off by a hundredth."""
    t = np.linspace(0, 0.6, 13)
    for method in ({}, {"method": "DOP853"}):
        values, _ = saved(5, t, rtol, **method)
        assert np.max(np.abs(values - exact(5, t))) < 20 * rtol * TARGET[0]


def test_a_flow_at_rest_stays_there():
    values, _ = saved(2, np.linspace(0, 8, 81), 1e-6)
    assert np.max(np.abs(values[75:, 0] - exact(2, np.linspace(0, 8, 81))[75:, 0])) < 1e-5


def test_the_energy_never_rises():
    t = np.linspace(0, 8, 81)
    energy = {"energy": lambda W: np.sum((W - np.diag(TARGET)) ** 2, axis=(-2, -1)) / 2}
    run = saved(2, t, 1e-6, observe=energy)[1]
    assert np.max(np.diff(run.observed["energy"][0])) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("method", ["DOP853", "RK45"])
def test_many_saved_points_within_a_step(method):
    """A thousand times are read off polynomials through some states of each step."""
    error, straight = errors(3, 1e-6, draws=1001, method=method)
    assert error <= 20 * max(straight, 1e-6 * TARGET[0])


@pytest.mark.parametrize(
    ("depth", "method"), [(2, None), *(slow(3, method) for method in METHODS), slow(5, None)]
)
def test_dense_output_is_as_accurate_as_steps(depth, method):
    end, options = RUNS[depth][1], {} if method is None else {"method": method}
    t = np.linspace(0, end, 201)
    run = saved(depth, np.array([0.0, end]), 1e-6, dense_output=True, **options)[1]
    values = np.array([np.diag(run.at(x)[0]) for x in t])
    _, straight = errors(depth, 1e-6, draws=21, **options)
    assert np.max(np.abs(values - exact(depth, t))) <= 20 * max(straight, 1e-6 * TARGET[0])


@pytest.mark.parametrize("method", [None, *(slow(method) for method in METHODS if method)])
def test_events_happen_where_the_flow_is(method):
    def half(t, W):
        return W[0, 0, 0] - 2.5

    options = {} if method is None else {"method": method}
    (times, points), *_ = saved(2, np.array([0.0, 8.0]), 1e-8, events=half, **options)[1].events
    when = np.log((2.5 / 2.5) / (1e-3 / (5 - 1e-3))) / 10
    np.testing.assert_allclose(times, [when], rtol=1e-6)
    np.testing.assert_allclose(points[0, 0, 0, 0], 2.5, rtol=1e-8)


def test_points_do_not_depend_on_what_else_is_saved():
    t = np.linspace(0, 8, 81)
    many = saved(2, t, 1e-6)[0]
    few = saved(2, t[[0, 11, 80]], 1e-6)[0]
    np.testing.assert_array_equal(many[[0, 11, 80]], few)
