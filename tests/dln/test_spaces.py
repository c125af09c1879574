"""The network as a Riemannian submersion, and flows of a submersion of one's own."""

from typing import NamedTuple

import numpy as np
import pytest

import dlngeom
from dlngeom import SVD, DeepLinearNetwork, Frames, InfinitelyDeepNetwork, endtoend
from dlngeom.dln import EndToEndGeometry
from dlngeom.flow import FlowError, gradient_flow
from dlngeom.network import _layers as network
from dlngeom.submersion import Base, RiemannianSubmersion, horizontal_projection
from tests.helpers import reference as ref

CASES = [
    ((3, 4), None),
    ((3, 4), 2),
    ((3, 3, 3), None),
    ((4, 2, 5), None),
    ((3, 4, 3, 5), 2),
    ((2, 2, 2, 2, 2), 1),
    ((4, 4, 4, 4), 3),
]


@pytest.fixture(params=CASES, ids=str)
def space(request):
    return DeepLinearNetwork(*request.param)


@pytest.fixture
def point(space, rng):
    return ref.random_frames(space.widths, space.rank, rng)


def end_to_end(space):
    return space.widths[-1], space.widths[0]


def test_dimensions(space, point):
    m, n = end_to_end(space)
    r = space.rank
    assert space.depth == len(space.widths) - 1
    assert space.dim == len(ref.tangent_basis(point))
    assert space.dim_base == space.base.dim == r * (m + n - r)
    assert space.dim_orbit == space.dim - space.dim_base
    if space.depth > 1:
        assert space.dim_orbit == len(ref.vertical_basis(point))
    base = space.base
    assert (base.m, base.n, base.rank, base.depth) == (m, n, r, space.depth)


def test_spaces_are_values(space):
    same = DeepLinearNetwork(list(space.widths), space.rank)
    assert same == space
    assert hash(same) == hash(space)
    assert len({same, space, space.base, same.base}) == 2
    assert space != DeepLinearNetwork((*space.widths, 5), 1)
    assert str(space).startswith("DeepLinearNetwork(widths=(")
    for name in ("widths", "rank"):
        with pytest.raises(AttributeError):
            setattr(space, name, 1)
    assert DeepLinearNetwork(np.array([3, 4])).widths == (3, 4)
    deep = InfinitelyDeepNetwork(3)
    assert deep == InfinitelyDeepNetwork(3)
    assert len({deep, InfinitelyDeepNetwork(3)}) == 1
    assert (deep.m, deep.n, deep.rank, deep.depth, deep.dim) == (3, 3, 3, np.inf, 9)
    assert str(deep) == "InfinitelyDeepNetwork(width=3)"


def test_differential_of_any_network(space, rng):
    layers, V = ref.random_layers(space.widths, rng), ref.random_layers(space.widths, rng)
    ref.close(network.differential(layers, V), ref.dphi(layers, V), 1e-13)
    batch = [ref.random_layers(space.widths, rng, (2,)) for _ in range(2)]
    together = network.differential(*batch)
    for k in range(2):
        one = network.differential(*([x[k] for x in layers] for layers in batch))
        ref.close(together[k], one, 1e-14)


def test_differential_refuses_other_shapes(rng):
    layers = ref.random_layers((3, 2, 4), rng)
    with pytest.raises(ValueError, match=r"factors and vector have shapes .*\(2, 3\).*\(2, 2\)"):
        network.differential(layers, ref.random_layers((2, 2, 4), rng))
    with pytest.raises(ValueError, match=r"W_2\[0, 0\] is nan"):
        network.differential(layers, (layers[0], np.full((4, 2), np.nan)))


def test_projection_differential_and_codifferential(space, point, rng):
    layers = ref.balanced_layers(point)
    ref.close(space.project(point), ref.product(layers), 1e-13)
    V, Z = ref.random_layers(space.widths, rng), rng.standard_normal(end_to_end(space))
    V = space.tangent_projection(point, V)
    ref.close(space.differential(point, V), ref.dphi(layers, V), 1e-13)
    lifted = space.codifferential(point, Z)
    assert np.sum(space.differential(point, V) * Z) == pytest.approx(ref.dot(V, lifted))


def test_codifferential_is_horizontal(space, point, rng):
    Z = rng.standard_normal(end_to_end(space))
    lifted = space.codifferential(point, Z)
    ref.close_layers(space.tangent_projection(point, lifted), lifted, 1e-12)
    ref.close_layers(horizontal_projection(space, point, lifted), lifted, 1e-12)
    size = np.sqrt(ref.dot(lifted, lifted))
    vertical = space.vertical_projection(point, lifted)
    assert ref.dot(vertical, vertical) <= (1e-12 * size) ** 2


def test_the_differential_of_the_codifferential_is_the_cometric(space, point, rng):
    Z = rng.standard_normal(end_to_end(space))
    down = space.differential(point, space.codifferential(point, Z))
    W = dlngeom.svd(space.project(point), space.rank)
    ref.close(down, dlngeom.dense((W, space.base.cometric(W, Z))), 1e-12)
    if space.depth > 1:
        literal = ref.cometric(W, Z, space.depth)
        ref.close(down, literal, 1e-12)


def test_horizontal_vectors_keep_their_length(space, point, rng):
    H = horizontal_projection(space, point, ref.random_layers(space.widths, rng))
    W = dlngeom.svd(space.project(point), space.rank)
    Z = dlngeom.points._covectors.components(W, space.differential(point, H))
    assert space.base.inner(W, Z, Z) == pytest.approx(ref.dot(H, H))


def test_vertical_vectors_are_in_the_kernel(space, point, rng):
    V = space.vertical_projection(point, ref.random_layers(space.widths, rng))
    size = np.sqrt(ref.dot(V, V))
    assert (size > 0.1) == (space.dim_orbit > 0)
    assert np.max(np.abs(space.differential(point, V))) <= 1e-13 * max(size, 1)


def test_retractions(space, point, rng):
    V = space.tangent_projection(point, ref.random_layers(space.widths, rng))
    steps = np.geomspace(1e-3, 1e-2, 5)
    for order in (1, 2):
        gaps = []
        for t in steps:
            moved = dlngeom.factors(space.retraction(point, [t * x for x in V], order=order))
            straight = [x + t * v for x, v in zip(ref.balanced_layers(point), V, strict=True)]
            gaps.append(np.linalg.norm(ref.flatten(moved) - ref.flatten(straight)))
        assert ref.slope(steps, gaps) > 1.9
    W = dlngeom.svd(space.project(point), space.rank)
    Z = ref.random_tangent(W, rng)
    expected = endtoend.retraction(W, Z, space.depth)
    ref.close(dlngeom.dense(space.base.retraction(W, Z)), dlngeom.dense(expected), 1e-14)


@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_orbit_points_lie_over_their_matrix(batch, space, rng):
    frames = ref.random_frames(space.widths, space.rank, rng, batch=batch)
    W = space.project(frames)
    for point in (W, dlngeom.svd(W, space.rank)):
        one, two = (space.orbit_point(point, seed) for seed in (1, 2))
        assert isinstance(one, Frames)
        space.check_point(one)
        ref.close(space.project(one), W, 1e-13)
        again = space.orbit_point(point, 1)
        for x, y in zip(one.q, again.q, strict=True):
            assert np.array_equal(x, y)
        inner = [not np.allclose(x, y) for x, y in zip(one.q, two.q, strict=True)]
        assert inner == [False, *[True] * (space.depth - 1), False]
    generator = np.random.default_rng(1)
    drawn = space.orbit_point(W, generator)
    ref.close_layers(drawn.q, space.orbit_point(W, 1).q, 0)


def test_orbit_points_are_uniform(rng):
    """Frames of the fibre have the moments of the uniform distribution."""
    space = DeepLinearNetwork((2, 3, 2))
    W = np.broadcast_to(rng.standard_normal((2, 2)), (20_000, 2, 2))
    q = space.orbit_point(W, 5).q[1]
    assert np.max(np.abs(np.mean(q, axis=0))) < 0.02
    ref.close(np.mean(q @ q.mT, axis=0), 2 / 3 * np.eye(3), 0.02)


@pytest.mark.parametrize("batch", [(), (5,), (2, 3)])
def test_random_points(batch, space):
    x = space.random_point(3, batch)
    assert x.lam.shape == (*batch, space.rank)
    assert [q.shape for q in x.q] == [(*batch, d, space.rank) for d in space.widths]
    space.check_point(x)
    assert np.all((x.lam > 0) & (x.lam <= 1))
    assert np.all(np.diff(x.lam) <= 0)
    again, other = space.random_point(3, batch), space.random_point(4, batch)
    assert np.array_equal(x.lam, again.lam)
    assert np.array_equal(x.q[1], again.q[1])
    assert not np.array_equal(x.lam, other.lam)
    W = space.base.random_point(3, batch)
    space.base.check_point(W)
    assert isinstance(W, SVD)
    assert W.u.shape == (*batch, space.widths[-1], space.rank)
    assert W.vt.shape == (*batch, space.rank, space.widths[0])
    with pytest.raises(ValueError, match=r"rng=.*: pass a numpy.random.Generator or a seed"):
        space.random_point("seed")


def test_random_points_at_infinite_depth():
    space = InfinitelyDeepNetwork(3)
    W = space.random_point(0, (4,))
    assert W.s.shape == (4, 3)
    space.check_point(W)
    ref.close(dlngeom.dense(W), dlngeom.dense(space.random_point(0, (4,))), 0)
    Z = np.ones((4, 3, 3))
    ref.close(
        dlngeom.dense((W, space.cometric(W, Z))),
        endtoend.cometric(dlngeom.dense(W), Z, np.inf),
        1e-12,
    )


def test_random_networks_lie_over_random_matrices():
    """Both draw the singular values of layers from one distribution."""
    space = DeepLinearNetwork((2, 3, 2))
    up = space.random_point(0, (4000,)).lam ** 2
    down = space.base.random_point(1, (4000,)).s
    for k in range(2):
        assert np.mean(up[:, k]) == pytest.approx(np.mean(down[:, k]), abs=0.03)


def test_spaces_refuse_points_of_others():
    space = DeepLinearNetwork((3, 4, 3), 2)
    x = space.random_point(0)
    with pytest.raises(
        ValueError, match=r"has widths \(3, 4\) and rank 2: they must be \(3, 4, 3\)"
    ):
        space.check_point(Frames(x.lam, x.q[:2]))
    with pytest.raises(ValueError, match="of type ndarray: upstairs it must be Frames"):
        space.check_point(space.project(x))
    with pytest.raises(ValueError, match=r"lam has an entry -1: singular values must be >= 0"):
        space.check_point(x._replace(lam=np.array([1.0, -1.0])))
    with pytest.raises(ValueError, match=r"rank=3: it must be an integer from 1 to 2"):
        DeepLinearNetwork((3, 2, 3), 3)
    for depth in (0, -1, 1.5, np.inf):
        with pytest.raises(ValueError, match=r"depth=.*"):
            EndToEndGeometry(3, 3, 2, depth)
    with pytest.raises(ValueError, match=r"rank=4: it must be an integer from 1 to 3"):
        EndToEndGeometry(5, 3, 4, 2)
    with pytest.raises(ValueError, match="m=0: it must be an integer of at least 1"):
        EndToEndGeometry(0, 3, 1, 2)
    with pytest.raises(ValueError, match="its rank is below 3"):
        InfinitelyDeepNetwork(3).check_point(np.diag([1.0, 1.0, 0.0]))
    with pytest.raises(ValueError, match=r"has shape \(2, 3\): it must be \(..., 3, 3\)"):
        InfinitelyDeepNetwork(3).check_point(np.ones((2, 3)))


class HalfLine(Base):
    """Radii, with the Euclidean metric and no flow of their own."""

    dim = 1

    def random_point(self, rng, batch=()):
        return np.random.default_rng(rng).uniform(0.5, 1.5, batch)

    def cometric(self, point, covector):
        return covector

    def inner(self, point, first, second):
        return first * second

    def retraction(self, point, vector, *, order=2):
        return point + vector


class Spheres(RiemannianSubmersion):
    """Vectors over their lengths: ``R^d`` without zero modulo rotations."""

    dim, dim_base, dim_orbit, base = 3, 1, 2, HalfLine()

    def random_point(self, rng, batch=()):
        return np.random.default_rng(rng).standard_normal((*batch, 3))

    def project(self, point):
        return np.linalg.norm(point, axis=-1)

    def differential(self, point, vector):
        return np.sum(self._direction(point) * vector, axis=-1)

    def codifferential(self, point, covector):
        return np.asarray(covector)[..., None] * self._direction(point)

    def tangent_projection(self, point, vector):
        return vector

    def vertical_projection(self, point, vector):
        return vector - self.codifferential(point, self.differential(point, vector))

    def retraction(self, point, vector, *, order=2):
        return point + vector

    def orbit_point(self, point, rng):
        x = self.random_point(rng, np.shape(point))
        return self._direction(x) * np.asarray(point)[..., None]

    @staticmethod
    def _direction(point):
        return point / np.linalg.norm(point, axis=-1, keepdims=True)


@pytest.mark.parametrize("batch", [(), (4,)])
def test_flows_of_a_submersion_of_ones_own(batch):
    """``E = (r - 2)^2 / 2`` over the lengths: they relax exponentially, directions stay."""
    space = Spheres()
    x = space.random_point(0, batch)
    t = np.linspace(0, 2, 5)
    seen = []

    def gradient(r):
        seen.append(np.shape(r))
        return r - 2

    def energy(r):
        seen.append(np.shape(r))
        return (r - 2) ** 2 / 2

    options = {"rtol": 1e-11, "energy": energy, "dense_output": True}
    up = gradient_flow(space, x, gradient, t, upstairs=True, **options)
    down = gradient_flow(space, space.project(x), gradient, t, **options)
    assert set(seen) == {batch}
    r = np.atleast_1d(space.project(x))[:, None]
    exact = 2 + (r - 2) * np.exp(-t)
    assert up.points.shape == (*exact.shape, 3)
    ref.close(space.project(up.points), exact, 1e-9)
    ref.close(down.points, exact, 1e-9)
    ref.close(Spheres._direction(up.points[:, -1]), np.atleast_2d(Spheres._direction(x)), 1e-12)
    for run in (up, down):
        assert set(run.observed) == {"energy"}
        ref.close(run.observed["energy"], (exact - 2) ** 2 / 2, 1e-8)
    assert down.at(0.5).shape == (len(exact),)
    lengths = {"length": space.project}
    run = gradient_flow(space, x, gradient, t, upstairs=True, observe=lengths)
    ref.close(run.observed["length"], exact, 1e-7)


def test_failures_of_a_submersion_of_ones_own():
    """Lengths that fall to zero in finite time leave the manifold."""
    space, x = Spheres(), np.array([0.5, 0, 0])
    with pytest.raises(FlowError, match=r"the flow stopped at t=0\.5") as caught:
        gradient_flow(space, x, np.ones_like, [0, 0.25, 1], upstairs=True, max_evaluations=2000)
    assert caught.value.trajectory.points.shape == (1, 2, 3)
    with pytest.raises(ValueError, match=r"the point has batch shape \(2, 2\): it must be"):
        gradient_flow(space, np.ones((2, 2, 3)), np.ones_like, [0, 1], upstairs=True)
    with pytest.raises(ValueError, match="is a base, nothing lies upstairs of it"):
        gradient_flow(HalfLine(), 1.0, np.ones_like, [0, 1], upstairs=True)
    with pytest.raises(TypeError, match="has no gradient_flow and no submersion to lift it to"):
        gradient_flow(HalfLine(), np.ones(()), np.ones_like, [0, 1])


def test_the_network_as_a_plain_submersion(rng):
    """In ambient coordinates, without knowing its own, the network has the same flow."""

    class Layers(NamedTuple):
        first: np.ndarray
        second: np.ndarray

    class Plain(RiemannianSubmersion):
        """Rank-two matrices as pairs of layers."""

        network = DeepLinearNetwork((3, 2, 3))
        dim = dim_base = dim_orbit = 0
        base = HalfLine()
        vertical_projection = differential = None

        def random_point(self, rng, batch=()):
            return Layers(*dlngeom.factors(self.network.random_point(rng, batch)))

        def project(self, point):
            return dlngeom.network.end_to_end(point)

        def codifferential(self, point, covector):
            assert isinstance(point, Layers)
            return Layers(*network.lifted_gradient(point, covector))

        def tangent_projection(self, point, vector):
            return vector

        def retraction(self, point, vector, *, order=2):
            moved = [x + v for x, v in zip(point, vector, strict=True)]
            return Layers(*dlngeom.factors(dlngeom.nearest_balanced(moved)))

        def orbit_point(self, point, rng):
            return Layers(*dlngeom.factors(self.network.orbit_point(point, rng)))

    space = Plain()
    layers = space.random_point(0)
    A = rng.standard_normal((3, 3))
    t = [0, 0.5, 1]
    own = gradient_flow(space.network, layers, lambda W: W - A, t, rtol=1e-10, upstairs=True)
    for start, upstairs in [(layers, True), (space.project(layers), False)]:
        run = gradient_flow(space, start, lambda W: W - A, t, rtol=1e-10, upstairs=upstairs)
        W = space.project(run.points) if upstairs else run.points
        ref.close(W, own.observed["end_to_end"], 1e-8)
    rough = gradient_flow(space, layers, lambda W: W - A, t, rtol=1e-3, upstairs=True)
    assert isinstance(rough.points, Layers)
    assert np.max(np.abs(dlngeom.network.invariants(rough.points)[0])) < 1e-13
