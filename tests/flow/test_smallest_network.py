"""Flows of matrices as the smallest network over them: products alone, and each chain by itself."""

import numpy as np
import pytest

import dlngeom
from dlngeom import SVD, DeepLinearNetwork
from dlngeom._lib.ode.integrate import SolverOptions, integrate
from dlngeom._lib.ode.last_steps import LastSteps, hermite_weights
from dlngeom.dln import EndToEndGeometry, _flows
from dlngeom.flow import gradient_flow, network_flow
from tests.helpers import reference as ref
from tests.helpers.flows import LogCosh, Quadratic
from tests.helpers.parameters import slow

DECOMPOSITIONS = ["svd", "qr", "eigh", "svdvals"]


@pytest.mark.parametrize("depth", [2, 3, slow(8)])
@pytest.mark.parametrize("rank", [2, 3])
def test_the_right_hand_side_of_dense_matrices_has_no_decompositions(depth, rank, rng, monkeypatch):
    start = ref.dense_svd(ref.random_svd(4, 3, rank, rng))
    space, energy = EndToEndGeometry(4, 3, rank, depth), Quadratic(rng.standard_normal((4, 3)))
    run = gradient_flow(space, start, energy.gradient, [0, 0.1], observe={})
    equation = space.gradient_flow(start, energy.gradient)
    for name in DECOMPOSITIONS:
        monkeypatch.delattr(np.linalg, name)
    solution = integrate(equation.start, equation.rates, run.times, SolverOptions())
    ref.close(equation.point(solution.states[-1]), run.points[0, -1], 1e-13)


@pytest.mark.parametrize("depth", [2, 3, 5, 8, slow(9)])
@pytest.mark.parametrize("batch", [(), (3,)])
def test_all_coordinates_follow_one_flow(depth, batch, rng):
    """As the smallest network, by the cometric at each matrix, and as two thin factors."""
    point = ref.random_svd(4, 3, 3, rng, batch=batch)
    W, energy = dlngeom.dense(point), LogCosh(rng.standard_normal((4, 3)))

    def seen(W):
        return energy.gradient(W)

    equations = [
        _flows.matrix_flow(W, seen, depth, 3),
        _flows.dense_flow(W, seen, depth),
        _flows.singular_flow(point, seen, depth),
        _flows.factored_flow(point, seen, depth),
    ]
    times, options = np.array([0, 0.2 / depth]), SolverOptions(rtol=1e-11)
    chains = (*batch, 1)[0]
    ends = [
        dlngeom.network.end_to_end(
            e.point(integrate(e.start, e.rates, times, options, chains)[1][1])
        )
        for e in equations
    ]
    assert np.max(np.abs(ends[0] - W)) > 1e-3
    for end in ends[1:]:
        ref.close(end, ends[0], 1e-9)


def test_ranks_of_a_batch_are_kept_exactly(rng):
    """Layers of a matrix of lower rank have rows of zeros, and these stay."""
    W = np.stack([ref.dense_svd(ref.random_svd(3, 3, rank, rng)) for rank in (3, 2, 1)])
    W = np.concatenate([W, np.zeros((1, 3, 3))])
    energy = LogCosh(rng.standard_normal((3, 3)))
    run = gradient_flow(DeepLinearNetwork((3, 3, 3)), W, energy.gradient, [0, 0.5, 1])
    s = run.observed["singular_values"]
    for chain, rank in enumerate((3, 2, 1, 0)):
        assert np.all(s[chain, :, :rank] > 1e-3)
        assert np.all(s[chain, :, rank:] < 1e-15)


@pytest.mark.parametrize("ratio", [0.5, 1e-7])
@pytest.mark.parametrize("depth", [2, 3, 8])
def test_svds_that_energies_see_are_those_of_the_product(depth, ratio, rng):
    point = ref.random_svd(5, 4, 3, rng, ratio=ratio)
    layers = _flows._layers(point, depth)
    seen = _flows._network_svd(layers)
    ref.close(dlngeom.dense(seen), dlngeom.dense(point), 1e-13)
    ref.close(seen.s, point.s, 1e-12)
    for q in (seen.u, seen.vt.mT):
        ref.close(q.mT @ q, np.eye(3), 1e-10)


@pytest.mark.parametrize("kind", ["dense", "svd", "layers"])
def test_a_covector_is_checked_once_for_each_kind_of_it(kind, rng, monkeypatch):
    """And again where its shape changes on the way."""
    checked = []
    original = dlngeom.network._flow.checked_gradient
    monkeypatch.setattr(
        dlngeom.network._flow, "checked_gradient", lambda *a: checked.append(1) or original(*a)
    )
    W = ref.dense_svd(ref.random_svd(3, 3, 3, rng))
    calls = []

    def gradient(point):
        calls.append(1)
        W = dlngeom.dense(point) if isinstance(point, SVD) else point
        return W - 1 if len(calls) < 40 else np.ones((4, 3))

    def follow(t):
        if kind == "layers":
            return network_flow([W, np.eye(3)], gradient, t)
        start = dlngeom.svd(W) if kind == "svd" else W
        return gradient_flow(DeepLinearNetwork((3, 3, 3)), start, gradient, t)

    follow([0, 1e-3])
    assert len(calls) > 10
    assert len(checked) == 1
    with pytest.raises(ValueError, match=r"energy_gradient has shape \(4, 3\): it must be"):
        follow([0, 100])


@pytest.mark.parametrize("method", [None, "RK45", "RK23"])
def test_the_error_of_each_chain_is_its_own(method):
    """One chain moves among many at rest, whose errors would hide its own in a mean."""
    space, energy = DeepLinearNetwork((2, 2, 2)), Quadratic(np.eye(2))
    chains, t = 400, np.array([0.0, 3.0])
    W = np.repeat(np.eye(2)[None], chains, axis=0)
    W[0] = np.diag([1e-2, 2e-2])
    options = {"rtol": 1e-6} | ({} if method is None else {"method": method})
    together = gradient_flow(space, W, energy.gradient, t, **options).points[0, -1]
    alone = gradient_flow(space, W[0], energy.gradient, t, **options).points[0, -1]
    exact = gradient_flow(space, W[0], energy.gradient, t, rtol=1e-12).points[0, -1]
    error = np.max(np.abs(alone - exact))
    assert error > 1e-10
    # Steps are not the same, since the first one is that of all chains; a mean allows 1e-6 here.
    assert np.max(np.abs(together - exact)) < max(1.5 * error, 2e-7)


def test_weights_of_the_last_steps_are_exact_for_polynomials(rng):
    times = np.array([0.0, 0.4, 1.0, 1.1])
    p = np.polynomial.Polynomial(rng.standard_normal(8))
    weights = np.array(hermite_weights(times, 0.7)).reshape(4, 2)
    value = np.sum(weights[:, 0] * p(times) + weights[:, 1] * p.deriv()(times))
    assert value == pytest.approx(p(0.7), rel=1e-12)


def test_the_last_steps_tell_a_state_only_where_they_agree():
    class Solver:
        rtol, atol = 1e-8, 0.0

    def found(f, rate):
        steps = LastSteps(lambda x: float(np.max(np.abs(x))))
        for t in np.arange(5) * 0.1:
            if t < 0.35:
                assert steps.state(t, Solver) is None
            steps.add(t, np.array([f(t)]), np.array([rate(t)]))
        return steps.state(0.37, Solver)

    assert found(np.exp, np.exp)[0] == pytest.approx(np.exp(0.37), rel=1e-11)
    assert found(lambda t: np.exp(-30 * t), lambda t: -30 * np.exp(-30 * t)) is None
    assert found(lambda t: abs(t - 0.35), lambda t: np.sign(t - 0.35)) is None
