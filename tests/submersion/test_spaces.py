from dataclasses import dataclass

import numpy as np
import pytest

import dlngeom
from dlngeom import DeepLinearNetwork, check_submersion, submersion
from dlngeom._lib import vectors
from dlngeom.quotients import BuresWasserstein, Grassmann, HermitianSpectrum, Sphere
from dlngeom.submersion import LiftedBase, RiemannianSubmersion
from tests.helpers import reference as ref
from tests.helpers.parameters import slow

SPACES = [
    Sphere(1),
    Sphere(4),
    HermitianSpectrum(2),
    HermitianSpectrum(4),
    BuresWasserstein(3, 3),
    BuresWasserstein(4, 2),
    Grassmann(5, 2),
    Grassmann(3, 3),
    DeepLinearNetwork((3, 2)),
    DeepLinearNetwork((4, 3), 2),
    DeepLinearNetwork((3, 3, 3)),
    DeepLinearNetwork((2, 2, 2, 2)),
    DeepLinearNetwork((2, 4, 3)),
    DeepLinearNetwork((3, 4, 2, 3), 2),
    DeepLinearNetwork((3, 3, 3, 3, 3), 1),
]


@pytest.mark.parametrize("seed", [0, slow(1)])
@pytest.mark.parametrize("space", SPACES, ids=str)
def test_every_submersion_is_one(space, seed):
    errors = check_submersion(space, space.random_point(seed + 3), seed)
    assert len(errors) == 14


@dataclass(frozen=True)
class Spiral(RiemannianSubmersion):
    """The plane over its distances from the origin, with something wrong."""

    wrong: str = "nothing"
    right = Sphere(2)
    dim = 2
    dim_orbit = 1

    @property
    def dim_base(self):
        return 2 if self.wrong == "dimension" else 1

    def random_point(self, rng, batch=()):
        return self.right.random_point(rng, batch)

    def project(self, point):
        tilt = 0.1 * point[..., 0] if self.wrong == "orbit" else 0.0
        return self.right.project(point) + tilt

    def differential(self, point, vector):
        return (2.0 if self.wrong == "differential" else 1.0) * self.right.differential(
            point, vector
        )

    def codifferential(self, point, covector):
        lifted = self.right.codifferential(point, covector)
        scale = {"codifferential": 2.0, "metric": np.sqrt(1 + point[..., :1] ** 2)}
        return scale.get(self.wrong, 1.0) * lifted

    def tangent_projection(self, point, vector):
        return 0.5 * vector if self.wrong == "tangent" else vector

    def vertical_projection(self, point, vector):
        flat = self.right.vertical_projection(point, vector)
        return flat[..., ::-1] if self.wrong == "vertical" else flat

    def retraction(self, point, vector, *, order=2):
        bent = np.sum(vector * vector, axis=-1, keepdims=True) * np.array([0.3, 0.1])
        velocity = 2 * vector if self.wrong == "velocity" else vector
        return point + velocity + (bent if self.wrong == "acceleration" else 0.0)

    def orbit_point(self, point, rng):
        return self.right.orbit_point(point, rng)

    def log_orbit_volume(self, point):
        return (2.0 if self.wrong == "entropy" else 1.0) * self.right.log_orbit_volume(point)


FAILURES = {
    "dimension": "dimensions",
    "orbit": "orbit_point stays on the orbit",
    "differential": "the differential is the derivative of project",
    "codifferential": "codifferential is the adjoint",
    "metric": "codifferential is the adjoint",
    "tangent": "tangent_projection is an orthogonal projection",
    "vertical": "vertical",
    "velocity": "order 1 of the retraction",
    "acceleration": "order 2 of the retraction",
    "entropy": "log_orbit_volume is minus the mean curvature",
}


@pytest.mark.parametrize("wrong", FAILURES)
def test_the_check_names_what_is_wrong(wrong):
    point = np.array([1.3, 0.4])
    check_submersion(Spiral(), point, 0)
    with pytest.raises(ValueError, match=FAILURES[wrong]):
        check_submersion(Spiral(wrong), point, 0)


def test_the_seed_of_the_point_is_no_seed_of_the_test_vectors():
    space = Spiral("acceleration")
    with pytest.raises(ValueError, match="order 2 of the retraction"):
        check_submersion(space, space.random_point(0), 0)


@pytest.mark.slow
def test_deep_networks_pass_too():
    space = DeepLinearNetwork((3,) * 6)
    for seed in range(4):
        point = space.random_point(seed)
        if point.lam[-1] > 0.1 * point.lam[0]:
            check_submersion(space, point, 0)


def test_points_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"the point has shapes \[\(2, 4\)\]"):
        check_submersion(Sphere(4), np.ones((2, 4)), 0)
    with pytest.raises(ValueError, match="the point is not finite"):
        check_submersion(Sphere(2), np.array([1.0, np.nan]), 0)
    with pytest.raises(TypeError, match="it must be a RiemannianSubmersion"):
        check_submersion(Sphere(2).base, np.ones(2), 0)


class _WrongBase(LiftedBase):
    def cometric(self, point, covector):
        return 2 * super().cometric(point, covector)


class _WrongGeometry(Spiral):
    @property
    def base(self):
        return _WrongBase(self)


class _NoVolume(Spiral):
    log_orbit_volume = RiemannianSubmersion.log_orbit_volume


def test_a_wrong_closed_form_downstairs_is_found():
    with pytest.raises(ValueError, match="base is the geometry that lifting gives"):
        check_submersion(_WrongGeometry(), np.array([1.3, 0.4]), 0)


def test_a_space_without_a_volume_is_checked_without_it():
    space = _NoVolume()
    assert len(check_submersion(space, np.array([1.3, 0.4]), 0)) == 13
    with pytest.raises(NotImplementedError, match="no volume"):
        space.log_orbit_volume(1.0)


@pytest.mark.parametrize("space", [x for x in SPACES[3:] if x.dim_base], ids=str)
def test_derived_functions(space, rng):
    x = space.random_point(rng, (2,))
    below = space.project(x)
    G = rng.standard_normal(below.shape)
    Z = submersion.cometric(space, x, G)
    V = submersion.lift(space, x, Z)
    ref.close(space.differential(x, V), Z, 1e-9)
    tangent = submersion.horizontal_projection(space, x, V)
    for one, other in zip(vectors.parts(tangent), vectors.parts(V), strict=True):
        ref.close(one, other, 1e-9)
    # The lift is as long as the vector downstairs.
    flat = vectors.coordinates(V, 1)
    ref.close(np.sum(flat * flat, axis=-1), space.base.inner(below, Z, Z), 1e-9)
    lifted = LiftedBase(space)
    ref.close(lifted.cometric(below, G), space.base.cometric(below, G), 1e-9)
    ref.close(lifted.inner(below, Z, Z), space.base.inner(below, Z, Z), 1e-8)


def test_mean_curvature_of_the_sphere():
    x = np.array([0.6, 0.0, 0.8]) * 2.0
    ref.close(submersion.mean_curvature(Sphere(3), x), -2 * x / 4, 1e-9)


def test_mean_curvature_of_a_network_is_minus_the_force(rng):
    space = DeepLinearNetwork((2, 3, 2))
    x = space.random_point(rng)
    force = dlngeom.thermodynamics.entropy_gradient(space.project(x), space.widths)
    lifted = submersion.lift(space, x, force)
    for H, V in zip(submersion.mean_curvature(space, x), lifted, strict=True):
        ref.close(H, -V, 1e-7)


def test_bures_wasserstein_is_that_of_geomstats(rng):
    from geomstats.geometry.spd_matrices import SPDBuresWassersteinMetric, SPDMatrices

    space = BuresWasserstein(3, 3)
    P = space.project(space.random_point(rng))
    Z = [X + X.T for X in rng.standard_normal((2, 3, 3))]
    metric = SPDBuresWassersteinMetric(SPDMatrices(3, equip=False))
    ref.close(space.base.inner(P, *Z), metric.inner_product(*Z, P), 1e-10)


def test_isospectral_orbits_are_spheres_for_two_eigenvalues():
    x = np.array([-0.4, 1.1])
    # Traceless Hermitian 2 x 2 matrices are R^3, where the orbit has radius gap / sqrt(2).
    assert HermitianSpectrum(2).log_orbit_volume(x) == pytest.approx(
        np.log(4 * np.pi * (1.5**2 / 2))
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: Sphere(0),
        lambda: Grassmann(2, 3),
        lambda: BuresWasserstein(2, 0),
        lambda: HermitianSpectrum(1.5),
    ],
)
def test_bad_sizes(make):
    with pytest.raises(ValueError, match="must be"):
        make()
