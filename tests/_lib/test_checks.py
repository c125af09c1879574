"""Wrong numbers of every kind, against every public function that takes the parameter."""

import inspect
import math
import re
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import dlngeom
from dlngeom import balanced, completion, endtoend, laws, quotients, spectral, thermodynamics
from dlngeom._lib import checks
from dlngeom.cli import main
from dlngeom.flow import gradient_flow
from dlngeom.langevin import brownian_motion, network_langevin, riemannian_langevin
from dlngeom.pymanopt import Balanced, EndToEnd
from dlngeom.thermodynamics import equilibrium, landscape
from tests.helpers.hosts import present

EYE = np.eye(2)
FRAMES = dlngeom.frames([EYE, EYE])
NETWORK = dlngeom.DeepLinearNetwork((2, 2, 2))
RUN = {"duration": 0.1, "n_steps": 2, "rng": 0}
MATRIX = np.where(np.eye(4) > 0, np.nan, 1.0 + np.arange(16.0).reshape(4, 4))
ENERGY = (lambda W: np.sum(W**2, axis=(-2, -1)) / 2, lambda W: W, lambda W, Z: Z)
STARTS = np.random.default_rng(0).standard_normal((2, 2, 2))

NO_NUMBERS = ["1", None, 1j, True, np.True_, [1], np.ones(1), np.asarray(1.0), Decimal(1), object()]
NO_INTEGERS = [*NO_NUMBERS, 1.0, 1.5, math.nan, math.inf, np.float64(2), np.ones(1, dtype=int)]
NO_INTEGERS += [np.asarray(1), Fraction(1)]


class Index:
    def __index__(self):
        return 2


def torch_integer(shape):
    torch = pytest.importorskip("torch")
    return torch.ones(shape, dtype=torch.int64)


def of_geomstats(name):
    pytest.importorskip("geomstats.backend", exc_type=ImportError)
    return getattr(dlngeom.geomstats, name)


def run(process, point, **options):
    return process(NETWORK, point, **{"beta": 1.0, **RUN, **options})


def sampled(**options):
    run_options = {"beta": 1.0, "n_chains": 1, "n_draws": 2, "n_warm": 1, "rng": 0, **options}
    return equilibrium.sample(run_options.pop("d", 2), run_options.pop("depth", 2), **run_options)


def walked(**options):
    return run(riemannian_langevin, FRAMES, **options)


def searched(function=landscape.local_minima, **options):
    options = {"beta": 1.0, "starts": STARTS, **options}
    return function(*ENERGY, (2, 2, 2), **options)


def completed(**options):
    return completion.complete(MATRIX, depth=2, **{"max_iterations": 2, **options})


# The parameter, its least value, whether None has a meaning, and the call.
INTEGERS = [
    ("dimension", 1, False, quotients.Sphere),
    ("dimension", 1, False, lambda d: laws.sphere_law(d, 1.0, 1.0, 1.0, 1.0)),
    ("n", 1, False, quotients.HermitianSpectrum),
    ("n", 1, False, lambda n: quotients.Grassmann(n, 1)),
    ("n", 1, False, lambda n: quotients.BuresWasserstein(n, 1)),
    ("rank", 1, False, lambda r: quotients.Grassmann(3, r)),
    ("rank", 1, False, lambda r: quotients.BuresWasserstein(3, r)),
    ("n", 1, False, quotients.ComplexProjective),
    ("n", 1, False, lambda n: quotients.Flags(n, (1,))),
    ("sizes", 1, False, lambda k: quotients.Flags(3, (k,))),
    ("m", 1, False, lambda m: quotients.FixedRank(m, 2, 1)),
    ("n", 1, False, lambda n: quotients.FixedRank(2, n, 1)),
    ("rank", 1, False, lambda r: quotients.FixedRank(3, 3, r)),
    ("landmarks", 3, False, lambda k: quotients.KendallShapes(k, 2)),
    ("dimension", 1, False, lambda m: quotients.KendallShapes(3, m)),
    ("rank", 1, True, lambda r: dlngeom.DeepLinearNetwork((3, 3), r)),
    ("rank", 1, True, lambda r: dlngeom.svd(np.eye(3)[:, :2], r)),
    ("rank", 1, True, lambda r: balanced.dimension((3, 3), r)),
    ("rank", 1, True, lambda r: Balanced((3, 3), r)),
    ("rank", 1, True, lambda r: completed(rank=r)),
    ("width", 1, False, dlngeom.InfinitelyDeepNetwork),
    ("m", 1, False, lambda m: dlngeom.EndToEndGeometry(m, 2, 1, 2)),
    ("n", 1, False, lambda n: dlngeom.EndToEndGeometry(2, n, 1, 2)),
    ("m", 1, False, lambda m: EndToEnd(m, 2, 1, 2)),
    ("n", 1, False, lambda n: EndToEnd(2, n, 1, 2)),
    ("m", 1, False, lambda m: of_geomstats("EndToEndMatrices")(m, 2, 1, 2)),
    ("n", 1, False, lambda n: of_geomstats("EndToEndMatrices")(2, n, 1, 2)),
    ("depth", 1, False, lambda N: spectral.weights(2.0, 1.0, N)),
    ("depth", 1, False, lambda N: endtoend.inner(EYE, EYE, EYE, N)),
    ("depth", 1, False, lambda N: dlngeom.EndToEndGeometry(2, 2, 1, N)),
    ("depth", 1, False, lambda N: thermodynamics.log_svd_density(np.ones(2), (2, 2), N)),
    ("depth", 1, False, lambda N: laws.radial_law((1.0,), (1, 1), N, 1.0, 1.0, 1, 0)),
    ("depth", 1, False, lambda N: sampled(depth=N)),
    ("depth", 1, True, lambda N: thermodynamics.entropy(EYE, (2, 2, 2), depth=N)),
    ("depth", 1, True, lambda N: searched(depth=N)),
    ("order", 1, False, lambda k: endtoend.retraction(EYE, EYE, 2, order=k)),
    ("order", 1, False, lambda k: balanced.retraction(FRAMES, [EYE, EYE], order=k)),
    ("size", 1, False, lambda k: laws.radial_law((1.0,), (1, 1), 2, 1.0, 1.0, k, 0)),
    ("size", 1, False, lambda k: laws.radial_law_infinite_depth((1.0,), 1.0, 1.0, k, 0)),
    ("size", 1, False, lambda k: laws.dyson_law((1.0,), 1.0, 1.0, 1.0, k, 0)),
    ("d", 1, False, lambda d: sampled(d=d)),
    ("d", 1, False, lambda d: equilibrium.mean_virial(d, 2, 1.0)),
    ("n_chains", 1, False, lambda k: sampled(n_chains=k)),
    ("n_draws", 1, False, lambda k: sampled(n_draws=k)),
    ("thin", 1, False, lambda k: sampled(thin=k)),
    ("n_warm", 0, False, lambda k: sampled(n_warm=k)),
    ("nodes", 10, False, lambda k: equilibrium.limit_law(2, nodes=k)),
    ("n_steps", 1, False, lambda k: walked(n_steps=k)),
    ("save_every", 1, False, lambda k: walked(save_every=k)),
    ("n_chains", 1, True, lambda k: walked(n_chains=k)),
    ("max_iterations", 1, False, lambda k: searched(max_iterations=k)),
    (
        "max_iterations", 1, False,
        lambda k: searched(landscape.critical_points, max_iterations=k),
    ),
    ("max_iterations", 1, False, lambda k: completed(max_iterations=k)),
    (
        "max_evaluations", 1, False,
        lambda k: gradient_flow(NETWORK, EYE, lambda W: W, [0.0, 0.1], max_evaluations=k),
    ),
    ("rank", 1, False, lambda r: dlngeom.EndToEndGeometry(3, 2, r, 2)),
    ("rank", 1, False, lambda r: EndToEnd(3, 2, r, 2)),
    ("rank", 1, False, lambda r: of_geomstats("EndToEndMatrices")(3, 2, r, 2)),
    ("width", 1, False, lambda d: of_geomstats("DeepLinearCoordinates")(d, 2)),
    ("width", 1, False, lambda d: of_geomstats("BalancedMatrices")(d, 2)),
    ("width", 1, False, lambda d: of_geomstats("BalancedGroupAction")(d, 2)),
    ("depth", 1, False, lambda N: of_geomstats("EndToEndMatrices")(2, 2, 2, N)),
    ("depth", 1, False, lambda N: of_geomstats("BalancedMatrices")(2, N)),
    ("depth", 1, False, lambda N: of_geomstats("BalancedGroupAction")(2, N)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "least", "optional", "call"), INTEGERS)
def test_what_is_no_integer_or_too_small_is_refused_by_its_name(name, least, optional, call):
    for value in [*NO_INTEGERS, least - 1, -7, np.int64(least - 1), torch_integer((1,))]:
        if (value is None and optional) or (name == "depth" and value == math.inf):
            continue
        with pytest.raises(ValueError, match=rf"^{name}=.*: it must be an integer"):
            call(value)
    if name not in ("depth", "rank", "max_evaluations"):
        call(max(2, least))
        call(np.int32(max(2, least)))


def test_integers():
    for value in (2, np.int64(2), np.uint8(2), Index()):
        found = checks.integer("k", value, 1, 3)
        assert (found, type(found)) == (2, int)
    assert checks.integer("k", 2**63 - 1, 1) == 2**63 - 1
    with pytest.raises(ValueError, match=r"at least 1 and below 2\^63"):
        checks.integer("k", 2**63, 1)
    with pytest.raises(ValueError, match=r"^k=0: it must be an integer of at least 1$"):
        checks.integer("k", 0, 1)
    with pytest.raises(ValueError, match=r"^k=4: it must be an integer from 1 to 3$"):
        checks.integer("k", 4, 1, 3)
    for shape in ((), (1,)):
        with pytest.raises(ValueError, match=r"^k=tensor"):
            checks.integer("k", torch_integer(shape), 1)


@pytest.mark.parametrize("value", [*NO_INTEGERS, 0, -1])
def test_widths_are_integers_one_by_one(value):
    for values in ((2, value), (value, 2, 2)):
        with pytest.raises(ValueError, match=r"^widths=.*: they must be two or more integers"):
            dlngeom.DeepLinearNetwork(values)
    assert dlngeom.DeepLinearNetwork(np.array([2, 3, 2])).widths == (2, 3, 2)


ENTROPIES = {"W": EYE, "widths": (2, 2, 2)}
# Functions of beta, and whether beta = inf has a meaning.
BETAS = [
    (True, lambda b: thermodynamics.free_energy(EYE, (2, 2, 2), 1.0, b)),
    (True, lambda b: thermodynamics.free_energy_gradient(EYE, EYE, (2, 2, 2), b)),
    (True, lambda b: thermodynamics.free_energy_hessian(EYE, EYE, EYE, EYE, (2, 2, 2), b)),
    (True, lambda b: searched(beta=b)),
    (True, lambda b: searched(landscape.critical_points, beta=b)),
    (True, lambda b: laws.radial_law((1.0,), (1, 1), 2, 1.0, b, 1, 0)),
    (True, lambda b: laws.radial_law_infinite_depth((1.0,), 1.0, b, 1, 0)),
    (True, lambda b: laws.dyson_law((1.0,), 1.0, b, 1.0, 1, 0)),
    (True, lambda b: walked(beta=b)),
    (True, lambda b: run(brownian_motion, EYE, beta=b)),
    (True, lambda b: network_langevin([EYE, EYE], beta=b, **RUN)),
    (False, lambda b: walked(beta=b, adjust=True)),
    (False, lambda b: sampled(beta=b)),
    (False, lambda b: equilibrium.mean_virial(2, 2, b)),
    (False, lambda b: equilibrium.log_density(np.ones(2), 2, b)),
    (False, lambda b: equilibrium.log_density_gradient(np.array([1.0, 0.5]), 2, b)),
    (False, lambda b: laws.cone_law(NETWORK, 1.0, 1.0, b, 1.0)),
    (False, lambda b: laws.sphere_law(3, 1.0, 1.0, b, 1.0)),
]


@pytest.mark.parametrize(("infinite", "call"), BETAS)
def test_inverse_temperatures(infinite, call):
    for value in [*NO_NUMBERS, 0, 0.0, -1.0, math.nan, -math.inf]:
        with pytest.raises(ValueError, match=r"^beta=.*: it must be positive"):
            call(value)
    for value in (2, np.float32(2.0), Fraction(1, 2), *[math.inf] * infinite):
        call(value)
    if not infinite:
        with pytest.raises(ValueError, match="beta=inf: it must be positive and finite"):
            call(math.inf)


KAPPAS = [
    (True, lambda k: walked(kappa=k)),
    (True, lambda k: network_langevin([EYE, EYE], beta=1.0, kappa=k, **RUN)),
    (False, lambda k: laws.dyson_law((1.0,), 1.0, 1.0, k, 1, 0)),
    (False, lambda k: sampled(kappa=k)),
    (False, lambda k: equilibrium.mean_virial(2, 2, 1.0, k)),
    (False, lambda k: equilibrium.log_density(np.ones(2), 2, 1.0, k)),
    (False, lambda k: equilibrium.log_density_gradient(np.array([1.0, 0.5]), 2, 1.0, k)),
    (False, lambda k: equilibrium.limit_law(2, k)),
    (False, lambda k: equilibrium.hard_edge_exponent(2, k)),
    (None, lambda k: laws.cone_law(NETWORK, 1.0, 1.0, 1.0, k)),
    (None, lambda k: laws.sphere_law(3, 1.0, 1.0, 1.0, k)),
]


@pytest.mark.parametrize(("zero", "call"), KAPPAS)
def test_ratios_of_noise(zero, call):
    for value in [*NO_NUMBERS, -1.0, math.nan, math.inf, *[0.0] * (zero is False)]:
        with pytest.raises(ValueError, match=r"^kappa=.*: it must be (positive|>= 0) and finite"):
            call(value)
    for value in (1, np.float32(2.0), *[0.0] * (zero is True)):
        call(value)


REALS = [
    ("duration", [0], lambda x: walked(duration=x)),
    ("r0_squared", [0], lambda x: laws.cone_law(NETWORK, x, 1.0, 1.0, 1.0)),
    ("r0_squared", [0], lambda x: laws.sphere_law(2, x, 1.0, 1.0, 1.0)),
    ("time", [], lambda x: laws.dyson_law((1.0,), x, 1.0, 1.0, 1, 0)),
    ("time", [], lambda x: laws.radial_law((1.0,), (1, 1), 2, x, 1.0, 1, 0)),
    ("time", [], lambda x: laws.radial_law_infinite_depth((1.0,), x, 1.0, 1, 0)),
    ("holdout", [0, 1.0, 2.0], lambda x: completed(holdout=x)),
]


@pytest.mark.parametrize(("name", "more", "call"), REALS)
def test_other_numbers(name, more, call):
    for value in [*NO_NUMBERS, -1.0, math.nan, math.inf, *more]:
        with pytest.raises(ValueError, match=rf"^{name}=.*: it must"):
            call(value)
    call(0.3)
    call(np.float32(0.3))


@pytest.mark.parametrize("check", [checks.positive, checks.nonnegative])
def test_numbers_too_large_for_a_float(check):
    with pytest.raises(ValueError, match=r"^x=10"):
        check("x", 10**400)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("sample", "--sample", "--chains", "0"), "chains=0: it must be an integer of at least 1"),
        (("sample", "--sample", "--steps", "3"), "steps=3: it must be an integer of at least 40"),
        (("landscape", "--starts", "0"), "starts=0: it must be an integer from 1"),
        (("landscape", "--seed", "-1"), "seed=-1: it must be an integer of at least 0"),
        (("landscape", "--depths", "0"), "depth=0: it must be an integer of at least 1, or inf"),
        (("landscape", "--betas", "nan"), "beta=nan: it must be positive"),
        (("sample", "--sample", "--beta", "inf"), "beta=inf: it must be positive and finite"),
        (("sample", "--sample", "--kappa", "-1"), "kappa=-1.0: it must be positive and finite"),
        (("sample", "--sample", "--kappa", "x"), "'x' is no number"),
        (("complete", "--sample", "--missing", "1"), "missing=1.0: it must lie between 0 and 1"),
    ],
)
def test_the_command_names_its_options(options, message, capsys, tmp_path):
    try:
        code = main([*options, "--output", str(tmp_path / "new")])
    except SystemExit as error:
        code = error.code
    assert code == 2
    assert message in capsys.readouterr().err


def test_at_infinite_beta_the_free_energy_is_the_energy(rng):
    W, Z, G, H = rng.standard_normal((4, 3, 3))
    widths = (3, 4, 3)
    assert thermodynamics.free_energy(W, widths, 1.7, math.inf) == 1.7
    pull = thermodynamics.free_energy_gradient(W, G, widths, math.inf)
    np.testing.assert_array_equal(pull, endtoend.gradient(W, G, 2))
    bent = thermodynamics.free_energy_hessian(W, G, H, Z, widths, math.inf)
    np.testing.assert_array_equal(bent, endtoend.hessian(W, G, H, Z, 2))


def test_at_infinite_beta_a_diffusion_follows_its_drift():
    start, times = NETWORK.random_point(3), [0.0, 1.0]
    flow = gradient_flow(NETWORK, dlngeom.dense(start), lambda W: W - EYE, times)
    options = {"energy_gradient": lambda W: W - EYE, "beta": math.inf, "duration": 1.0, "rng": 0}
    for process, point in ((riemannian_langevin, start), (network_langevin, None)):
        layers = dlngeom.factors(start)
        given = (NETWORK, point) if point is not None else (layers,)
        ends = [
            process(*given, n_steps=k, **options).observed["end_to_end"][0, -1] for k in (200, 400)
        ]
        gaps = [np.max(np.abs(W - flow.points[0, -1])) for W in ends]
        assert gaps[0] < 1e-2
        assert gaps[0] / gaps[1] == pytest.approx(2, rel=0.1)
    still = run(brownian_motion, EYE, beta=math.inf).points
    np.testing.assert_allclose(still, np.broadcast_to(EYE, still.shape), atol=1e-14)


VOCABULARY = {
    "seed": "rng",
    "random_state": "rng",
    "generator": "rng",
    "num_steps": "n_steps",
    "n_iter": "max_iterations",
    "max_iter": "max_iterations",
    "max_steps": "max_iterations",
    "test_fraction": "holdout",
    "validation_fraction": "holdout",
    "test_size": "holdout",
}


def test_one_vocabulary():
    from tests.test_public_api import MODULES

    for name in present(x for x in MODULES if "._" not in x and "__main__" not in x):
        module = __import__(name, fromlist=["x"])
        for entry in getattr(module, "__all__", ()):
            thing = getattr(module, entry)
            if entry == "DLNCompletion" or not callable(thing) or inspect.isbuiltin(thing):
                continue
            members = [thing]
            if inspect.isclass(thing):
                members += [f for n, f in vars(thing).items() if inspect.isfunction(f)]
            for member in members:
                try:
                    names = inspect.signature(member).parameters
                except ValueError:
                    continue
                assert not names.keys() & VOCABULARY.keys(), (name, entry, names)
                if "size" in names:
                    # Draws of a law, and the word of geoopt's own interface.
                    assert name in ("dlngeom.laws", "dlngeom.geoopt"), (name, entry)


def test_messages_end_with_the_rule_and_begin_with_the_value():
    assert re.fullmatch(
        "beta=0: it must be positive, or inf for no noise",
        str(_error(checks.inverse_temperature, 0)),
    )


def _error(function, *arguments):
    with pytest.raises(ValueError, match="=") as caught:
        function(*arguments)
    return caught.value


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("view", [lambda x: x, lambda x: x.T, lambda x: x[::2], lambda x: x[:0]])
def test_finite_entries_of_every_size_and_layout(view, dtype):
    largest = np.full((4, 3), np.finfo(dtype).max)
    checks.finite("x", view(largest))
    for bad in (np.nan, np.inf, -np.inf):
        changed = largest.copy()
        changed[2, 2] = bad
        if view(changed).size:
            with pytest.raises(ValueError, match=rf"^x\[[12], 2\] is {bad}|^x\[2, 2\] is {bad}"):
                checks.finite("x", view(changed))
