"""The optimizers of geoopt run on both manifolds, its samplers refuse them, as they must."""

import geoopt
import numpy as np
import pytest
import torch
from geoopt.optim import RiemannianAdam, RiemannianLineSearch, RiemannianSGD
from geoopt.samplers import RSGLD
from scipy import stats

from dlngeom import network
from dlngeom.geoopt import Balanced, EndToEnd
from tests.helpers.parameters import slow

MANIFOLDS = {
    "downstairs": (EndToEnd(3), (2, 3, 3)),
    "upstairs": (Balanced(), (2, 3, 3, 3)),
}


def product(x):
    return network.end_to_end(x.unbind(-3)) if x.shape[-3:] == (3, 3, 3) else x


def problem(where):
    """Two starts, and a target of full rank for each."""
    manifold, shape = MANIFOLDS[where]
    rng = np.random.default_rng(3)
    Y = torch.tensor(np.eye(3) + 0.2 * rng.standard_normal((2, 3, 3)))
    start = torch.tensor(np.broadcast_to(np.eye(3), shape).copy())
    return geoopt.ManifoldParameter(start, manifold=manifold), Y


OPTIMIZERS = {
    "adam": (RiemannianAdam, {"betas": (0.9, 0.99), "stabilize": 50}, 0.03, 300),
    "sgd": (RiemannianSGD, {}, 0.1, 120),
    "momentum": (RiemannianSGD, {"momentum": 0.9, "stabilize": 50}, 0.03, 300),
    "line search": (RiemannianLineSearch, {}, None, 25),
}


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("sgd", "downstairs"),
        # Both carry moments along, and one of them goes by the metric too.
        slow("momentum", "downstairs"),
        slow("adam", "upstairs"),
        slow("sgd", "upstairs"),
        slow("line search", "upstairs"),
    ],
)
def test_convex_energies_reach_their_minimiser(name, where):
    x, Y = problem(where)
    make, options, rate, n_steps = OPTIMIZERS[name]
    optimizer = make([x], **options, **({} if rate is None else {"lr": rate}))

    def closure():
        optimizer.zero_grad()
        loss = torch.sum((product(x) - Y) ** 2) / 2
        loss.backward()
        # scipy's line search, which geoopt calls, takes no tensor with a graph.
        return loss.detach()

    for _ in range(n_steps):
        optimizer.step(closure)
    error = torch.linalg.norm(product(x.detach()) - Y, dim=(-2, -1))
    assert float(torch.max(error)) < 1e-6
    assert x.manifold.check_point_on_manifold(x.detach())


@pytest.mark.parametrize("where", ["downstairs"])
def test_minibatches(where):
    """Regression without noise: every minibatch has the same minimiser."""
    x, Y = problem(where)
    rng = np.random.default_rng(4)
    inputs = torch.tensor(rng.standard_normal((2, 3, 64)))
    optimizer = RiemannianSGD([x], lr=0.1)
    for _ in range(150):
        batch = inputs[..., torch.tensor(rng.integers(64, size=8))]
        optimizer.zero_grad()
        (torch.sum(((product(x) - Y) @ batch) ** 2) / 16).backward()
        optimizer.step()
    error = torch.linalg.norm(product(x.detach()) - Y, dim=(-2, -1))
    assert float(torch.max(error)) < 1e-6


@pytest.mark.parametrize("where", MANIFOLDS)
def test_samplers_refuse(where):
    x, _ = problem(where)
    with pytest.raises(ValueError, match="reversible"):
        RSGLD([x])


def test_noise_through_the_gradient_has_the_wrong_law_downstairs():
    """White noise of geoopt's sampler: covariance ``A^2`` rather than ``A``; right upstairs."""
    n, rng = 4000, np.random.default_rng(5)
    W = torch.diag(torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64))
    xi = torch.tensor(rng.standard_normal((n, 3, 3)))
    manifold = EndToEnd(3)
    squares = manifold.inner(W, manifold.egrad2rgrad(W, xi))
    # The square length of Brownian noise is chi-squared with the dimension.
    assert stats.kstest(squares.numpy(), stats.chi2(9).cdf).pvalue < 1e-5
    root = torch.linalg.cholesky(cometric_matrix(manifold, W))
    noise = (xi.reshape(n, 9) @ root.mT).reshape(n, 3, 3)
    right = manifold.inner(W, noise)
    assert stats.kstest(right.numpy(), stats.chi2(9).cdf).pvalue > 1e-5


def cometric_matrix(manifold, W):
    basis = torch.eye(9, dtype=torch.float64).reshape(9, 3, 3)
    return manifold.egrad2rgrad(W.expand(9, 3, 3), basis).reshape(9, 9)


def test_noise_through_the_gradient_has_the_right_law_upstairs():
    n, rng = 4000, np.random.default_rng(6)
    manifold = Balanced()
    x = manifold.random(3, 3, 3, dtype=torch.float64, rng=0)
    xi = torch.tensor(rng.standard_normal((n, 3, 3, 3)))
    squares = manifold.inner(x, manifold.egrad2rgrad(x, xi))
    dimension = 3 * 3 + 2 * 3
    assert stats.kstest(squares.numpy(), stats.chi2(dimension).cdf).pvalue > 1e-5
    assert stats.kstest(squares.numpy(), stats.chi2(dimension + 1).cdf).pvalue < 1e-5
