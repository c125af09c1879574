"""Fiber bundles of geomstats as submersions."""

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest

with warnings.catch_warnings():
    # geomstats loads its backends in a way that Python has deprecated.
    warnings.simplefilter("ignore", ImportWarning)
    import geomstats.backend as gs
    from geomstats.geometry.discrete_curves import DiscreteCurvesStartingAtOrigin
    from geomstats.geometry.fiber_bundle import FiberBundle
    from geomstats.geometry.full_rank_correlation_matrices import FullRankCorrelationMatrices
    from geomstats.geometry.full_rank_matrices import FullRankMatrices
    from geomstats.geometry.general_linear import GeneralLinear
    from geomstats.geometry.group_action import SpecialOrthogonalComposeAction
    from geomstats.geometry.hypersphere import Hypersphere
    from geomstats.geometry.pre_shape import PreShapeSpace
    from geomstats.geometry.rank_k_psd_matrices import BuresWassersteinBundle
    from geomstats.geometry.spd_matrices import SPDAffineMetric, SPDMatrices

import dlngeom
from dlngeom.geomstats import from_bundle
from dlngeom.langevin import brownian_motion
from dlngeom.quotients import BuresWasserstein
from tests.helpers.parameters import slow


def kendall(landmarks, dimension):
    return quotient(PreShapeSpace(landmarks, dimension), "rotations")


def bures_wasserstein(size, rank):
    total = quotient(FullRankMatrices(size, rank), SpecialOrthogonalComposeAction(rank))
    # It is registered where its class is imported.
    assert isinstance(total.fiber_bundle, BuresWassersteinBundle)
    return total


def quotient(total, action):
    total.equip_with_group_action(action)
    total.equip_with_quotient()
    return total


def correlations(size):
    total = SPDMatrices(size, equip=False)
    total.equip_with_metric(SPDAffineMetric)
    return quotient(total, FullRankCorrelationMatrices.diag_action)


GOOD = {
    "kendall-4-2": kendall(4, 2),
    "kendall-5-3": kendall(5, 3),
    "kendall-4-3": kendall(4, 3),
    "kendall-4-1": kendall(4, 1),
    "bures-wasserstein-4-2": bures_wasserstein(4, 2),
    "bures-wasserstein-3-3": bures_wasserstein(3, 3),
}


class Elsewhere:
    """Pool whose work reaches it as it would another process: with copies of arrays."""

    def map(self, function, items):
        return [function(pickle.loads(pickle.dumps(item))) for item in items]


@pytest.fixture(params=GOOD.values(), ids=GOOD)
def space(request):
    return from_bundle(request.param)


def test_bundles_are_submersions(space):
    errors = dlngeom.check_submersion(space, space.random_point(3), 1)
    assert "the gradient of log_orbit_volume is minus the mean curvature" in errors
    assert space.dim_orbit == space.dim - space.dim_base


def test_dimensions_are_those_of_the_books():
    shapes = from_bundle(kendall(5, 3))
    assert (shapes.dim, shapes.dim_base, shapes.dim_orbit) == (11, 8, 3)
    matrices = from_bundle(bures_wasserstein(4, 2))
    assert (matrices.dim, matrices.dim_base, matrices.dim_orbit) == (8, 7, 1)


def test_the_identity_of_geomstats_is_no_submersion(monkeypatch):
    shapes = from_bundle(kendall(4, 2))

    def horizontal(self, point, vector):
        return self.tangent_projection(point, vector) - self.vertical_projection(point, vector)

    def no_volume(self, point):
        raise NotImplementedError

    monkeypatch.setattr(type(shapes), "project", lambda self, point: point)
    monkeypatch.setattr(type(shapes), "differential", horizontal)
    monkeypatch.setattr(type(shapes), "codifferential", horizontal)
    monkeypatch.setattr(type(shapes), "orbit_point", lambda self, point, rng: point[..., ::-1])
    monkeypatch.setattr(type(shapes), "log_orbit_volume", no_volume)
    with pytest.raises(ValueError, match=r"derivative of project.*orbit_point stays"):
        dlngeom.check_submersion(shapes, shapes.random_point(3), 1)


@pytest.mark.parametrize("name", ["bures-wasserstein-4-2", "kendall-5-3"])
def test_volumes_and_vertical_vectors_are_those_of_the_closed_form(name, rng):
    space = from_bundle(GOOD[name])
    points = space.random_point(rng, (2, 3))
    own = BuresWasserstein(*points.shape[-2:])
    below, V = space.project(points), rng.standard_normal(points.shape)
    np.testing.assert_allclose(space.log_orbit_volume(below), own.log_orbit_volume(below))
    np.testing.assert_allclose(
        space.vertical_projection(points, V), own.vertical_projection(points, V), atol=1e-12
    )


def test_orbits_have_both_orientations():
    shapes = from_bundle(kendall(4, 3))
    x = shapes.random_point(3)
    others = shapes.orbit_point(np.broadcast_to(shapes.project(x), (20, 4, 4)), 5)
    np.testing.assert_allclose(others @ others.mT, np.broadcast_to(x @ x.T, (20, 4, 4)), atol=1e-14)
    assert set(np.sign(np.linalg.det(others[:, :3] @ np.linalg.inv(x[:3])))) == {-1.0, 1.0}


def test_brownian_motion_stays_and_repeats(space):
    options = {"duration": 0.1, "n_steps": 5, "rng": 0, "n_chains": 3}
    x = space.random_point(3)
    ends = brownian_motion(space, x, upstairs=True, **options).points[:, -1]
    copy = pickle.loads(pickle.dumps(space))
    assert copy == space
    assert repr(copy) == repr(space)
    again = brownian_motion(copy, x, upstairs=True, **options).points[:, -1]
    np.testing.assert_array_equal(again, ends)
    pooled = brownian_motion(space, x, upstairs=True, pool=Elsewhere(), **options).points[:, -1]
    np.testing.assert_array_equal(pooled, ends)
    assert np.all(space.total_space.belongs(ends))
    assert np.abs(ends - x).max() > 1e-3
    below = brownian_motion(space, space.project(x), **options).points[:, -1]
    np.testing.assert_allclose(space.project(space.orbit_point(below, 1)), below, atol=1e-13)


@pytest.mark.parametrize("n_steps", [400, slow(2000)])
def test_long_runs_stay_among_the_pre_shapes(n_steps):
    shapes = from_bundle(kendall(4, 2))
    x = shapes.random_point(3)
    run = brownian_motion(
        shapes, x, upstairs=True, duration=n_steps / 40, n_steps=n_steps, rng=0, save_every=n_steps
    )
    end = run.points[0, -1]
    np.testing.assert_allclose(end.mean(axis=0), 0, atol=1e-14)
    assert np.linalg.norm(end) == pytest.approx(1, abs=1e-13)


def test_random_points_come_from_our_generator_alone(space):
    np.random.seed(7)  # noqa: NPY002
    expected = np.random.standard_normal(3)  # noqa: NPY002
    np.random.seed(7)  # noqa: NPY002
    first = from_bundle(space.total_space).random_point(3, (2,))
    space.orbit_point(space.project(first), 0)
    np.testing.assert_array_equal(np.random.standard_normal(3), expected)  # noqa: NPY002
    np.testing.assert_array_equal(space.random_point(3, (2,)), first)
    assert np.all(space.total_space.belongs(first))


def mismatched():
    """Make a bundle whose vertical vectors belong to another group."""
    total = bures_wasserstein(3, 2)
    total.fiber_bundle.vertical_projection = lambda tangent_vec, base_point: 0 * tangent_vec
    return total


def without_base():
    total = FullRankMatrices(3, 2)
    total.equip_with_group_action(lambda group_elem, point: point)
    total.fiber_bundle = FiberBundle(total)
    return total


class Columns(BuresWassersteinBundle):
    """Bundle with a map that reflections change."""

    @staticmethod
    def riemannian_submersion(point):
        return point[..., :1]


def not_invariant():
    total = bures_wasserstein(3, 2)
    total.fiber_bundle = Columns(total)
    return total


BAD = {
    "no fiber bundle": [PreShapeSpace(4, 2), GeneralLinear(3), Hypersphere(2), np.eye(2)],
    "not the Euclidean one": [
        correlations(3),
        quotient(DiscreteCurvesStartingAtOrigin(2, 5), "rotations"),
    ],
    "rotations from the right": [without_base()],
    "not free": [kendall(3, 3)],
    "are not those of the group": [mismatched()],
    "reflections leave as they are": [not_invariant()],
}


@pytest.mark.parametrize(
    ("total", "reason"), [(total, reason) for reason in BAD for total in BAD[reason]]
)
def test_what_does_not_fit_is_refused_with_the_reason(total, reason):
    with pytest.raises(ValueError, match=reason):
        from_bundle(total)


def test_other_backends_are_refused(monkeypatch):
    monkeypatch.setattr(gs, "__name__", "geomstats.pytorch")
    with pytest.raises(ValueError, match=r"geomstats\.pytorch"):
        from_bundle(kendall(4, 2))


@pytest.mark.slow
def test_nothing_else_imports_geomstats():
    script = "import sys, dlngeom, dlngeom.pymanopt; print('geomstats' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
