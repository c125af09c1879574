"""What is no array of real numbers, and no number, is refused; empty batches are not."""

import math
import pickle

import numpy as np
import pytest

from dlngeom import SVD, Tangent, laws, thermodynamics
from dlngeom.thermodynamics import equilibrium, landscape

INF = math.inf
MASKED = np.ma.masked_array([2.0, 1.0], mask=[True, False])
NO_ARRAYS = [
    np.array([2 + 1j, 1]),
    [2 + 1j, 1],
    ["2", "1"],
    np.array(["2", "1"]),
    "21",
    [True, False],
    np.array([True, False]),
    MASKED,
    None,
    [2.0, None],
    [[2.0], [1.0, 3.0]],
    {2.0: 1.0},
    np.array([2.0, 1.0], dtype=object),
    [10**400, 1],
    10**400,
    lambda: 1,
]
CLOSED = equilibrium.ClosedLaw(2)
MINIMISER = equilibrium.limit_law(2, nodes=20)
TAKE_ARRAYS = {
    "radial": lambda x: laws.radial_law(x, (2, 2), 2, 0.1, 1.0, 3, 0),
    "radial infinite": lambda x: laws.radial_law(x, (2, 2), INF, 0.1, 1.0, 3, 0),
    "infinite": lambda x: laws.radial_law_infinite_depth(x, 0.1, 1.0, 3, 0),
    "dyson": lambda x: laws.dyson_law(x, 0.1, 1.0, 1.0, 3, 0),
    "density": lambda x: equilibrium.log_density(x, 2, 1.0),
    "gradient": lambda x: equilibrium.log_density_gradient(x, INF, 1.0),
    "closed cdf": CLOSED.cdf,
    "closed density": CLOSED.density,
    "closed quantile": CLOSED.quantile,
    "closed log quantile": CLOSED.log_quantile,
    "cdf": MINIMISER.cdf,
    "law density": MINIMISER.density,
    "quantile": MINIMISER.quantile,
    "landscape": lambda x: landscape.local_minima(*SQUARES, (2, 2, 2), 1.0, starts=x),
    "critical": lambda x: landscape.critical_points(*SQUARES, (2, 2, 2), 1.0, starts=x),
    "entropy": lambda x: thermodynamics.entropy_of_singular_values(x, (2, 2, 2)),
    "entropy of W": lambda x: thermodynamics.entropy(x, (2, 2, 2)),
    "force": lambda x: thermodynamics.entropy_egrad(x, (2, 2, 2)),
    "volume": lambda x: thermodynamics.log_singular_value_density(x, (2, 2), 2),
    "network": lambda x: thermodynamics.log_network_density(x, (2, 2, 2)),
}
SQUARES = (
    lambda W: np.sum(W**2, axis=(-2, -1)) / 2,
    lambda W: W,
    lambda W, Z: Z,
)


@pytest.mark.parametrize("name", TAKE_ARRAYS)
def test_what_is_no_array_of_real_numbers_is_refused_in_one_sentence(name):
    for wrong in NO_ARRAYS:
        with pytest.raises((TypeError, ValueError)) as raised:
            TAKE_ARRAYS[name](wrong)
        message = str(raised.value)
        assert raised.type in (TypeError, ValueError), raised.type
        assert any(rule in message for rule in ("must", "needs", "too large")), (wrong, message)
        assert "\n" not in message
        assert len(message) < 600


NO_NUMBERS = ["1", None, 1j, 10**400, np.array([1.0]), True, [1.0], np.nan, -1.0, np.bool_(True)]
GIVEN = np.array([2.0, 1.0])
TAKE_NUMBERS = {
    "radial time": lambda x: laws.radial_law(GIVEN, (2, 2), 2, x, 1.0, 3, 0),
    "radial beta": lambda x: laws.radial_law(GIVEN, (2, 2), 2, 0.1, x, 3, 0),
    "dyson kappa": lambda x: laws.dyson_law(GIVEN, 0.1, 1.0, x, 3, 0),
    "sphere start": lambda x: laws.sphere_law(3, x, 0.1, 1.0, 1.0),
    "sphere time": lambda x: laws.sphere_law(3, 1.0, x, 1.0, 1.0),
    "sphere kappa": lambda x: laws.sphere_law(3, 1.0, 0.1, 1.0, x),
    "density beta": lambda x: equilibrium.log_density(GIVEN, 2, x),
    "density kappa": lambda x: equilibrium.log_density(GIVEN, 2, 1.0, x),
    "virial": lambda x: equilibrium.mean_virial(3, 2, x),
    "sample": lambda x: equilibrium.sample(3, 2, beta=x, n_draws=1, rng=0),
    "law": lambda x: equilibrium.limit_law(2, x, nodes=20),
    "edge": lambda x: equilibrium.hard_edge_exponent(2, x),
    "landscape": lambda x: landscape.local_minima(*SQUARES, (2, 2, 2), x, starts=np.eye(2)[None]),
    "free energy": lambda x: thermodynamics.free_energy(np.eye(2), (2, 2, 2), 1.0, x),
}
NO_INTEGERS = ["2", None, 2j, 2.0, np.array([2]), np.array(2), True, [2], 0, -1, math.nan]
TAKE_INTEGERS = {
    "radial depth": lambda x: laws.radial_law(GIVEN, (2, 2), x, 0.1, 1.0, 3, 0),
    "radial size": lambda x: laws.radial_law(GIVEN, (2, 2), 2, 0.1, 1.0, x, 0),
    "radial shape": lambda x: laws.radial_law(GIVEN, (2, x), 2, 0.1, 1.0, 3, 0),
    "radial shape of none": lambda x: laws.radial_law(GIVEN, x, INF, 0.1, 1.0, 3, 0),
    "sphere": lambda x: laws.sphere_law(x, 1.0, 0.1, 1.0, 1.0),
    "depth": lambda x: equilibrium.log_density(GIVEN, x, 1.0),
    "closed": equilibrium.ClosedLaw,
    "law": lambda x: equilibrium.limit_law(x, nodes=20),
    "nodes": lambda x: equilibrium.limit_law(2, nodes=x),
    "virial": lambda x: equilibrium.mean_virial(x, 2, 1.0),
    "draws": lambda x: equilibrium.sample(3, 2, beta=1.0, n_draws=x, rng=0),
    "chains": lambda x: equilibrium.sample(3, 2, beta=1.0, n_chains=x, rng=0),
    "steps": lambda x: landscape.local_minima(
        *SQUARES, (2, 2, 2), 1.0, starts=np.eye(2)[None], max_iterations=x
    ),
}


@pytest.mark.parametrize(
    ("function", "values"),
    [
        *((function, NO_NUMBERS) for function in TAKE_NUMBERS.values()),
        *((function, NO_INTEGERS) for function in TAKE_INTEGERS.values()),
    ],
    ids=[*TAKE_NUMBERS, *(f"{name} integer" for name in TAKE_INTEGERS)],
)
def test_what_is_no_number_is_refused_with_its_value_and_the_rule(function, values):
    for wrong in values:
        with pytest.raises((TypeError, ValueError), match=r"it must|they must|it needs"):
            function(wrong)


@pytest.mark.parametrize("potential", [None, "quadratic", lambda s: s, (abs, abs), 1.0])
def test_a_potential_is_two_functions(potential):
    for call in (
        lambda: equilibrium.log_density(GIVEN, 2, 1.0, potential=potential),
        lambda: equilibrium.limit_law(2, potential=potential),
        lambda: equilibrium.sample(3, 2, beta=1.0, potential=potential, rng=0),
        lambda: equilibrium.log_density(GIVEN, 2, 1.0, potential=equilibrium.Potential(abs, 1)),
    ):
        with pytest.raises(TypeError, match="it must be a Potential"):
            call()


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ((1.0, *SQUARES[1:]), "energy=1.0: it must be a function"),
        ((lambda W: np.sum(W**2), *SQUARES[1:]), "energy returned shape"),
        ((SQUARES[0], lambda W: W[0], SQUARES[2]), "gradient returned shape"),
        ((*SQUARES[:2], lambda W, Z: Z[0]), "hessian returned shape"),
        ((lambda W: None, *SQUARES[1:]), "the result of energy=None"),
        ((lambda W: W[:, 0, 0] * np.inf, *SQUARES[1:]), r"the result of energy.0. is inf"),
        ((SQUARES[0], lambda W: 1j * W, SQUARES[2]), "the result of gradient has dtype complex128"),
    ],
)
def test_functions_of_the_landscape_take_and_return_batches(functions, message):
    with pytest.raises((TypeError, ValueError), match=message):
        landscape.local_minima(*functions, (2, 2, 2), 1.0, starts=np.stack([np.eye(2)] * 2))


@pytest.mark.parametrize("law", [CLOSED, MINIMISER])
def test_probabilities_are_from_zero_to_one_and_values_are_numbers(law):
    for u in (-0.1, 1.1, [0.5, np.nan]):
        with pytest.raises(ValueError, match="all entries must be from 0 to 1"):
            law.quantile(u)
    with pytest.raises(ValueError, match="all entries must be numbers"):
        law.cdf([1.0, np.nan])
    assert law.cdf([-1.0, 0.0, INF]).tolist() == [0.0, 0.0, 1.0]


def test_potentials_and_laws_can_be_pickled():
    potential = pickle.loads(pickle.dumps(equilibrium.quadratic))
    assert potential == equilibrium.quadratic
    assert potential.value(3.0) == 4.5
    for law in (CLOSED, MINIMISER):
        assert pickle.loads(pickle.dumps(law)).quantile(0.3) == law.quantile(0.3)


@pytest.mark.parametrize("batch", [(0,), (2, 0), (0, 3)])
@pytest.mark.parametrize("depth", [1, 2, 3, INF])
def test_empty_batches_have_empty_results(batch, depth):
    s = np.ones((*batch, 2))  # No values at all, hence no equal ones.
    W, widths, options = np.zeros((*batch, 2, 2)), (2, 2), {"depth": INF}
    if depth < INF:
        widths, options = (2,) * (depth + 1), {}
    point, Z = SVD(W, s, W), Tangent(0 * W, W, 0 * W)
    t = thermodynamics
    numbers = [
        t.entropy(W, widths, **options),
        t.entropy(point, widths, **options),
        t.entropy_of_singular_values(s, widths, **options),
        t.free_energy(W, widths, np.zeros(batch), 1.0, **options),
        t.log_svd_density(s, (2, 2), depth),
        t.log_singular_value_density(s, (2, 2), depth),
        equilibrium.log_density(s, depth, 1.0),
    ]
    assert {x.shape for x in numbers} == {batch}
    matrices = [
        t.entropy_gradient(W, widths, **options),
        t.entropy_gradient(point, widths, **options).M,
        t.entropy_egrad(W, widths, **options),
        t.entropy_ehess(W, W, widths, **options),
        t.free_energy_gradient(W, W, widths, 1.0, **options),
        t.free_energy_hessian(W, W, W, W, widths, 1.0, **options),
        t.free_energy_hessian(point, W, W, Z, widths, 1.0, **options).M,
    ]
    assert {x.shape for x in matrices} == {(*batch, 2, 2)}
    assert equilibrium.log_density_gradient(s, depth, 1.0).shape == s.shape
    if depth < INF:
        assert t.log_network_density(s, widths).shape == batch


def test_laws_of_no_value_are_empty():
    for law in (CLOSED, MINIMISER):
        for function in (law.cdf, law.density, law.quantile):
            assert function(np.zeros((0, 2))).shape == (0, 2)
