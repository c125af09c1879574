"""Submersions from a map alone, against closed forms, and faults that must be named."""

import pickle
from itertools import pairwise

import numpy as np
import pytest

import dlngeom
from dlngeom import DeepLinearNetwork, check_submersion, flow, from_map, langevin, submersion
from dlngeom._lib.vectors import parts
from dlngeom.quotients import BuresWasserstein, HermitianSpectrum, Sphere
from dlngeom.submersion import LiftedBase, _from_map_calculus
from tests.helpers import reference as ref
from tests.helpers.map_cases import (
    EXAMPLES,
    balanced_equations,
    distance_to_ellipse,
    eigenvalues,
    ellipsoid,
    ellipsoid_drift,
    gram,
    height,
    length,
    network_map,
    product,
    projective_line,
    unit,
)
from tests.helpers.namespaces import Namespace
from tests.helpers.parameters import slow

jax = pytest.importorskip("jax")
jnp = jax.numpy


@pytest.fixture(autouse=True)
def _quick_compiler():
    Namespace("jax")


def close(found, expected, tolerance):
    for x, y in zip(parts(found), parts(expected), strict=True):
        ref.close(x, y, tolerance)


def test_the_projective_line_has_the_metric_of_fubini_and_study(rng):
    space = projective_line()
    assert (space.dim, space.dim_base, space.dim_orbit) == (3, 2, 1)
    x, V = space.random_point(rng, (3,)), rng.standard_normal((3, 4))
    z, v = x[:, ::2] + 1j * x[:, 1::2], V[:, ::2] + 1j * V[:, 1::2]
    along = v - z * np.sum(z.conj() * v, axis=-1, keepdims=True)
    Z = space.differential(x, V)
    below = space.base_point(x)
    ref.close(np.sum(x * x, axis=-1), np.ones(3), 1e-14)
    # The form on the tangent spaces of the line, and a sphere of radius one half.
    ref.close(space.base.inner(below, Z, Z), np.sum(abs(along) ** 2, axis=-1), 1e-12)
    ref.close(space.base.inner(below, Z, Z), np.sum(Z * Z, axis=-1) / 4, 1e-12)
    # Great circles are geodesics.
    ref.close(1 + space.mean_curvature(x), np.ones((3, 4)), 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_maps_are_submersions(name):
    make, orbits = EXAMPLES[name]
    space = make()
    point = space.random_point(3)
    errors = check_submersion(space, point, 0)
    assert len(errors) == 13
    if orbits:
        assert len(check_submersion(space, point, 0, orbits=True)) == 15
    else:
        with pytest.raises(ValueError, match="orbits: dphi dphi"):
            check_submersion(space, point, 0, orbits=True)


@pytest.mark.slow
@pytest.mark.parametrize("widths", [(2, 2, 2, 2), (3, 2, 2), (3, 2, 3)], ids=str)
def test_the_product_of_balanced_layers_is_the_deep_linear_network(widths, rng):
    net = DeepLinearNetwork(widths)
    point = net.random_point(rng)
    layers = dlngeom.factors(point)
    space = from_map(product, layers, constraint=balanced_equations)
    assert (space.dim, space.dim_base) == (net.dim, net.dim_base)
    G = rng.standard_normal((widths[-1], widths[0]))
    V = tuple(rng.standard_normal(W.shape) for W in layers)
    close(submersion.cometric(space, layers, G), submersion.cometric(net, point, G), 1e-10)
    close(space.tangent_projection(layers, V), net.tangent_projection(point, V), 1e-10)
    close(space.vertical_projection(layers, V), net.vertical_projection(point, V), 1e-10)
    W = dlngeom.svd(net.project(point), net.rank)
    force = dlngeom.thermodynamics.entropy_gradient(W, widths)
    force = force if isinstance(force, np.ndarray) else dlngeom.dense((W, force))
    close(submersion.entropy_gradient(space, layers), force, 1e-10)
    lifted = submersion.lift(space, layers, -force)
    close(submersion.mean_curvature(space, layers), lifted, 1e-10)


CLOSED = {
    "sphere": (length, Sphere(3)),
    "Bures-Wasserstein": (gram, BuresWasserstein(3, 2)),
    "Dyson": (eigenvalues, HermitianSpectrum(3)),
}


@pytest.mark.parametrize("name", [slow("sphere"), slow("Bures-Wasserstein"), slow("Dyson")])
def test_maps_agree_with_the_worked_quotients(name, rng):
    phi, known = CLOSED[name]
    x = known.random_point(rng)
    space = from_map(phi, x)
    G = rng.standard_normal(np.shape(known.project(x)))
    V = known.random_point(rng)
    ref.close(space.project(x), known.project(x), 1e-12)
    ref.close(submersion.cometric(space, x, G), submersion.cometric(known, x, G), 1e-10)
    ref.close(space.vertical_projection(x, V), known.vertical_projection(x, V), 1e-10)
    # Differences bring errors of their own.
    ref.close(submersion.mean_curvature(space, x), submersion.mean_curvature(known, x), 1e-7)
    assert space.dim_base == known.dim_base


def test_the_drift_on_an_ellipsoid_and_mutants_of_the_constraint_term(monkeypatch):
    angle = np.array([0.7, -0.3, 1.2])
    x = np.stack([np.cos(angle), 0 * angle, 2 * np.sin(angle)], axis=-1)
    space = ellipsoid()
    drift = [float(submersion.entropy_gradient(space, at)) for at in x]
    ref.close(np.array(drift), ellipsoid_drift(x[:, 2]), 1e-12)
    assert drift[0] == pytest.approx(-0.46768, abs=1e-5)
    right = _from_map_calculus.solve_normal
    for factor in (-1.0, 0.0):
        mutant = pickle.loads(pickle.dumps(space))
        monkeypatch.setattr(
            _from_map_calculus, "solve_normal", lambda *at, c=factor: c * right(*at)
        )
        wrong = float(submersion.entropy_gradient(mutant, x[0]))
        monkeypatch.setattr(_from_map_calculus, "solve_normal", right)
        assert abs(wrong - drift[0]) > 0.1


@pytest.mark.slow
def test_a_distance_has_the_metric_of_orbits_and_no_entropy():
    x = np.array([3.0, 0.5])
    space = from_map(distance_to_ellipse, x)
    ref.close(submersion.cometric(space, x, np.array(1.0)), np.array(1.0), 1e-12)
    with pytest.raises(ValueError, match="orbits: the mean curvature, pushed down") as error:
        check_submersion(space, x, 0, orbits=True)
    assert "orbits: dphi dphi" not in str(error.value)


@pytest.mark.slow
def test_distances_to_an_ellipse_drift_differently_along_a_fibre():
    # Half axes 2 and 1: points at distance one on the axes and between.
    t = np.array([0.0, np.pi / 4, np.pi / 2])
    foot = np.stack([2 * np.cos(t), np.sin(t)], axis=-1)
    normal = np.stack([np.cos(t), 2 * np.sin(t)], axis=-1)
    x = foot + normal / np.linalg.norm(normal, axis=-1, keepdims=True)
    space = from_map(distance_to_ellipse, x[0])
    drift = np.array([float(submersion.entropy_gradient(space, at)) for at in x])
    curvature = 2 / (4 * np.sin(t) ** 2 + np.cos(t) ** 2) ** 1.5
    ref.close(drift, 1 / (1 / curvature + 1), 1e-9)


def test_a_space_without_a_volume_names_what_there_is_instead():
    with pytest.raises(NotImplementedError, match=r"known by dlngeom\.submersion\.entropy_grad"):
        ellipsoid().log_orbit_volume(1.0)


def test_the_entropy_gradient_of_every_space_is_minus_the_mean_curvature():
    x = np.array([0.6, 0.0, 0.8]) * 2.0
    assert float(submersion.entropy_gradient(Sphere(3), x)) == pytest.approx(2 / 2.0, abs=1e-9)


@pytest.mark.slow
def test_flows_and_walks_upstairs_and_at_pairs():
    space = ellipsoid()
    x = np.array([np.cos(0.7), 0.0, 2 * np.sin(0.7)])
    pair = space.base_point(x)
    up = flow.gradient_flow(space, x, lambda z: z, [0.0, 0.4], upstairs=True)
    down = flow.gradient_flow(space, pair, lambda z: z, [0.0, 0.4], energy=lambda z: z**2 / 2)
    ref.close(space.project(up.points), down.points.value, 1e-7)
    ref.close(down.observed["energy"], down.points.value**2 / 2, 1e-12)
    options = {"beta": 2.0, "duration": 0.1, "n_steps": 10, "rng": 0, "n_chains": 3}
    run = langevin.riemannian_langevin(
        space, x, kappa=0.5, energy_gradient=lambda z: z, observe={"z": space.project}, **options
    )
    ref.close(run.points[..., 0] ** 2 + run.points[..., 1] ** 2 + run.points[..., 2] ** 2 / 4,
              np.ones((3, 11)), 1e-13)  # fmt: skip
    below = langevin.brownian_motion(space.base, pair, **options)
    ref.close(below.points.value, space.project(below.points.above), 1e-13)
    assert below.points.value[:, -1].std() > 0


@pytest.mark.slow
def test_noise_along_the_fibre_moves_an_ellipsoid_down():
    z, steps = 2 * np.sin(0.7), 200
    run = langevin.riemannian_langevin(
        ellipsoid(), np.array([np.cos(0.7), 0.0, z]), beta=1.0, kappa=0.0, duration=0.2,
        n_steps=steps, rng=0, n_chains=4, save_every=steps, observe={"z": height},
    )  # fmt: skip
    for _ in range(2000):
        z += 1e-4 * ellipsoid_drift(z)
    np.testing.assert_allclose(run.observed["z"][:, -1], z, atol=0.02)


@pytest.mark.slow
def test_libraries_and_precisions_keep(rng):
    space = projective_line()
    x, V = space.random_point(rng, (2,)), rng.standard_normal((2, 4))
    expected = space.vertical_projection(x, V)
    given = x.copy(), V.copy()
    found = space.vertical_projection(jnp.asarray(x), jnp.asarray(V))
    assert isinstance(found, jax.Array)
    ref.close(np.asarray(found), expected, 1e-12)
    single = space.vertical_projection(x.astype(np.float32), V.astype(np.float32))
    assert single.dtype == np.float32
    ref.close(single, expected, 1e-5)
    with _from_map_calculus.double_precision(jax):
        moved = jax.jit(space.retraction)(jnp.asarray(x), jnp.asarray(expected / 9))
    ref.close(np.asarray(moved), space.retraction(x, expected / 9), 1e-13)
    # Numpy's points are computed in double precision whatever the settings of jax are.
    with jax.enable_x64(False):
        alone = pickle.loads(pickle.dumps(space))
        assert alone.project(x).dtype == np.float64
        ref.close(alone.vertical_projection(x, V), expected, 1e-13)
    ref.close(x, given[0], 0)
    ref.close(V, given[1], 0)


@pytest.mark.slow
def test_spaces_travel_and_say_what_they_are():
    space = pickle.loads(pickle.dumps(from_map(height, unit(), constraint=None)))
    assert repr(space) == "from_map(height, points of shape (3,), rank 1)"
    assert (space.dim, space.dim_base) == (3, 1)


@pytest.mark.slow
def test_points_are_tuples_of_arrays_of_any_shapes(rng):
    point = (rng.standard_normal(2), rng.standard_normal(2), rng.standard_normal((2, 2)))
    space = from_map(lambda p: (p[2] @ p[0], p[1] * p[0]), point)
    assert (space.dim, space.dim_base) == (8, 4)
    assert len(check_submersion(space, point, 0)) == 13


@pytest.mark.slow
def test_thousands_of_unknowns_over_a_hundred_outputs(rng):
    space, weights = network_map(inputs=100, width=30, layers=4, rng=rng)
    assert space.dim > 2500
    assert space.dim_base == 100
    V = tuple(rng.standard_normal(W.shape) for W in weights)
    up = space.vertical_projection(weights, V)
    ref.close(1 + space.differential(weights, up), np.ones(100), 1e-12)
    assert np.isfinite(submersion.entropy_gradient(space, weights)).all()


def kinked(x):
    return jnp.abs(x[0]) + x[1]


def changing(x):
    x[0] = 1.0
    return x


def batched(x):
    return jnp.sum(x, axis=1)


def branching(x):
    return x[0] if x[0] > 0 else x[1]


def symmetric_equations(layers):
    return [A @ A.T - B.T @ B for A, B in pairwise(layers)]


def planted(phi, message, point=(1.0, 0.0, 0.0), constraint=None, kind=ValueError, name=None,
            slowly=False):  # fmt: skip
    marks = [pytest.mark.slow] if slowly else []
    return pytest.param(phi, constraint, point, kind, message, id=name, marks=marks)


FAULTS = [
    planted(height, "constraint is 3 there, and must be 0", (2.0, 0, 0), lambda x: x @ x - 1,
            name="example off the constraint"),
    planted(height, "derivative of constraint has rank 1 at the point, of 2 equations",
            constraint=lambda x: jnp.stack([x @ x - 1, 2 * (x @ x) - 2]), name="twice the same"),
    planted(product, "derivative of constraint has rank 3 at the point, of 4 equations",
            (np.eye(2), np.eye(2)), symmetric_equations, name="symmetric equations", slowly=True),
    planted(product, "derivative of constraint has rank 7 at the point, of 10 equations",
            tuple(dlngeom.factors(DeepLinearNetwork((3, 4, 2), 2).random_point(0))),
            balanced_equations, name="wide inner layer", slowly=True),
    planted(height, "3 equations for 3 unknowns", constraint=lambda x: x, name="too many"),
    planted(height, "derivative of constraint has rank 0", constraint=lambda x: 0 * x[:1],
            name="constant constraint", slowly=True),
    planted(kinked, "phi has a kink at the example", (0.0, 1.0), name="kink"),
    planted(length, "phi or its derivative is not finite at the example", (0.0, 0.0),
            name="nan", slowly=True),
    planted(lambda x: jax.lax.stop_gradient(x) + 0.1 * x, "other rates than its derivative",
            name="no derivative", slowly=True),
    planted(lambda x: x**2, "phi has rank 3 at a random point and 1 at the example",
            name="rank", slowly=True),
    planted(lambda x: 0 * x, "phi is constant near the example", name="constant"),
    planted(batched, r"phi fails for a point of shapes \[\(3,\)\].*without batch axes",
            name="batch"),
    planted(changing, "phi changes its argument in place", name="changes its input"),
    planted(lambda x: np.linalg.norm(x), "phi calls numpy", name="numpy"),
    planted(branching, "phi asks for values of its argument", name="branch"),
    planted(lambda x: jnp.sign(x).astype(int), "phi returns dtype int", name="integers"),
    planted(lambda x: (x, x @ x), "phi returns a number in a tuple", name="number in a tuple"),
    planted(lambda x: None, "phi fails for a point", name="nothing"),
    planted(3.0, "phi=3.0: it must be a function", kind=TypeError, name="no function"),
    planted(height, "point has no entries", np.zeros((0,)), name="no entries"),
    planted(height, "point.*nan", (1.0, np.nan, 0.0), name="not finite"),
]  # fmt: skip


@pytest.mark.parametrize(("phi", "constraint", "point", "kind", "message"), FAULTS)
def test_faults_give_one_sentence(phi, constraint, point, kind, message):
    with pytest.raises(kind, match=message) as error:
        from_map(phi, point, constraint=constraint)
    assert "\n" not in str(error.value)


def test_faulty_points_give_one_sentence():
    space = from_map(lambda x: x**2, np.ones(2))
    with pytest.raises(ValueError, match="phi has rank 1 at the point and 2 at the example"):
        space.vertical_projection(np.array([1.0, 0.0]), np.ones(2))
    with pytest.raises(ValueError, match=r"point has shapes \[\(3,\)\]"):
        space.project(np.ones(3))
    with pytest.raises(ValueError, match=r"vector has shapes \[\(3,\)\]"):
        space.vertical_projection(np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match=r"pass space\.base_point\(x\)"):
        space.base.cometric(np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match=r"point\.value is not phi of point\.above"):
        langevin.brownian_motion(
            space.base,
            submersion.BasePoint(np.zeros(2), np.ones(2)),
            duration=1.0,
            n_steps=1,
            rng=0,
        )
    curved = ellipsoid()
    with pytest.raises(ValueError, match="the point is not one of the space"):
        submersion.horizontal_projection(curved, np.ones(3), np.ones(3))
    assert np.isnan(curved.retraction(np.eye(3)[0], 9 * np.eye(3)[1])).all()


def test_without_jax_the_error_says_what_brings_it(monkeypatch):
    def missing(name, *args, **kwargs):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(_from_map_calculus.importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r'pip install "dlngeom\[jax\]"'):
        from_map(height, np.ones(3))


@pytest.mark.slow
def test_the_base_is_the_one_that_lifting_gives(rng):
    space = projective_line()
    below = space.base_point(space.random_point(rng))
    Z = submersion.cometric(space, below.above, rng.standard_normal(3))
    ref.close(LiftedBase(space).inner(below, Z, Z), space.base.inner(below, Z, Z), 1e-12)
    reached = space.base.retraction(below, 0.1 * Z)
    ref.close(reached.value, space.project(reached.above), 1e-14)
