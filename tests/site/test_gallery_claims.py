"""Pages of the gallery about other networks: what their texts say holds at small sizes."""

import importlib.util
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy import stats

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def page(monkeypatch):
    spec = importlib.util.spec_from_file_location("draw", DOCS / "draw.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(plt, "show", lambda: None)
    yield module.draw
    plt.close("all")


@pytest.mark.slow
def test_training_of_a_torch_network(page):
    pytest.importorskip("torch")
    at = page("torch_training", RATES=(0.04, 0.02), TIME=8.0, LONG=90.0, CHAINS=512)
    # First order in the rate, and torch's default is far from the flow of balanced layers.
    assert np.log2(at["off"][0] / at["off"][1]) == pytest.approx(1, abs=0.1)
    assert 10 * at["own"] < at["near"]
    assert at["gauge"] < 1e-14
    for depth, (sgd, rle) in at["shares"].items():
        w = at["spectral"].weights(at["s"][:, None], at["s"], depth)
        pairs = [(np.log(w).ravel(), np.log(x).ravel()) for x in (sgd * w, rle)]
        slopes = [np.polyfit(*pair, 1)[0] for pair in pairs]
        # Variances proportional to the weights, and equal ones: neither is the other.
        np.testing.assert_allclose(slopes, [1, 0], atol=0.25)
        assert np.median(sgd) == pytest.approx(1, abs=0.15)
        assert np.median(rle) == pytest.approx(1, abs=0.1)
    sizes, time = at["sizes"], 30
    assert sizes[2, 1.0][-1] / sizes[2, 1.0][0] == pytest.approx(
        np.exp(-at["rate"] * time), rel=0.3
    )
    assert sizes[2, 0.0][-1] / sizes[2, 0.0][0] > 0.9
    assert sizes[3, 0.0][-1] < 0.3 < 0.5 < sizes[3, 1.0][-1]


@pytest.mark.slow
def test_noise_in_null_directions(page):
    pytest.importorskip("jax")
    at = page("null_directions", PATHS=96, STEPS=200, NETWORKS=100)
    for moved, predicted in at["shown"].values():
        gaps = [moved - sign * predicted for sign in (1, -1)]
        z = [np.mean(x, axis=0) / np.std(x, axis=0) * 96**0.5 for x in gaps]
        # At alpha = 1e-5 for 8 numbers; with the other sign each is far off.
        assert np.max(np.abs(z[0])) < 5
        assert np.min(np.abs(z[1])) > 4.5
        assert np.corrcoef(moved.ravel(), predicted.ravel())[0, 1] > 0.95
        # Paths of the same outputs part: their pushes differ by more than their errors.
        ratio = np.var(predicted[:, 0]) / np.var(gaps[0][:, 0])
        assert ratio > stats.f.isf(1e-5, 95, 95)
    against = int(np.sum(np.array(at["along"]) < 0))
    assert stats.binomtest(against, 100, alternative="greater").pvalue < 1e-5


@pytest.mark.slow
def test_scale_by_scale(page):
    pytest.importorskip("jax")
    at = page("fourier_scales", FUNCTIONS=6, WIDTH=24, STEPS=10000)
    found = at["found"]
    for decay in (1, 0):
        half = found[decay, "network"][-2]
        assert np.all(half[1:4] > 3 * half[:3]) or np.all(half[1:3] > 3 * half[:2])
    linear = {decay: found[decay, "linear"][-2:] for decay in (1, 0)}
    assert np.all(np.diff(linear[1][0]) > 0)
    assert linear[1][0][-1] > 8 * linear[1][0][0]
    assert linear[0][0].max() < 2 * linear[0][0].min()
    # Jumps of the linear network are sharp, those of the other hardly sharper than exponentials.
    assert max(x[1].max() for x in linear.values()) < 9
    assert all(np.median(found[decay, "network"][-1]) > 11 for decay in (1, 0))
