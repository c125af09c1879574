"""The manifolds of geoopt call our geometry: gradients, retractions, transports, checks."""

import math
import subprocess
import sys

import geoopt
import numpy as np
import pytest
import torch

from dlngeom import endtoend, network
from dlngeom.geoopt import Balanced, EndToEnd
from tests.helpers.parameters import slow
from tests.helpers.reference import slope

# The manifold, and the shape of a batch of its points.
CASES = {
    "1": (EndToEnd(1), (2, 3, 3)),
    "2 tall": (EndToEnd(2), (2, 4, 3)),
    "3 wide": (EndToEnd(3), (2, 3, 4)),
    "inf": (EndToEnd(math.inf), (2, 3, 3)),
    "one layer": (Balanced(), (2, 1, 3, 3)),
    "four layers": (Balanced(), (2, 4, 3, 3)),
}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def noise(shape, seed=1, dtype=torch.float64):
    return torch.tensor(np.random.default_rng(seed).standard_normal(shape), dtype=dtype)


def start(case, dtype=torch.float64):
    manifold, shape = case
    return manifold.random(*shape, dtype=dtype, rng=0).detach()


def cost(x):
    return torch.sum(torch.sin(x) + x**2 * torch.linspace(0, 1, x.shape[-1], dtype=x.dtype))


def gradient(manifold, x):
    x = x.clone().requires_grad_()
    (egrad,) = torch.autograd.grad(cost(x), x)
    return manifold.egrad2rgrad(x.detach(), egrad)


def test_the_gradient_is_that_of_the_metric(case):
    manifold, shape = case
    x = start(case)
    v = manifold.proju(x, noise(shape))
    v = v / torch.linalg.norm(v)
    rate = torch.sum(manifold.inner(x, gradient(manifold, x), v))
    t = 1e-3 * 2.0 ** -np.arange(4)
    errors = [float(abs(cost(manifold.retr(x, h * v)) - cost(x) - h * rate)) for h in t]
    assert abs(slope(t, errors) - 2) < 0.1


def test_the_retraction_is_of_second_order(case):
    manifold, shape = case
    if manifold.name == "EndToEnd" and math.isinf(manifold.depth):
        pytest.skip("its curves upstairs are limits; tests/endtoend has its slope")
    x = start(case)
    v = manifold.proju(x, noise(shape))
    v = v / torch.linalg.norm(v)
    t = 2e-2 * 2.0 ** -np.arange(4)
    errors = [
        float(torch.linalg.norm(manifold.retr(x, h * v) - manifold.expmap(x, h * v))) for h in t
    ]
    # With one layer of full rank both are straight lines.
    assert max(errors) < 1e-12 or slope(t, errors) > 2.9


def test_batches_are_loops(case):
    manifold, shape = case
    x, u, v = start(case), noise(shape, 2), noise(shape, 3)
    y = manifold.retr(x, 0.1 * manifold.proju(x, u))
    results = {
        "proju": lambda x, y, u, v: manifold.proju(x, u),
        "egrad2rgrad": lambda x, y, u, v: manifold.egrad2rgrad(x, u),
        "retr": lambda x, y, u, v: manifold.retr(x, 0.1 * u),
        "transp": lambda x, y, u, v: manifold.transp(x, y, u),
        "inner": lambda x, y, u, v: manifold.inner(x, u, v),
        "keepdim": lambda x, y, u, v: manifold.inner(x, u, keepdim=True),
        "projx": lambda x, y, u, v: manifold.projx(x),
    }
    for name, function in results.items():
        together = function(x, y, u, v)
        one = torch.stack([function(*each) for each in zip(x, y, u, v, strict=True)])
        torch.testing.assert_close(together, one, msg=name)
        assert together.shape[0] == shape[0]
    assert manifold.inner(x, u).shape == shape[:1]
    assert manifold.component_inner(x, u).shape == (shape[0],) + (1,) * manifold.ndim


def test_one_point_and_many_vectors(case):
    manifold, shape = case
    x, u = start(case)[0], noise(shape)
    torch.testing.assert_close(manifold.inner(x, u)[1], manifold.inner(x, u[1]))
    torch.testing.assert_close(manifold.proju(x, u)[1], manifold.proju(x, u[1]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_points_stay_points(case, dtype):
    manifold, shape = case
    x = start(case, dtype)
    for k in range(20):
        v = manifold.egrad2rgrad(x, 0.1 * noise(shape, k, dtype))
        assert manifold.check_vector_on_tangent(x, v, atol=1e-4)
        x, moved = manifold.retr_transp(x, v, v)
        assert x.dtype == moved.dtype == dtype
        assert manifold.check_point_on_manifold(x)
    torch.testing.assert_close(manifold.projx(x), x)


def test_end_to_end_matrices_have_the_metric_of_networks():
    """The same numbers by numpy."""
    manifold = EndToEnd(3)
    W, Z, Y = (noise((4, 3), k) for k in (4, 5, 6))
    at = W.numpy(), Z.numpy()
    expected = endtoend.inner(*at, Y.numpy(), 3)
    np.testing.assert_allclose(manifold.inner(W, Z, Y), expected, rtol=1e-12)
    np.testing.assert_allclose(manifold.egrad2rgrad(W, Z), endtoend.gradient(*at, 3), rtol=1e-12)
    np.testing.assert_allclose(manifold.retr(W, Z / 9), endtoend.retraction(W / 1, Z / 9, 3))
    other = manifold.retr(W, 0.1 * Y)
    np.testing.assert_allclose(manifold.dist(W, other), manifold.norm(W, 0.1 * Y), rtol=0.05)
    torch.testing.assert_close(manifold.expmap(W, manifold.logmap(W, other)), other)


def test_balanced_projection_keeps_the_product():
    x = noise((2, 3, 4, 4))
    nearest = Balanced().projx(x)
    assert Balanced().check_point_on_manifold(nearest)
    before, after = (network.end_to_end(list(y.unbind(-3))) for y in (x, nearest))
    torch.testing.assert_close(after, before)


def test_rank_lost_by_rounding_comes_back():
    manifold = EndToEnd(2)
    W = torch.diag(torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64))
    full = manifold.projx(W)
    assert manifold.check_point_on_manifold(full)
    torch.testing.assert_close(full, W)


PARAMETERS = {
    "rank": (EndToEnd(2), torch.diag(torch.tensor([1.0, 0.0])), "full rank.*projx"),
    "vector": (EndToEnd(2), torch.ones(3), r"\(\.\.\., m, n\)"),
    "nan": (EndToEnd(2), torch.full((2, 2), torch.nan), "not finite"),
    "half": (EndToEnd(2), torch.eye(2, dtype=torch.bfloat16), "bfloat16"),
    "rectangular": (EndToEnd(math.inf), torch.ones(2, 3), "infinite depth needs square"),
    "layers": (Balanced(), torch.eye(2), r"\(\.\.\., N, d, d\)"),
    "widths": (Balanced(), torch.ones(2, 3, 2), r"\(\.\.\., N, d, d\)"),
    "unbalanced": (
        Balanced(),
        torch.stack([torch.eye(2), 2 * torch.eye(2)]),
        "not balanced.*nearest_balanced.*projx",
    ),
}


@pytest.mark.parametrize("fault", PARAMETERS)
def test_parameters_that_are_no_points_are_refused(fault):
    manifold, value, message = PARAMETERS[fault]
    with pytest.raises((ValueError, TypeError), match=message):
        geoopt.ManifoldParameter(value, manifold=manifold)


def test_options_out_of_range_are_refused():
    for wrong in (0, 2.5, "deep"):
        with pytest.raises((ValueError, TypeError), match="depth"):
            EndToEnd(wrong)
    with pytest.raises(TypeError, match="seed"):
        EndToEnd(2).random(3, 3, seed=0)
    with pytest.raises(ValueError, match="N, d, d"):
        Balanced().random(3, 3)


@pytest.mark.parametrize("name", ["1", slow("four layers")])
def test_random_points_repeat_by_their_seed(name):
    manifold, shape = CASES[name]
    first, second, other = (manifold.random(*shape, rng=k) for k in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert isinstance(first, geoopt.ManifoldTensor)
    assert first.dtype == torch.get_default_dtype()


def test_without_geoopt_the_message_says_what_to_install():
    missing = "sys.modules['geoopt'] = sys.modules['torch'] = None"
    script = f"import sys; {missing}; import dlngeom; dlngeom.geoopt"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert last == "ImportError: dlngeom.geoopt needs geoopt: pip install 'dlngeom[geoopt]'"


def test_derivatives_through_a_retraction_are_right_or_refused(case):
    manifold, shape = case
    x, u = start(case)[0], 0.1 * noise(shape)[0]
    x = manifold.retr(x, manifold.egrad2rgrad(x, u)).detach()

    def moved(x):
        return torch.sum(torch.cos(manifold.retr(x, manifold.proju(x, 1e-2 * u))))

    direction = manifold.proju(x, noise(shape, 5)[0])
    at = x.clone().requires_grad_()
    (slope_at,) = torch.autograd.grad(moved(at), at)
    h = 1e-5
    ends = [manifold.retr(x, k * h * direction) for k in (1, -1)]
    expected = (moved(ends[0]) - moved(ends[1])) / (2 * h)
    torch.testing.assert_close(torch.sum(slope_at * direction), expected, rtol=1e-4, atol=1e-6)


def test_derivatives_of_equal_singular_values_are_refused():
    x = torch.eye(2).expand(3, 2, 2).clone().requires_grad_()
    vector = Balanced().proju(x, torch.ones(3, 2, 2))
    with pytest.raises(ValueError, match="no derivative"):
        torch.sum(vector**2).backward()
    with torch.no_grad():
        assert Balanced().proju(x, x).shape == (3, 2, 2)


@pytest.mark.parametrize(
    ("entry", "message"), [(torch.nan, "not finite"), (torch.inf, "not finite"), (1e200, "shorten")]
)
def test_steps_that_cannot_be_taken_say_why(case, entry, message):
    manifold, shape = case
    u = torch.ones(shape, dtype=torch.float64)
    u[0, ..., 0, 0] = entry
    with pytest.raises(ValueError, match=message):
        manifold.retr(start(case), u)
