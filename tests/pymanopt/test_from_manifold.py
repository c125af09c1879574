"""Embedded manifolds of pymanopt as submersions with the trivial group."""

import pickle
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pymanopt import manifolds
from pymanopt.manifolds.manifold import Manifold, RetrAsExpMixin

import dlngeom
from dlngeom import submersion
from dlngeom.flow import gradient_flow
from dlngeom.langevin import brownian_motion
from dlngeom.pymanopt import Quotient, from_manifold
from dlngeom.quotients import BuresWasserstein, ComplexProjective, Grassmann
from tests.helpers.parameters import slow

GOOD = [
    manifolds.Sphere(4),
    manifolds.Sphere(2, 3),
    manifolds.Stiefel(5, 2),
    manifolds.Stiefel(4, 2, k=2),
    manifolds.Oblique(3, 4),
    manifolds.Euclidean(3, 2),
    manifolds.Symmetric(3),
    manifolds.SkewSymmetric(3),
    manifolds.SphereSubspaceIntersection(np.eye(4)[:, :3]),
    manifolds.ComplexCircle(3),
    manifolds.ComplexEuclidean(2),
    manifolds.SphereSubspaceComplementIntersection(np.eye(4)[:, :2]),
    manifolds.SpecialOrthogonalGroup(3),
    slow(manifolds.SpecialOrthogonalGroup(3, k=2, retraction="polar")),
    manifolds.FixedRankEmbedded(4, 3, 2),
]
QUOTIENTS = [
    manifolds.Grassmann(4, 2),
    slow(manifolds.ComplexGrassmann(3, 2, k=2)),
    manifolds.PSDFixedRank(4, 2),
    manifolds.PSDFixedRankComplex(3, 2),
    manifolds.Elliptope(4, 2),
    slow(manifolds.Elliptope(5, 3)),
]


class Sheared(manifolds.Stiefel):
    """Stiefel manifold whose projection is idempotent, and not orthogonal."""

    def projection(self, point, vector):
        return super().projection(point, vector + 0.1 * np.sum(vector * point) * vector[::-1])


class Turning(manifolds.Grassmann):
    """Grassmannian whose retraction depends on the frame."""

    def retraction(self, point, tangent_vector):
        q, r = np.linalg.qr(point + tangent_vector)
        return q * np.sign(np.diag(r))


class Bare(Manifold):
    """Vectors with nothing but what pymanopt requires."""

    def __init__(self):
        super().__init__("bare vectors", 3)

    inner_product = staticmethod(lambda point, a, b: float(np.vdot(a, b)))
    norm = staticmethod(lambda point, a: float(np.linalg.norm(a)))
    projection = staticmethod(lambda point, vector: vector)
    random_point = staticmethod(lambda: np.random.standard_normal((3, 2)))  # noqa: NPY002
    random_tangent_vector = staticmethod(lambda point: point / 2)
    zero_vector = staticmethod(lambda point: 0 * point)


BAD = [
    (manifolds.UnitaryGroup(3), "projection is not the orthogonal one"),
    (Sheared(4, 2), "projection is not the orthogonal one"),
    (Turning(4, 2), "nor a quotient of matrices by rotations"),
    (Bare(), "nor a quotient of matrices by rotations"),
    (manifolds.SymmetricPositiveDefinite(3), "not the Euclidean one"),
    (manifolds.HermitianPositiveDefinite(2), "not the Euclidean one"),
    (manifolds.SpecialHermitianPositiveDefinite(2), "not the Euclidean one"),
    (manifolds.Positive(2, 3), "not the Euclidean one"),
    (manifolds.PoincareBall(3), "not the Euclidean one"),
    (
        manifolds.Product([manifolds.Sphere(3), manifolds.PoincareBall(2)]),
        "a factor of the product cannot be taken: Poincare ball.*not the Euclidean one",
    ),
    (np.eye(3), "no manifold of pymanopt"),
]


class FirstOrder(manifolds.Stiefel):
    """Stiefel manifold with its retraction by QR alone."""

    exp = Manifold.exp


class Pretender(RetrAsExpMixin, manifolds.Stiefel):
    """Stiefel manifold whose ``exp`` warns and retracts."""


class Neither(FirstOrder):
    """Stiefel manifold without any way to move."""

    retraction = Manifold.retraction


def measured_order(space, way, rng):
    """Order of a way to move: one less than that of its tangential error, over all vectors."""
    x = space.random_point(2)
    noise = rng.standard_normal((2, *x.shape))
    V = space.tangent_projection(x, noise[0] + (1j * noise[1] if np.iscomplexobj(x) else 0))
    V = V / np.linalg.norm(V)
    t = 2.0 ** -np.arange(4, 10)
    errors = [
        np.linalg.norm(space.tangent_projection(x, space.each(way, x, s * V) - x - s * V))
        for s in t
    ]
    if max(errors) < 1e-13:
        return np.inf
    return float(np.median(-np.diff(np.log2(errors)))) - 1


@pytest.mark.parametrize("manifold", [*GOOD, *QUOTIENTS], ids=str)
def test_the_way_to_move_is_the_one_whose_order_is_two(manifold, rng):
    space = from_manifold(manifold)
    way = "exp" if space.moves == "exp" else "retraction"
    order = measured_order(space, way, rng)
    assert (order > 1.9) == (space.moves != "corrected"), order


class Elsewhere:
    """Pool whose work reaches it as it would another process: with copies of arrays."""

    def map(self, function, items):
        return [function(pickle.loads(pickle.dumps(item))) for item in items]


def name(manifold):
    return str(manifold)


@pytest.mark.parametrize("manifold", GOOD, ids=name)
def test_embedded_manifolds_are_submersions(manifold):
    space = from_manifold(manifold)
    errors = dlngeom.check_submersion(space, space.random_point(3), 1)
    assert errors["the gradient of log_orbit_volume is minus the mean curvature"] < 1e-12
    assert (space.dim, space.dim_base, space.dim_orbit) == (manifold.dim, manifold.dim, 0)


@pytest.mark.parametrize("manifold", QUOTIENTS, ids=str)
def test_quotients_by_rotations_are_submersions(manifold):
    space = from_manifold(manifold)
    assert len(dlngeom.check_submersion(space, space.random_point(3), 1, orbits=True)) == 16
    assert space.dim_base == manifold.dim
    assert space.moves == "retraction"


def test_grassmannians_and_gram_matrices_are_those_of_the_worked_quotients(rng):
    for manifold, known in (
        (manifolds.Grassmann(4, 2), Grassmann(4, 2)),
        (manifolds.PSDFixedRank(4, 2), BuresWasserstein(4, 2)),
    ):
        space = from_manifold(manifold)
        x, V, G = known.random_point(rng), *rng.standard_normal((2, 4, 4))
        P, V = known.project(x), V[:, :2]
        np.testing.assert_allclose(space.project(x), P, atol=1e-14)
        for method, value in (
            ("codifferential", G),
            ("tangent_projection", V),
            ("vertical_projection", V),
            ("retraction", known.tangent_projection(x, V)),
        ):
            found, expected = (getattr(s, method)(x, value) for s in (space, known))
            np.testing.assert_allclose(found, expected, atol=1e-13)
        np.testing.assert_allclose(space.log_orbit_volume(P), known.log_orbit_volume(P))
        assert (space.dim, space.dim_orbit) == (known.dim, known.dim_orbit)


def test_complex_lines_are_those_of_the_worked_quotient(rng):
    space, known = from_manifold(manifolds.ComplexGrassmann(3, 1)), ComplexProjective(2)
    z = known.random_point(rng)
    x, P = z[:, None], known.project(z)
    np.testing.assert_allclose(space.project(x), P, atol=1e-14)
    assert space.log_orbit_volume(P) == pytest.approx(known.log_orbit_volume(P), abs=1e-14)
    G = rng.standard_normal((3, 3)) + 1j * rng.standard_normal((3, 3))
    found = space.codifferential(x, G)[:, 0]
    np.testing.assert_allclose(found, known.codifferential(z, G), atol=1e-13)


FACTORS = [
    manifolds.Sphere(2),
    manifolds.Stiefel(2, 2),
    manifolds.Grassmann(3, 2),
    manifolds.FixedRankEmbedded(2, 2, 1),
]


@pytest.mark.slow
def test_products_are_submersions():
    space = from_manifold(manifolds.Product(FACTORS))
    assert len(dlngeom.check_submersion(space, space.random_point(3), 1, orbits=True)) == 16


def test_products_are_their_parts(rng):
    space = from_manifold(manifolds.Product(FACTORS))
    alone = [from_manifold(x) for x in FACTORS]
    x = space.random_point(3)
    assert space.dim == sum(s.dim for s in alone)
    assert space.dim_base == sum(m.dim for m in FACTORS)
    V = space.tangent_projection(x, tuple(rng.standard_normal(y.shape) for y in x))
    for one, part, y, U in zip(space.retraction(x, V), alone, x, V, strict=True):
        np.testing.assert_array_equal(one, part.retraction(y, U))
    copy = pickle.loads(pickle.dumps(space))
    assert repr(copy) == repr(space)
    options = {"upstairs": True, "duration": 0.1, "n_steps": 3, "rng": 0, "n_chains": 2}
    runs = [brownian_motion(s, list(x), **options).points for s in (space, copy)]
    for one, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="a tuple of 4 points"):
        brownian_motion(space, x[:2], **options)
    with pytest.raises(ValueError, match="is not on Sphere"):
        brownian_motion(space, (2 * x[0], *x[1:]), **options)
    with pytest.raises(ValueError, match="batch axes"):
        brownian_motion(space, (np.stack([x[0], x[0]]), *x[1:]), **options)


def test_what_pymanopt_took_comes_back():
    space = Grassmann(4, 2)
    assert from_manifold(Quotient(space)) is space
    both = from_manifold(manifolds.Product([manifolds.Sphere(3), Quotient(space)]))
    assert both.dim_orbit == space.dim_orbit
    manifold = Quotient(both, rng=0)
    assert len(manifold.random_point()) == 2


def test_matrices_of_a_lower_rank_are_refused():
    space = from_manifold(manifolds.FixedRankEmbedded(4, 3, 2))
    with pytest.raises(ValueError, match="rank below 2"):
        space.check_point(np.ones((4, 3)))
    with pytest.raises(ValueError, match="is not on"):
        space.check_point(np.eye(4, 3))


@pytest.mark.parametrize(("manifold", "reason"), BAD, ids=lambda x: x if type(x) is str else "")
def test_what_does_not_fit_is_refused_with_the_reason(manifold, reason):
    with pytest.raises(ValueError, match=reason):
        from_manifold(manifold)


def test_a_manifold_that_cannot_move_is_refused():
    with pytest.raises(ValueError, match="neither exp nor retraction"):
        from_manifold(Neither(4, 2))


@pytest.mark.parametrize("manifold", [FirstOrder(5, 2), Pretender(5, 2)], ids=name)
def test_a_retraction_of_first_order_is_corrected(manifold):
    space = from_manifold(manifold)
    errors = dlngeom.check_submersion(space, space.random_point(3), 1)
    assert errors["order 2 of the retraction"] < 0.1
    x, V = space.random_point(0), np.zeros((5, 2))
    np.testing.assert_allclose(space.retraction(x, V), x, atol=1e-14)


def test_without_the_correction_the_check_fails(monkeypatch):
    space = from_manifold(FirstOrder(5, 2))
    monkeypatch.setattr(type(space), "_corrected", lambda self, point, vector: vector)
    with pytest.raises(ValueError, match="order 2 of the retraction"):
        dlngeom.check_submersion(space, space.random_point(3), 1)


@pytest.mark.parametrize("manifold", GOOD, ids=name)
def test_chains_are_those_of_single_points(manifold, rng):
    space = from_manifold(manifold)
    points = space.random_point(5, (2, 3))
    single = space.random_point(5)
    np.testing.assert_array_equal(points[0, 0], single)
    V = space.tangent_projection(points, rng.standard_normal(points.shape))
    moved = space.retraction(points, V)
    alone = space.retraction(points[1, 2], V[1, 2])
    np.testing.assert_allclose(moved[1, 2], alone, rtol=1e-13, atol=1e-13)
    assert space.log_orbit_volume(points).shape == (2, 3)
    assert space.random_point(5, (0,)).shape == (0, *single.shape)


def test_the_global_random_state_is_left_alone():
    space = from_manifold(manifolds.Sphere(4))
    np.random.seed(7)  # noqa: NPY002
    expected = np.random.standard_normal(3)  # noqa: NPY002
    np.random.seed(7)  # noqa: NPY002
    from_manifold(manifolds.Stiefel(5, 2))
    first = space.random_point(3)
    np.testing.assert_array_equal(np.random.standard_normal(3), expected)  # noqa: NPY002
    np.testing.assert_array_equal(space.random_point(3), first)
    assert np.abs(space.random_point(4) - first).max() > 0.01
    stream = np.random.default_rng(0)
    assert np.abs(space.random_point(stream) - space.random_point(stream)).max() > 0.01


@pytest.mark.parametrize("manifold", [*GOOD, FirstOrder(5, 2)], ids=name)
def test_brownian_motion_stays_and_repeats(manifold):
    space = from_manifold(manifold)
    options = {"upstairs": True, "duration": 0.1, "n_steps": 5, "rng": 0, "n_chains": 3}
    x = space.random_point(3)
    ends = brownian_motion(space, x, **options).points[:, -1]
    copy = pickle.loads(pickle.dumps(space))
    np.testing.assert_array_equal(brownian_motion(copy, x, **options).points[:, -1], ends)
    pooled = brownian_motion(space, x, pool=Elsewhere(), **options).points[:, -1]
    np.testing.assert_array_equal(pooled, ends)
    back = space.retraction(ends, 0 * ends, order=1)
    np.testing.assert_allclose(back, ends, atol=1e-13)
    assert np.abs(ends - x).max() > 1e-3


def test_long_runs_stay_on_the_manifold():
    space = from_manifold(manifolds.Stiefel(4, 2))
    x = space.random_point(3)
    run = brownian_motion(space, x, upstairs=True, duration=10, n_steps=400, rng=0, save_every=400)
    end = run.points[0, -1]
    np.testing.assert_allclose(end.T @ end, np.eye(2), atol=1e-11)


def test_spaces_are_told_apart():
    first, second = (
        from_manifold(manifolds.SphereSubspaceIntersection(np.eye(4)[:, i : i + 3]))
        for i in range(2)
    )
    assert repr(first) != repr(second)
    assert repr(first) == repr(pickle.loads(pickle.dumps(first)))
    with pytest.raises(AttributeError):
        first.manifold = None


def cosine_gap(space, beta=1.5, duration=0.3):
    """Distance of the mean of ``x(t).x(0)`` from its law, in standard errors."""
    x = space.random_point(3)
    run = brownian_motion(
        space, x, upstairs=True, beta=beta, duration=duration, n_steps=30, rng=0,
        n_chains=500, save_every=30,
    )  # fmt: skip
    cosines = run.points[:, -1] @ x
    error = cosines.std() / len(cosines) ** 0.5
    return abs(cosines.mean() - np.exp(-2 * duration / beta)) / error


@pytest.mark.slow
def test_brownian_motion_on_the_sphere_decays_by_its_first_eigenvalue(monkeypatch):
    space = from_manifold(manifolds.Sphere(3))
    assert cosine_gap(space) < 5
    honest = type(space).retraction
    monkeypatch.setattr(
        type(space), "retraction", lambda self, x, V, *, order=2: honest(self, x, 2**0.5 * V)
    )
    # A p-value of 1e-9 and less.
    assert cosine_gap(space) > 6.2


class Slow(manifolds.Sphere):
    """Sphere whose draws take two parts, with time for another thread in between."""

    def random_point(self):
        first = np.random.normal(size=2)  # noqa: NPY002
        time.sleep(0.002)
        point = np.concatenate([first, np.random.normal(size=2)])  # noqa: NPY002
        return point / np.linalg.norm(point)


def test_threads_do_not_see_each_others_draws():
    spaces = [from_manifold(Slow(4)), from_manifold(Slow(4))]
    alone = [spaces[k % 2].random_point(k, (3,)) for k in range(8)]
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda k: spaces[k % 2].random_point(k, (3,)), range(8)))
    for k in range(8):
        np.testing.assert_array_equal(together[k], alone[k])
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


OFF = [
    (manifolds.Sphere(3), lambda x: 2 * x),
    (manifolds.Sphere(3), lambda x: x * (1 + 1e-6)),
    (manifolds.Sphere(2, 3), np.zeros_like),
    (manifolds.Stiefel(5, 2), lambda x: x * [1, 2]),
    (manifolds.Stiefel(4, 2, k=2), lambda x: x + 1e-3),
    (manifolds.Oblique(3, 4), lambda x: x * [1, 1, 1, 3]),
    (manifolds.Symmetric(3), lambda x: x + np.triu(np.ones((3, 3)), 1)),
    (manifolds.SkewSymmetric(3), lambda x: x + np.eye(3)),
    (manifolds.SphereSubspaceIntersection(np.eye(4)[:, :3]), lambda x: x[::-1].copy()),
    (manifolds.ComplexCircle(3), lambda x: 1.1 * x),
    (manifolds.SpecialOrthogonalGroup(3), lambda x: 1.1 * x),
]


def starts(space, point, run):
    """Flow or diffuse from a point, or ask for its gradient."""
    if run == "flow":
        return gradient_flow(space, point, lambda x: x, [0.0, 0.1])
    if run == "upstairs":
        return gradient_flow(space, point, lambda x: x, [0.0, 0.1], upstairs=True)
    if run == "walk":
        options = {"beta": 1.0, "duration": 0.1, "n_steps": 2, "rng": 0}
        return brownian_motion(space, point, **options)
    return submersion.gradient(space, point, point)


@pytest.mark.parametrize("run", ["flow", "upstairs", "walk", "gradient"])
@pytest.mark.parametrize(("manifold", "change"), OFF, ids=lambda x: str(x)[:20])
def test_points_off_the_manifold_are_refused(manifold, change, run):
    space = from_manifold(manifold)
    points = space.random_point(0, (3,))
    starts(space, points, run)
    points[1] = change(points[1])
    for bad in (points, points[1]):
        with pytest.raises(ValueError, match=r"is not on .*: off by"):
            starts(space, bad, run)


@pytest.mark.parametrize(
    ("manifold", "change"),
    [
        (manifolds.Grassmann(4, 2), lambda x: x * [1, 1.1]),
        (manifolds.Elliptope(4, 2), lambda x: 1.1 * x),
        (manifolds.ComplexGrassmann(3, 2), lambda x: 1.1 * x),
    ],
    ids=lambda x: str(x)[:20],
)
def test_points_off_a_quotient_are_refused_on_both_floors(manifold, change):
    space = from_manifold(manifold)
    points = space.random_point(0, (3,))
    points[1] = change(points[1])
    for upstairs in (True, False):
        start = points if upstairs else space.project(points)
        with pytest.raises(ValueError, match=r"is not on .*: off by"):
            gradient_flow(space, start, lambda x: x, [0.0, 0.1], upstairs=upstairs)
        place = space if upstairs else space.base
        with pytest.raises(ValueError, match=r"is not on .*: off by"):
            brownian_motion(place, start, upstairs=upstairs, duration=0.1, n_steps=2, rng=0)


@pytest.mark.parametrize("manifold", GOOD, ids=str)
@pytest.mark.parametrize("size", [1e-8, 1, 1e8])
def test_points_on_the_manifold_are_taken(manifold, size):
    space = from_manifold(manifold)
    points = space.random_point(1, (5,))
    if "uclidean" in str(manifold) or "ymmetric" in str(manifold):
        points = size * points
    assert space.check_point(points) is points
    single = points.astype(np.complex64 if space.complex else np.float32)
    assert space.check_point(single) is single
    assert space.check_point(points[:0]).shape == (0, *space.shape)


@pytest.mark.parametrize(
    ("point", "message"),
    [
        (np.ones(4), r"shape \(4,\): it must end in \(3,\)"),
        (np.array([np.nan, 0, 0]), "finite"),
        (np.array([1, 0, 0j]), "complex128"),
        (1.0, "float"),
    ],
)
@pytest.mark.parametrize("run", ["flow", "upstairs", "gradient"])
def test_what_is_no_point_is_refused(point, message, run):
    with pytest.raises((ValueError, TypeError), match=message):
        starts(from_manifold(manifolds.Sphere(3)), point, run)


ARGUMENTS = {
    "ComplexCircle": (2,), "ComplexEuclidean": (2,), "Euclidean": (2,),
    "FixedRankEmbedded": (3, 2, 1),
    "HermitianPositiveDefinite": (2,), "PoincareBall": (2,), "SkewSymmetric": (2,), "Sphere": (3,),
    "SpecialHermitianPositiveDefinite": (2,), "SpecialOrthogonalGroup": (3,), "Symmetric": (2,),
    "SphereSubspaceComplementIntersection": (np.eye(4)[:, :2],), "UnitaryGroup": (2,),
    "SphereSubspaceIntersection": (np.eye(4)[:, :2],), "SymmetricPositiveDefinite": (2,),
    "Product": ([manifolds.Sphere(3), manifolds.Grassmann(3, 1)],),
}  # fmt: skip


def table():
    """Rows of the guide, by the name of the manifold."""
    page = (Path(__file__).parents[2] / "docs" / "guide" / "extend.md").read_text()
    return {x: y for x, *y in re.findall(r"^\| `(\w+)` \| (\w+) \| (.*) \|$", page, re.MULTILINE)}


def test_the_table_of_the_guide_lists_every_manifold():
    assert set(table()) == set(manifolds.__all__)


@pytest.mark.parametrize("kind", sorted(manifolds.__all__))
def test_the_table_of_the_guide_is_true(kind):
    taken, words = table()[kind]
    manifold = getattr(manifolds, kind)(*ARGUMENTS.get(kind, (3, 2)))
    if taken == "no":
        with pytest.raises(ValueError, match=words):
            from_manifold(manifold)
        return
    space = from_manifold(manifold)
    kinds = {
        "embedded": "EmbeddedManifold",
        "quotient": "RotationQuotient",
        "product": "ProductSpace",
    }
    assert type(space).__name__ == kinds[taken]
    if taken != "product":
        assert words.startswith({"exp": "`exp`", "retraction": "its retraction"}[space.moves])
