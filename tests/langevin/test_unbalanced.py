"""Noise on networks that are not balanced: tangent to their leaf, which it moves by curvature."""

from itertools import pairwise

import numpy as np
import pytest

import dlngeom
from dlngeom import DeepLinearNetwork, network
from dlngeom.langevin import network_langevin
from dlngeom.langevin._unbalanced import UnbalancedWalk
from tests.helpers import langevin_cases as cases
from tests.helpers import reference as ref

SHAPES = [(3, 3), (2, 2, 2), (2, 3, 4), (3, 2, 3, 2), (2, 2, 2, 2, 2)]
WALK = UnbalancedWalk()


def dense_projections(layers):
    """Tangent and vertical projections from null spaces, found by brute force."""
    widths = [layers[0].shape[1], *(len(x) for x in layers)]
    size = sum(x.size for x in layers)
    unit = [ref.unflatten(e, widths) for e in np.eye(size)]
    invariants = np.stack(
        [
            np.concatenate([np.ravel(x) for x in ref.linearised_balance(layers, e)] or [[0.0]])
            for e in unit
        ],
        axis=1,
    )
    pushed = np.stack([np.ravel(ref.dphi(layers, e)) for e in unit], axis=1)
    return null_projection(invariants), null_projection(np.concatenate([invariants, pushed]))


def null_projection(A):
    _, s, Vt = np.linalg.svd(A)
    rank = np.sum(s > 1e-10 * max(s[0], 1e-300)) if s[0] > 0 else 0
    return Vt[rank:].T @ Vt[rank:]


@pytest.mark.parametrize("widths", SHAPES)
def test_a_step_is_projected_noise_minus_the_gradient(widths, rng):
    layers = ref.random_layers(widths, rng)
    xi = ref.random_layers(widths, rng)
    G = rng.standard_normal((widths[-1], widths[0]))
    batch = [tuple(x[None] for x in value) for value in (layers, xi)]
    moved = WALK.step(*batch, G[None], 0.3, 0.5, 0.7)
    tangent, vertical = dense_projections(layers)
    noise = 0.5 * vertical + 0.7 * (tangent - vertical)
    expected = ref.flatten(layers) + noise @ ref.flatten(xi)
    expected -= 0.3 * ref.flatten(ref.lifted_gradient(layers, G))
    ref.close(ref.flatten([x[0] for x in moved]), expected, 1e-9)
    # Isotropic noise takes a shorter way.
    size = 0.5
    alike = WALK.step(*batch, None, 0.3, size, size)
    ref.close(
        ref.flatten([x[0] for x in alike]),
        ref.flatten(layers) + size * tangent @ ref.flatten(xi), 1e-9,
    )  # fmt: skip


def test_balanced_networks_are_a_special_case(rng):
    space = DeepLinearNetwork((3, 3, 3))
    x = space.random_point(rng)
    layers, xi = dlngeom.factors(x), ref.random_layers((3, 3, 3), rng)
    batch = [tuple(y[None] for y in value) for value in (layers, xi)]
    moved = WALK.step(*batch, None, 0.0, 1.0, 0.25)
    vertical, tangent = space.vertical_projection(x, xi), space.tangent_projection(x, xi)
    expected = [w + v + 0.25 * (t - v) for w, v, t in zip(layers, vertical, tangent, strict=True)]
    ref.close_layers([y[0] for y in moved], expected, 1e-9)


def drift_of_invariants(layers, kappa):
    """Rate of ``G`` at ``beta = 2``: ``sum_i e_i e_i^T`` over the noise, layer by layer."""
    tangent, vertical = dense_projections(layers)
    covariance = vertical + kappa * (tangent - vertical)
    widths = [layers[0].shape[1], *(len(x) for x in layers)]
    values, axes = np.linalg.eigh(covariance)
    rates = [np.zeros((d, d)) for d in widths[1:-1]]
    for value, axis in zip(values, axes.T, strict=True):
        e = ref.unflatten(axis, widths)
        for p, (lower, upper) in enumerate(pairwise(e)):
            rates[p] += value * (lower @ lower.T - upper.T @ upper)
    return rates


@pytest.mark.parametrize("kappa", [0.0, 1.0])
def test_leaves_move_by_curvature_without_noise(kappa):
    layers = ref.random_layers((2, 2, 3), np.random.default_rng(8))
    spreads, time = [], 2e-3
    for steps in (4, 64):
        run = network_langevin(
            layers, beta=2.0, kappa=kappa, duration=time, n_steps=steps, rng=1, n_chains=400,
            save_every=steps,
        )  # fmt: skip
        (G,) = run.observed["invariants"]
        change = (G[:, -1] - G[:, 0]) / time
        spreads.append(np.linalg.norm(change.std(axis=0)))
    (rate,) = drift_of_invariants(layers, kappa)
    error = change.mean(axis=0) - rate
    assert np.linalg.norm(error) < 0.05 * np.linalg.norm(rate) + 5 * spreads[1] / 20
    # The spread of a step's second-order term averages out as steps shrink.
    assert spreads[1] < 0.5 * spreads[0]


@pytest.mark.slow
def test_without_noise_it_is_the_flow(rng):
    layers = ref.random_layers((2, 3, 2), rng)
    run = network_langevin(
        layers, energy_gradient=cases.quadratic, beta=1e12, duration=0.2, n_steps=4_000,
        save_every=4_000, rng=0,
    )  # fmt: skip
    flow = dlngeom.flow.network_flow(layers, cases.quadratic, [0.0, 0.2])
    for x, y in zip(run.points, flow.points, strict=True):
        ref.close(x[0, -1], y[0, -1], 1e-3)
    before, after = (network.invariants([x[0, k] for x in run.points])[0] for k in (0, -1))
    ref.close(after, before, 1e-3)


def test_bad_layers(rng):
    layers = [np.ones((2, 2)), np.ones((3, 3))]
    with pytest.raises(ValueError, match="3"):
        network_langevin(layers, beta=1.0, duration=1.0, n_steps=1, rng=0)
