"""Keywords and arguments of flows that are misspelt, swapped or too large: one clear error."""

import numpy as np
import pytest
from scipy.integrate import DOP853

import dlngeom
from dlngeom import DeepLinearNetwork
from dlngeom.flow import gradient_flow, network_flow
from tests.helpers.parameters import crossed

SPACE = DeepLinearNetwork((2, 2, 2))
START = np.diag([2.0, 1.0])
LAYERS = [np.diag([2.0, 1.0]), np.eye(2)]


def force(W):
    return W - np.eye(2)


def down(gradient=force, t=(0, 0.1), **options):
    return gradient_flow(SPACE, START, gradient, t, **options)


def up(gradient=force, t=(0, 0.1), **options):
    start = dlngeom.frames([START**0.5, START**0.5])
    return gradient_flow(SPACE, start, gradient, t, upstairs=True, **options)


def layers(gradient=force, t=(0, 0.1), **options):
    return network_flow(LAYERS, gradient, t, **options)


FLOWS = [down, up, layers]

MISSPELT = {
    "rto": "rtol",
    "aotl": "atol",
    "reltol": "rtol",
    "max_evaluation": "max_evaluations",
    "event": "events",
    "dense": "dense_output",
    "maxstep": "max_step",
    "observed": "observe",
}


@pytest.mark.parametrize(("flow", "name"), crossed(FLOWS, list(MISSPELT)))
def test_a_misspelt_keyword_names_the_nearest_one(flow, name):
    with pytest.raises(TypeError, match=rf"^{name}=7: .* did you mean {MISSPELT[name]}\?$"):
        flow(**{name: 7})


def test_a_keyword_like_no_other_lists_the_options():
    with pytest.raises(TypeError, match=r"^zzz=7: there is no such option, those of DOP853 are .*"):
        down(zzz=7)


def test_an_option_of_another_method_names_those_methods():
    with pytest.raises(TypeError, match=r"lband=1: DOP853 has no such option, LSODA have"):
        down(lband=1)
    with pytest.raises(TypeError, match=r"RK23 has no such option, Radau and BDF have"):
        down(method="RK23", jac_sparsity=None)


@pytest.mark.parametrize(
    "options",
    [
        {"max_step": 0.01},
        {"rtol": 1e-3, "first_step": 0.01},
        {"method": "LSODA", "min_step": 1e-9, "lband": 3, "uband": 3},
        {"method": "BDF", "jac_sparsity": None},
        {"method": DOP853, "max_step": 0.01},
    ],
)
def test_options_of_the_method_pass(options):
    np.testing.assert_allclose(down(**options).points, down().points, rtol=2e-3, atol=2e-3)


def test_methods_of_other_authors_keep_their_options():
    seen = []

    class Mine(DOP853):
        def __init__(self, *arguments, knob=None, **options):
            seen.append(knob)
            super().__init__(*arguments, **options)

    down(method=Mine, knob=3)
    assert seen == [3]


@pytest.mark.parametrize("flow", FLOWS)
def test_arguments_in_the_wrong_order(flow):
    with pytest.raises(TypeError, match="energy_gradient and t are swapped: the callable comes"):
        flow([0, 0.1], force)
    with pytest.raises(TypeError, match="energy_gradient is of type ndarray: it must be a functio"):
        flow(START)
    with pytest.raises(TypeError, match="t is a function: it must be increasing times"):
        flow(force, force)


@pytest.mark.parametrize("flow", FLOWS)
def test_a_trajectory_that_does_not_fit_into_memory(flow, monkeypatch):
    """Refused before the run, with the size it needs and the size there is."""
    monkeypatch.setattr("dlngeom._lib.memory.available", lambda: 2.0**20)
    with pytest.raises(ValueError, match=r"100000 saved times need .* GiB, and there are 0.0009"):
        flow(t=np.linspace(0, 1, 100_000))
    assert flow(t=np.linspace(0, 1e-3, 3)).times.shape == (3,)


def test_what_is_observed_counts_too(monkeypatch):
    monkeypatch.setattr("dlngeom._lib.memory.available", lambda: 2.0**23)
    t = np.linspace(0, 1e-3, 500)
    down(t=t)
    with pytest.raises(ValueError, match=r"500 saved times need .* GiB"):
        down(t=t, observe={"large": lambda W: np.zeros((1, 10_000))})
