"""Worked quotients: what each is, against literal formulas and against each other."""

from itertools import product

import numpy as np
import pytest

import dlngeom
from dlngeom import DeepLinearNetwork, check_submersion, submersion
from dlngeom._lib import vectors
from dlngeom.flow import gradient_flow
from dlngeom.langevin import riemannian_langevin
from dlngeom.pymanopt import Quotient
from dlngeom.quotients import (
    ComplexProjective,
    FixedRank,
    Flags,
    Grassmann,
    HermitianSpectrum,
    KendallShapes,
)
from tests.helpers import reference as ref
from tests.helpers.namespaces import NAMESPACES, Namespace
from tests.helpers.parameters import slow

SPACES = [
    ComplexProjective(1),
    ComplexProjective(3),
    Flags(4, (1, 2)),
    slow(Flags(3, (1, 1, 1))),
    slow(Flags(5, (2,))),
    FixedRank(4, 3, 2),
    FixedRank(2, 2, 2),
    slow(FixedRank(3, 4, 1)),
    KendallShapes(3, 2),
    slow(KendallShapes(3, 1)),
    slow(KendallShapes(3, 3)),
    KendallShapes(4, 3),
    slow(KendallShapes(5, 2)),
    slow(KendallShapes(6, 3)),
]
ONE_OF_EACH = [ComplexProjective(2), Flags(4, (1, 2)), FixedRank(3, 2, 2), KendallShapes(4, 3)]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_every_quotient_is_one_by_isometries(space):
    assert len(check_submersion(space, space.random_point(3), 1, orbits=True)) == 16


@pytest.mark.parametrize(
    ("library", "space"),
    [
        *product(NAMESPACES[:-1], ONE_OF_EACH),
        *(slow("jax", space) for space in ONE_OF_EACH[::2]),
    ],
    ids=str,
)
def test_results_keep_library_and_precision(library, space, rng):
    xp = Namespace(library)
    x = space.random_point(rng, (2,))
    below = space.project(x)
    given = (x, *(gaussian(y, rng) for y in (x, below)))
    for single in (False, True):
        used = lower(given) if single else given
        found, expected = answers(space, *xp.array(used)), answers(space, *used)
        for one, other in zip(vectors.parts(found), vectors.parts(expected), strict=True):
            value = xp.numpy(one)
            assert value.dtype == other.dtype
            assert (np.finfo(value.dtype).bits == 32) == single
            ref.close(value, other, 1e-4 if single else 1e-10)


def gaussian(like, rng):
    noise = rng.standard_normal(vectors.coordinates(like, 1).shape)
    return vectors.from_coordinates(noise, like, 1)


def answers(space, x, U, G):
    V = space.codifferential(x, G)
    below = space.project(x)
    lifted = space.orbit_point(below, 0)
    return (
        below,
        space.differential(x, V),
        space.vertical_projection(x, space.tangent_projection(x, U)),
        space.retraction(x, V),
        space.log_orbit_volume(below),
        space.project(lifted),
    )


def lower(value):
    if isinstance(value, tuple):
        return tuple(lower(x) for x in value)
    return value.astype(np.complex64 if value.dtype.kind == "c" else np.float32)


@pytest.mark.parametrize("space", [*ONE_OF_EACH, HermitianSpectrum(2)], ids=str)
def test_flows_walks_and_optimizers_take_it(space):
    x = space.random_point(0)
    target = space.project(space.random_point(1))

    def energy_gradient(y):
        pairs = zip(vectors.parts(y), vectors.parts(target), strict=True)
        found = [a - b for a, b in pairs]
        return vectors.rebuild(y, found)

    times = [0.0, 0.3]
    up = gradient_flow(space, x, energy_gradient, times, upstairs=True).points
    down = gradient_flow(space, space.project(x), energy_gradient, times).points
    for one, other in zip(vectors.parts(space.project(up)), vectors.parts(down), strict=True):
        ref.close(one, other, 1e-4)
    options = {"beta": 5.0, "kappa": 0.5, "duration": 0.1, "n_steps": 5, "rng": 0, "n_chains": 2}
    run = riemannian_langevin(space, x, energy_gradient=energy_gradient, **options)
    end = vectors.rebuild(x, [p[:, -1] for p in vectors.parts(run.points)])
    still = space.retraction(end, vectors.scale(0.0, end))
    for one, other in zip(vectors.parts(still), vectors.parts(end), strict=True):
        ref.close(one, other, 1e-12)
    manifold = Quotient(space, rng=0)
    z = manifold.random_point()
    V = manifold.random_tangent_vector(z)
    moved = manifold.retraction(z, 1e-3 * V)
    assert manifold.dist(z, moved) == pytest.approx(1e-3, rel=1e-2)
    assert manifold.norm(z, manifold.log(z, moved) - 1e-3 * V) < 1e-5


@pytest.mark.parametrize("sizes", [(3, 2, 2), (2, 2, 2), (4, 3, 2), (3, 4, 1), (4, 4, 3)], ids=str)
def test_balanced_pairs_are_the_network_of_two_layers(sizes, rng):
    m, n, r = sizes
    space, net = FixedRank(*sizes), DeepLinearNetwork((n, r, m))
    L, R = space.random_point(rng)
    layers = (R.T, L)
    at = dlngeom.frames(layers)
    W, G = space.project((L, R)), rng.standard_normal((m, n))
    V = tuple(rng.standard_normal(x.shape) for x in layers)
    mine = (V[1], V[0].T)

    def same(pair, theirs):
        ref.close(pair[1].T, theirs[0], 1e-10)
        ref.close(pair[0], theirs[1], 1e-10)

    assert (space.dim, space.dim_base, space.dim_orbit) == (net.dim, net.dim_base, net.dim_orbit)
    ref.close(W, net.project(at), 1e-10)
    same(space.codifferential((L, R), G), net.codifferential(at, G))
    ref.close(submersion.cometric(space, (L, R), G), submersion.cometric(net, at, G), 1e-10)
    ref.close(submersion.cometric(space, (L, R), G), dlngeom.endtoend.cometric(W, G, 2), 1e-10)
    same(space.tangent_projection((L, R), mine), net.tangent_projection(at, V))
    same(space.vertical_projection((L, R), mine), net.vertical_projection(at, V))
    ref.close(space.log_orbit_volume(W), net.log_orbit_volume(W), 1e-10)
    same(submersion.mean_curvature(space, (L, R)), submersion.mean_curvature(net, at))
    Z = [dlngeom.endtoend.cometric(W, H, 2) for H in (G, G + W)]
    ref.close(space.base.inner(W, *Z), net.base.inner(W, *Z), 1e-10)


def test_balancing_stands_ill_conditioned_factors(rng):
    space = FixedRank(5, 4, 3)
    L, R = rng.standard_normal((5, 3)) * [1e6, 1, 1e-6], rng.standard_normal((4, 3))
    at = space.retraction((L, R), (0 * L, 0 * R))
    ref.close(at[0] @ at[1].T, L @ R.T, 1e-12)
    gram = at[0].T @ at[0]
    ref.close(at[1].T @ at[1], gram, 1e-12)


def test_one_block_is_the_grassmannian(rng):
    flags, known = Flags(5, (2,)), Grassmann(5, 2)
    x, V = known.random_point(rng), rng.standard_normal((5, 2))
    ref.close(flags.project(x)[0], known.project(x), 1e-14)
    ref.close(flags.vertical_projection(x, V), known.vertical_projection(x, V), 1e-14)
    assert flags.log_orbit_volume(flags.project(x)) == known.log_orbit_volume(known.project(x))
    assert (flags.dim, flags.dim_base) == (known.dim, known.dim_base)


def test_geodesics_of_lines_are_as_long_as_their_angles(rng):
    space = ComplexProjective(2)
    z = space.random_point(rng)
    V = space.codifferential(z, rng.standard_normal((3, 3)) + 0j)
    V = V / np.linalg.norm(V)
    for t in (0.3, 1.2):
        assert np.abs(np.vdot(z, space.retraction(z, t * V))) == pytest.approx(np.cos(t), abs=1e-13)
    # The line closes after half of the circle upstairs.
    ref.close(space.project(space.retraction(z, np.pi * V)), space.project(z), 1e-13)


def test_shapes_in_the_plane_are_lines(rng):
    """Centred triangles are two complex numbers: the metric and the projections agree."""
    shapes, lines = KendallShapes(3, 2), ComplexProjective(1)
    helmert = np.array([[1, -1, 0], [1, 1, -2]]) / np.sqrt([[2], [6]])
    x = shapes.random_point(rng)
    V = shapes.tangent_projection(x, rng.standard_normal((3, 2)))

    def line(y):
        return helmert @ (y @ [1, 1j])

    ref.close(
        line(shapes.vertical_projection(x, V)), lines.vertical_projection(line(x), line(V)), 1e-13
    )
    ref.close(line(shapes.retraction(x, V)), lines.retraction(line(x), line(V)), 1e-13)
    assert (shapes.dim, shapes.dim_base) == (lines.dim, lines.dim_base)
    assert shapes.log_orbit_volume(shapes.project(x)) == pytest.approx(
        lines.log_orbit_volume(lines.project(line(x))), abs=1e-13
    )


def test_orbits_of_shapes_have_the_volume_of_their_rotations(rng):
    """The volume of ``SO_3``, times that of a frame of infinitesimal rotations of unit length."""
    space = KendallShapes(5, 3)
    x = space.random_point(rng)
    turns = [(np.eye(3)[[i, j]].T @ [[0, 1], [-1, 0]] @ np.eye(3)[[i, j]]) for i, j in PAIRS]
    fields = np.stack([(x @ A / np.sqrt(2)).ravel() for A in turns])
    sphere = np.log(8 * np.pi**2) + 1.5 * np.log(2)  # In the Frobenius metric.
    expected = np.linalg.slogdet(fields @ fields.T)[1] / 2 + sphere
    assert space.log_orbit_volume(space.project(x)) == pytest.approx(expected, abs=1e-12)


PAIRS = [(0, 1), (0, 2), (1, 2)]


def test_a_shape_is_not_its_mirror_image(rng):
    space = KendallShapes(4, 3)
    x = space.random_point(rng)
    (gram, minors), (other, mirrored) = space.project(x), space.project(x * [1, 1, -1])
    ref.close(gram, other, 1e-14)
    ref.close(minors, -mirrored, 1e-14)
    y = space.orbit_point((gram, minors), rng)
    turn = np.linalg.lstsq(x, y, rcond=None)[0]
    assert np.linalg.det(turn) == pytest.approx(1, abs=1e-12)


def test_shapes_may_be_flat_but_not_on_a_line(rng):
    space = KendallShapes(4, 3)
    x = space.random_point(rng) * [1, 1, 0]
    flat = space.retraction(x, 0 * x)
    errors = check_submersion(space, flat, 1, orbits=True)
    assert max(errors.values()) < 0.1
    line = space.retraction(x * [1, 0, 0], 0 * x)
    basis = np.eye(12).reshape(12, 4, 3)
    turned = space.vertical_projection(line, basis)
    assert np.sum(turned * basis) == pytest.approx(2, abs=1e-12)
    with np.errstate(divide="ignore"):
        assert space.log_orbit_volume((line @ line.T, np.zeros(4))) < -10


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: ComplexProjective(0), "n=0"),
        (lambda: Flags(3, (2, 2)), "the sum of sizes=4"),
        (lambda: Flags(3, (0, 1)), "sizes=0"),
        (lambda: Flags(3, ()), "the sum of sizes=0"),
        (lambda: FixedRank(3, 2, 3), "rank=3"),
        (lambda: FixedRank(0, 2, 1), "m=0"),
        (lambda: KendallShapes(2, 2), "landmarks=2"),
        (lambda: KendallShapes(3, 4), "dimension=4"),
    ],
)
def test_sizes_out_of_range(make, name):
    with pytest.raises(ValueError, match=name):
        make()
