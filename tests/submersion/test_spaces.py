from dataclasses import dataclass

import numpy as np
import pytest

import dlngeom
from dlngeom import DeepLinearNetwork, check_submersion, submersion
from dlngeom._lib import vectors
from dlngeom.langevin import brownian_motion, riemannian_langevin
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


CAUSES = FAILURES | {
    # The projection is what is wrong, and the first check that uses it is that of its derivative.
    "orbit": "the differential is the derivative of project",
    "vertical": "vertical_projection is an orthogonal projection",
}


@pytest.mark.parametrize("wrong", CAUSES)
def test_the_cause_comes_first(wrong):
    space = Spiral(wrong)
    cause = rf"^Spiral\(wrong='{wrong}'\) is no Riemannian submersion: [^;]*{CAUSES[wrong]}"
    with pytest.raises(ValueError, match=cause):
        check_submersion(space, np.array([1.3, 0.4]), 0)


def test_what_a_fault_makes_impossible_follows_it():
    class Lost(Spiral):
        def differential(self, point, vector):
            return 2 * super().differential(point, vector)

        def orbit_point(self, point, rng):
            if isinstance(rng, np.random.Generator):
                raise KeyError("orbit")
            return super().orbit_point(point, rng)

    with pytest.raises(ValueError, match=r"derivative of project: .* orbit_point .*: KeyError"):
        check_submersion(Lost(), np.array([1.3, 0.4]), 0)


class Plain(RiemannianSubmersion):
    """A sphere by a class without a name of its own; one of its methods may write in place."""

    def __init__(self, careless="", argument=0, when=(0, 1)):
        self.right, self.careless = Sphere(3), careless
        self.argument, self.when = argument, when

    dim, dim_base, dim_orbit = 3, 1, 2

    def random_point(self, rng, batch=()):
        return (self.right.random_point(rng, batch),)

    def _spoil(self, name, *arguments):
        if name == self.careless:
            chosen = arguments[self.argument]
            for x in chosen if isinstance(chosen, tuple) else (chosen,):
                if isinstance(x, np.ndarray) and x.ndim - 1 in self.when:
                    x *= 1.5

    def embedding(self, point):
        self._spoil("embedding", point)
        return (point[0].copy(),)

    def project(self, point):
        self._spoil("project", point)
        return self.right.project(point[0])

    def differential(self, point, vector):
        self._spoil("differential", point, vector)
        return self.right.differential(point[0], vector[0])

    def codifferential(self, point, covector):
        self._spoil("codifferential", point, covector)
        return (self.right.codifferential(point[0], covector),)

    def tangent_projection(self, point, vector):
        self._spoil("tangent_projection", point, vector)
        return vector

    def vertical_projection(self, point, vector):
        self._spoil("vertical_projection", point, vector)
        return (self.right.vertical_projection(point[0], vector[0]),)

    def retraction(self, point, vector, *, order=2):
        self._spoil(f"retraction {order}", point, vector)
        return (point[0] + vector[0],)

    def orbit_point(self, point, rng):
        self._spoil("orbit_point", point[..., None])
        return (self.right.orbit_point(point, rng),)

    def log_orbit_volume(self, point):
        self._spoil("log_orbit_volume", point[..., None])
        return self.right.log_orbit_volume(point)


CARELESS = [
    ("embedding", ("point",)),
    ("project", ("point",)),
    ("differential", ("point", "vector")),
    ("codifferential", ("point",)),
    ("tangent_projection", ("point", "vector")),
    ("vertical_projection", ("point", "vector")),
    ("retraction 1", ("point", "vector")),
    ("retraction 2", ("point", "vector")),
    ("orbit_point", ("point",)),
    ("log_orbit_volume", ("point",)),
]


@pytest.mark.parametrize(("method", "arguments"), CARELESS)
@pytest.mark.parametrize("when", [(0, 1), slow((0,)), (1,)])
def test_methods_that_change_their_arguments_are_named(method, arguments, when):
    point = (np.array([1.3, 0.4, -0.2]),)
    before = point[0].copy()
    check_submersion(Plain(), point, 0)
    for i, argument in enumerate(arguments):
        name = method.split()[0]
        words = rf"^Plain is no .*: {name} changes its argument {argument} in place, it must"
        with pytest.raises(ValueError, match=words):
            check_submersion(Plain(method, i, when), point, 0)
        assert np.array_equal(point[0], before)


class _CarelessBase(LiftedBase):
    careless = ""

    def cometric(self, point, covector):
        found = super().cometric(point, covector)
        covector *= 2 if self.careless == "cometric" else 1
        return found

    def inner(self, point, first, second):
        found = super().inner(point, first, second)
        second *= 2 if self.careless == "inner" else 1
        return found

    def retraction(self, point, vector, *, order=2):
        found = super().retraction(point, vector, order=order)
        vector *= 2 if self.careless == "retraction" else 1
        return found

    def inverse_cometric(self, point, vector):
        found = submersion.inverse_cometric(LiftedBase(self.space), point, vector)
        vector *= 2 if self.careless == "inverse_cometric" else 1
        return found


@pytest.mark.parametrize(
    ("method", "argument"),
    [
        ("cometric", "covector"),
        ("inner", "second"),
        ("retraction", "vector"),
        ("inverse_cometric", "vector"),
    ],
)
def test_methods_of_the_base_that_change_their_arguments_are_named(method, argument):
    class Careless(HermitianSpectrum):
        @property
        def base(self):
            base = _CarelessBase(self)
            object.__setattr__(base, "careless", method)
            return base

    words = rf"Careless\(n=3\) is .*: {method} of the base changes its argument {argument} in"
    with pytest.raises(ValueError, match=words):
        check_submersion(Careless(3), HermitianSpectrum(3).random_point(0), 0)


@pytest.mark.parametrize("space", [Plain(), LiftedBase(Plain())], ids=["above", "below"])
def test_errors_have_no_addresses(space):
    point, calls = (np.ones(2),), []
    if isinstance(space, RiemannianSubmersion):
        calls.append(lambda: check_submersion(space, point, 0))
    else:
        calls.append(lambda: check_submersion(space, point, 0))
        calls.append(lambda: brownian_motion(space, np.ones(()), upstairs=True, **_RUN))
    calls.append(lambda: brownian_motion(space, (point[0], point[0]), **_RUN))
    calls.append(lambda: riemannian_langevin(space, point, adjust=True, **_RUN, beta=1.0))
    for call in calls:
        with pytest.raises((TypeError, ValueError), match="Plain") as caught:
            call()
        assert " at 0x" not in str(caught.value)


_RUN = {"duration": 0.1, "n_steps": 1, "rng": 0}


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
    pytest.importorskip("geomstats.backend", exc_type=ImportError)
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
