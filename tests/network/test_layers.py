import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import aslinearoperator

import dlngeom
from dlngeom import LowRank, network
from tests.helpers import reference as ref

WIDTHS = [(4, 3), (4, 3, 5), (3, 3, 2, 3), (2, 3, 2, 4, 3), (3, 2, 5, 2, 2, 4)]


def covectors(G):
    """The same matrix in all the forms a covector may have."""
    U, s, Vt = np.linalg.svd(G, full_matrices=False)
    return {
        "dense": G,
        "csr": sparse.csr_array(G),
        "matrix": sparse.coo_matrix(G),
        "operator": aslinearoperator(G),
        "low rank": LowRank(U, np.diag(s), Vt.T),
    }


@pytest.mark.parametrize("widths", WIDTHS)
def test_end_to_end_is_the_product(widths, rng):
    layers = ref.random_layers(widths, rng, batch=(2, 3))
    W = network.end_to_end(layers)
    assert W.shape == (2, 3, widths[-1], widths[0])
    ref.close(W[1, 2], ref.product([x[1, 2] for x in layers]), 1e-14)


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("kind", ["dense", "csr", "matrix", "operator", "low rank"])
def test_lifted_gradient_of_every_covector(widths, kind, rng):
    layers = ref.random_layers(widths, rng)
    G = rng.standard_normal((widths[-1], widths[0]))
    lifted = network.lifted_gradient(layers, covectors(G)[kind])
    ref.close_layers(lifted, ref.lifted_gradient(layers, G), 1e-13)


@pytest.mark.parametrize("widths", WIDTHS)
def test_lifted_gradient_is_the_derivative_in_the_layers(widths, rng):
    layers, V = ref.random_layers(widths, rng), ref.random_layers(widths, rng)
    T = rng.standard_normal((widths[-1], widths[0]))

    def energy(t):
        moved = [x + t * v for x, v in zip(layers, V, strict=True)]
        return 0.5 * np.sum((network.end_to_end(moved) - T) ** 2)

    gradient = network.lifted_gradient(layers, network.end_to_end(layers) - T)
    rate = ref.dot(gradient, V)
    steps = np.geomspace(1e-4, 1e-2, 6)
    errors = [abs(energy(t) - energy(0) - t * rate) for t in steps]
    assert ref.slope(steps, errors) == pytest.approx(2, abs=0.1)


def test_lifted_gradient_batches_dense_and_low_rank(rng):
    layers = ref.random_layers((4, 3, 5), rng, batch=(2,))
    U, S, V = (rng.standard_normal((2, *x)) for x in [(5, 1), (1, 2), (4, 2)])
    dense = network.lifted_gradient(layers, U @ S @ V.mT)
    ref.close_layers(network.lifted_gradient(layers, LowRank(U, S, V)), dense, 1e-13)
    for i in range(2):
        one = ref.lifted_gradient([x[i] for x in layers], U[i] @ S[i] @ V[i].T)
        ref.close_layers([x[i] for x in dense], one, 1e-13)


@pytest.mark.parametrize("widths", WIDTHS)
def test_invariants_vanish_on_balanced_networks_and_along_the_flow(widths, rng):
    layers = ref.random_layers(widths, rng)
    G = network.invariants(layers)
    assert len(G) == len(widths) - 2
    for p, value in enumerate(G):
        literal = layers[p] @ layers[p].T - layers[p + 1].T @ layers[p + 1]
        ref.close(value, literal, 1e-14)
    gradient = network.lifted_gradient(layers, rng.standard_normal((widths[-1], widths[0])))
    scale = max(np.max(np.abs(g @ x.T)) for g, x in zip(gradient, layers, strict=True))
    for change in ref.linearised_balance(layers, gradient):
        assert np.max(np.abs(change)) <= 1e-13 * scale
    balanced = dlngeom.factors(ref.random_frames(widths, min(widths), rng))
    for value in network.invariants(balanced):
        assert np.max(np.abs(value)) <= 1e-14


def test_functions_of_layers_refuse_bad_input(rng):
    layers = ref.random_layers((4, 3, 5), rng)
    with pytest.raises(ValueError, match=r"egrad has shape \(4, 5\): it must be .*5, 4"):
        network.lifted_gradient(layers, np.ones((4, 5)))
    with pytest.raises(ValueError, match=r"egrad has shape \(4, 5\): it must be \(5, 4\)"):
        network.lifted_gradient(layers, sparse.csr_array(np.ones((4, 5))))
    G = np.ones((5, 4))
    G[2, 1] = np.inf
    with pytest.raises(ValueError, match=r"egrad\[2, 1\] is inf"):
        network.lifted_gradient(layers, G)
    assert np.isinf(network.lifted_gradient(layers, G, check_finite=False)[0]).any()
    with pytest.raises(ValueError, match=r"egrad and the point: dtypes .* must agree"):
        network.lifted_gradient(layers, np.ones((5, 4), dtype=np.float32))
    for function in (network.end_to_end, network.invariants):
        with pytest.raises(ValueError, match="W_2 W_1 is not defined"):
            function(layers[::-1])
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="arrays of one library"):
        network.end_to_end([layers[0], torch.ones((5, 3), dtype=torch.float64)])
    with pytest.raises(TypeError, match="arrays of one library"):
        network.lifted_gradient(layers, torch.ones((5, 4), dtype=torch.float64))
    with pytest.raises(TypeError, match="arrays of one library"):
        network.lifted_gradient([torch.ones((5, 4))], sparse.csr_array(np.ones((5, 4))))
