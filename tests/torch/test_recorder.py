"""Training is Euler's method for the gradient flow, and its record has the time of the flow."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from dlngeom import DeepLinearNetwork, frames, network
from dlngeom.flow import gradient_flow, network_flow
from dlngeom.torch import Recorder, balanced_init_, factors
from tests.helpers.parameters import slow
from tests.helpers.reference import slope

WIDTHS = (4, 4, 4, 4)


def build(widths=WIDTHS, dtype=torch.float64):
    pairs = pairwise(widths)
    return nn.Sequential(*(nn.Linear(a, b, bias=False, dtype=dtype) for a, b in pairs))


def target(m=4, n=4):
    Y = np.random.default_rng(1).standard_normal((m, n))
    return Y / np.linalg.norm(Y)


def train(model, Y, lr, n_steps, recorder, **options):
    """Full-batch descent on whitened inputs."""
    x = torch.eye(Y.shape[1], dtype=model[0].weight.dtype)
    y = torch.as_tensor(Y.T, dtype=x.dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, **options)
    for _ in range(n_steps):
        optimizer.zero_grad()
        (torch.sum((model(x) - y) ** 2) / 2).backward()
        optimizer.step()
        recorder.step(optimizer)
    return recorder.trajectory()


def deviation(lr, time=2.0, dtype=torch.float64, **options):
    """Largest relative distance of training from the flow, over ten draws."""
    Y, model = target(), balanced_init_(build(dtype=dtype), scale=0.5, rng=0)
    start = network.end_to_end(factors(model)).double().numpy()
    n_steps = round(time / lr)
    run = train(model, Y, lr, n_steps, Recorder(model, every=n_steps // 10), **options)
    flow = gradient_flow(DeepLinearNetwork(WIDTHS), start, lambda W: W - Y, run.times)
    exact = flow.points[0]
    found = run.observed["end_to_end"][0]
    assert found.shape == (11, 4, 4)
    return np.max(np.linalg.norm(found - exact, axis=(1, 2)) / np.linalg.norm(exact, axis=(1, 2)))


def test_descent_follows_the_flow():
    assert deviation(1e-3) < 5e-4


@pytest.mark.slow
def test_descent_follows_the_flow_in_single_precision():
    assert deviation(1e-3, dtype=torch.float32) < 6e-4


def test_descent_is_of_first_order_in_the_learning_rate():
    rates = np.array([8e-3, 4e-3, 2e-3])
    order = slope(rates, [deviation(rate) for rate in rates])
    assert abs(order - 1) < 0.1


MOMENTA = [
    {"momentum": 0.8},
    slow({"momentum": 0.8, "nesterov": True}),
    slow({"momentum": 0.8, "dampening": 0.5}),
]


@pytest.mark.parametrize("options", MOMENTA)
def test_momentum_makes_time_run_faster_and_lags(options):
    """The lag is of first order; a wrong factor would not vanish with the rate."""
    rates = np.array([1e-3, 5e-4])
    gaps = [deviation(rate, 0.1, **options) for rate in rates]
    assert gaps[-1] < 2e-2
    assert abs(slope(rates, gaps) - 1) < 0.15


def test_time_with_momentum():
    model, mu, n_steps = build(), 0.9, 5
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=mu)
    recorder = Recorder(model)
    for _ in range(n_steps):
        recorder.step(optimizer)
    np.testing.assert_allclose(recorder.trajectory().times, 0.1 / (1 - mu) * np.arange(6))
    with pytest.raises(ValueError, match="momentum=1"):
        recorder.step(torch.optim.SGD(model.parameters(), lr=0.1, momentum=1.0))
    groups = [{"params": [W], "momentum": 0.1 * k} for k, W in enumerate(model.parameters())]
    with pytest.raises(ValueError, match="momenta"):
        recorder.step(torch.optim.SGD(groups, lr=0.1))


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.RMSprop])
def test_optimizers_of_another_flow_warn_once(kind, recwarn):
    recorder = Recorder(model := build())
    optimizer = kind(model.parameters(), lr=0.1)
    with pytest.warns(UserWarning, match=f"{kind.__name__} does not follow") as caught:
        recorder.step(optimizer)
    assert caught[0].filename == __file__
    recorder.step(optimizer)
    assert not recwarn
    np.testing.assert_allclose(recorder.trajectory().times, [0, 0.1, 0.2])


def test_what_is_recorded():
    Y, model = target(2, 3), build((3, 4, 2))
    start = tuple(W.numpy() for W in factors(model))
    recorder = Recorder(model, every=2, energy=lambda W: np.sum((W - Y) ** 2) / 2)
    run = train(model, Y, 1e-3, 7, recorder)
    np.testing.assert_allclose(run.times, [0, 2e-3, 4e-3, 6e-3], rtol=1e-12)
    assert [x.shape for x in run.points] == [(1, 4, 4, 3), (1, 4, 2, 4)]
    assert all(np.array_equal(x[0, 0], y) for x, y in zip(run.points, start, strict=True))
    flow = network_flow(start, lambda W: W - Y, run.times, energy=recorder_energy(Y))
    assert run.observed.keys() == flow.observed.keys()
    for name, found in run.observed.items():
        expected = flow.observed[name]
        if name == "invariants":
            found, expected = found[0], expected[0]
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-3)
    assert set(run.to_xarray().coords) >= {"time"}


def recorder_energy(Y):
    return lambda W: np.sum((W - Y) ** 2, axis=(-2, -1)) / 2


def test_own_observables_replace_the_usual_ones():
    recorder = Recorder(build(), observe={"norm": lambda layers: np.sum(layers[0] ** 2, (1, 2))})
    assert recorder.trajectory().observed["norm"].shape == (1, 1)
    assert Recorder(build(), observe={}).trajectory().observed == {}


def test_time_is_the_sum_of_learning_rates():
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    recorder = Recorder(model)
    for _ in range(3):
        optimizer.step()
        recorder.step(optimizer)
        schedule.step()
    recorder.step(0.5)
    np.testing.assert_allclose(recorder.trajectory().times, [0, 0.1, 0.15, 0.175, 0.675])


def test_rates_that_give_no_time_are_refused():
    model = build()
    groups = [{"params": [W], "lr": 0.1 * k} for k, W in enumerate(model.parameters(), start=1)]
    recorder = Recorder(model)
    with pytest.raises(ValueError, match="learning rates"):
        recorder.step(torch.optim.SGD(groups))
    with pytest.raises(ValueError, match="none of the layers"):
        recorder.step(torch.optim.SGD(build().parameters(), lr=1))
    with pytest.raises(ValueError, match="lr"):
        recorder.step(-1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every"),
        ({"observe": 3}, "observe"),
        ({"observe": {"x": 3}}, "observe.'x'."),
        ({"observe": {"x": lambda layers: layers[0][0]}}, "observe.'x'."),
        ({"energy": 3}, "energy"),
        ({"energy": lambda W: W}, "energy"),
    ],
)
def test_faults_of_the_caller_are_named_at_once(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Recorder(build(), **options)


def test_a_run_that_diverges_is_named_and_what_was_recorded_stays():
    model = build()
    recorder = Recorder(model)
    with torch.no_grad():
        model[1].weight.fill_(torch.inf)
    with pytest.raises(ValueError, match="W_2"):
        recorder.step(1.0)
    assert len(recorder.trajectory().times) == 1


def test_the_record_is_of_balanced_layers_if_the_start_is():
    model = balanced_init_(build(), scale=0.5, rng=0)
    run = train(model, target(), 1e-3, 10, Recorder(model, every=10))
    frames(tuple(x[0, 0] for x in run.points))
    assert max(np.max(np.abs(G)) for G in run.observed["invariants"]) < 1e-5


def test_flows_of_unbalanced_layers_are_named():
    layers = [np.eye(4), 2 * np.eye(4), np.eye(4)]
    with pytest.raises(ValueError, match=r"not balanced.*network_flow.*network_langevin"):
        gradient_flow(DeepLinearNetwork(WIDTHS), layers, lambda W: W, [0, 1], upstairs=True)
