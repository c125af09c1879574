"""Layers of torch models are points here, points here are layers of torch models."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

import dlngeom
from dlngeom import network
from dlngeom.torch import balance_, balanced_init_, factors, load_

WIDTHS = [(4, 4, 4, 4), (3, 5, 2), (2, 3)]


def build(widths, dtype=torch.float64, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    layers = [nn.Linear(low, high, bias=False, dtype=dtype) for low, high in pairwise(widths)]
    for layer in layers:
        nn.init.normal_(layer.weight, generator=generator)
    return nn.Sequential(*layers)


def values(model):
    return [layer.weight.detach().clone() for layer in model]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("widths", WIDTHS)
def test_the_product_of_the_layers_is_the_model(widths, dtype):
    model = build(widths, dtype)
    x = torch.ones(widths[0], dtype=dtype)
    W = network.end_to_end(factors(model))
    torch.testing.assert_close(W @ x, model(x))
    assert W.dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_round_trips_are_exact(dtype):
    model = build((3, 5, 2), dtype)
    before = values(model)
    layers = factors(model)
    assert load_(model, layers) is model
    assert all(torch.equal(x, y) for x, y in zip(before, values(model), strict=True))
    other = build((3, 5, 2), dtype, seed=1)
    load_(other, tuple(W.numpy() for W in layers))
    assert all(torch.equal(x, y) for x, y in zip(layers, factors(other), strict=True))


def test_factors_are_copies():
    model = build((2, 2, 2))
    layers = factors(model)
    layers[0][:] = 0
    assert not any(W.requires_grad for W in layers)
    assert torch.all(model[0].weight != 0)


def test_sequences_of_any_kind():
    model = build((3, 4, 5, 2))
    nested = nn.Sequential(nn.Sequential(model[0], model[1]), model[2])
    for same in (nested, list(model), iter(model), nn.ModuleList(model)):
        found = factors(same)
        assert all(torch.equal(x, y) for x, y in zip(found, factors(model), strict=True))
    assert factors(model[0])[0].shape == (4, 3)
    load_(iter(model), [2 * W for W in values(model)])
    assert isinstance(balanced_init_(iter(model), scale=1, rng=0), list)


def test_layers_may_be_views_of_the_model():
    model = build((3, 3, 3))
    first, second = values(model)
    load_(model, [model[1].weight, model[0].weight])
    assert torch.equal(model[0].weight, second)
    assert torch.equal(model[1].weight, first)


class Scaled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def parametrized():
    model = build((3, 3, 3))
    nn.utils.parametrizations.orthogonal(model[1])
    return model


def shared():
    layer = nn.Linear(3, 3, bias=False)
    return nn.Sequential(layer, nn.Linear(3, 3, bias=False), layer)


FAULTS = {
    "bias": (lambda: nn.Sequential(nn.Linear(3, 2)), r"layer 1 has a bias.*bias=False"),
    "relu": (lambda: nn.Sequential(*build((3, 3)), nn.ReLU()), "layer 2 is of type ReLU"),
    "own": (lambda: [Scaled(3, 3, bias=False)], "layer 1 is of type Scaled"),
    "no sequence": (lambda: nn.Bilinear(2, 2, 2), "type Bilinear, which is no sequence"),
    "number": (lambda: 3, "type int, which is no sequence"),
    "empty": (lambda: nn.Sequential(), "has no layers"),
    "parametrized": (parametrized, "layer 2 is computed from other parameters"),
    "shared": (shared, "layers 1 and 3 share one weight"),
    "lazy": (lambda: [nn.LazyLinear(3, bias=False)], "layer 1 is lazy"),
    "widths": (lambda: [*build((3, 4)), *build((3, 2))], "W_2 W_1 is not defined"),
    "half": (lambda: build((3, 2), torch.bfloat16), "bfloat16"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    "function",
    [
        factors,
        balance_,
        lambda model: balanced_init_(model, scale=1, rng=0),
        dlngeom.torch.Recorder,
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_what_is_no_deep_linear_network_is_refused(function, fault):
    make, message = FAULTS[fault]
    with pytest.raises((ValueError, TypeError), match=message):
        function(make())


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([np.ones((2, 5)), np.ones((5, 3))], "W_2 W_1 is not defined"),
        ([np.ones((4, 3)), np.ones((2, 4))], "those of the model"),
        ([np.ones((5, 3))], "those of the model"),
        ([np.ones((5, 3)), np.full((2, 5), np.nan)], "W_2"),
        ([np.ones((7, 5, 3)), np.ones((7, 2, 5))], "those of the model"),
    ],
)
def test_layers_of_another_model_leave_it_unchanged(layers, message):
    model = build((3, 5, 2))
    before = values(model)
    with pytest.raises(ValueError, match=message):
        load_(model, layers)
    assert all(torch.equal(x, y) for x, y in zip(before, values(model), strict=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("widths", "rank"), [((4, 4, 4), None), ((3, 5, 2), None), ((4, 3, 5), 2)])
def test_balanced_starts(widths, rank, dtype):
    model = balanced_init_(build(widths, dtype), scale=0.5, rank=rank, rng=0)
    r = rank or min(widths)
    point = dlngeom.frames(factors(model), r)
    expected = torch.full((r,), 0.5, dtype=dtype)
    torch.testing.assert_close(point.lam, expected)
    again = balanced_init_(build(widths, dtype), scale=0.5, rank=rank, rng=0)
    assert all(torch.equal(x, y) for x, y in zip(values(model), values(again), strict=True))
    # Frames are uniform, not those of the coordinates.
    assert torch.all(model[0].weight != 0)


def test_balanced_starts_do_not_read_what_was_there():
    model = build((3, 3))
    with torch.no_grad():
        model[0].weight.fill_(torch.nan)
    balanced_init_(model, scale=2, rng=0)
    assert torch.all(torch.isfinite(model[0].weight))


@pytest.mark.parametrize(
    "options", [{"scale": 0, "rng": 0}, {"scale": 1, "rank": 4, "rng": 0}, {"scale": 1, "rng": "a"}]
)
def test_starts_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=r"scale|rank|rng"):
        balanced_init_(build((3, 3)), **options)


@pytest.mark.parametrize(("dtype", "tol"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("widths", WIDTHS)
def test_balancing_keeps_the_map(widths, dtype, tol):
    model = build(widths, dtype)
    before = network.end_to_end(factors(model))
    assert balance_(model) is model
    after = factors(model)
    torch.testing.assert_close(network.end_to_end(after), before, rtol=tol, atol=tol)
    size = max(float(torch.sum(W * W)) for W in after)
    assert all(float(torch.max(torch.abs(G))) <= 10 * tol * size for G in network.invariants(after))
    nearest = dlngeom.factors(dlngeom.nearest_balanced(factors(build(widths, dtype))))
    assert all(torch.equal(x, y) for x, y in zip(after, nearest, strict=True))


def test_balancing_a_product_of_lower_rank_needs_the_rank():
    model = balanced_init_(build((4, 4, 4)), scale=1, rank=2, rng=0)
    with pytest.raises(ValueError, match="rank"):
        balance_(model)
    before = network.end_to_end(factors(model))
    balance_(model, rank=2)
    torch.testing.assert_close(network.end_to_end(factors(model)), before)


def test_unbalanced_layers_name_the_cure():
    with pytest.raises(ValueError, match="nearest_balanced"):
        dlngeom.frames(factors(build((3, 3, 3))))


def test_without_torch_the_message_says_what_to_install():
    script = "import sys; sys.modules['torch'] = None; import dlngeom; dlngeom.torch"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert last == "ImportError: dlngeom.torch needs torch: pip install 'dlngeom[torch]'"
