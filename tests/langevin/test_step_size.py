"""Steps: suggested, found by a pilot run, warmed up and adapted, and what is said of long ones."""

import warnings

import numpy as np
import pytest

import dlngeom
from dlngeom import DeepLinearNetwork
from dlngeom._lib.vectors import parts, rebuild
from dlngeom.langevin import (
    LangevinError,
    brownian_motion,
    network_langevin,
    riemannian_langevin,
    suggest_step,
)
from dlngeom.langevin._curvature import ground_of, largest_curvature
from dlngeom.langevin._engine._step_checks import StepWatch
from dlngeom.langevin._step_size import Scene
from dlngeom.quotients import Grassmann, Sphere
from dlngeom.submersion._walks import walk_of
from tests.helpers import langevin_cases as cases
from tests.helpers.parameters import slow
from tests.helpers.trees import same

SPACE = DeepLinearNetwork((2, 2, 2))
POINT = SPACE.random_point(1)._replace(lam=np.array([1.2, 0.8]))
STIFF = np.array([[1.0, 30.0], [5.0, 2.0]])


def stiff(W):
    return STIFF * (W - cases.TARGET)


def hessian(space, x, gradient):
    """Matrix of the Hessian of the lifted energy in an orthonormal frame, by differences."""
    frame = np.stack(
        [np.concatenate([v.ravel() for v in vs]) for vs in _basis(space, x)]
    )  # (dim, ambient)
    shapes = [y.shape for y in dlngeom.factors(x)]

    def layers(v):
        cuts = np.cumsum([np.prod(s) for s in shapes])[:-1]
        return tuple(y.reshape(s) for y, s in zip(np.split(v, cuts), shapes, strict=True))

    def slope(y):
        lifted = space.codifferential(y, gradient(dlngeom.dense(y)))
        return np.concatenate([v.ravel() for v in lifted])

    t = 1e-5
    rows = [
        (slope(space.retraction(x, layers(t * v))) - slope(space.retraction(x, layers(-t * v))))
        / (2 * t)
        for v in frame
    ]
    return np.asarray(rows) @ frame.T


def _basis(space, x):
    vectors = dlngeom.balanced.orthonormal_frame(x)
    count = vectors[0].shape[-3] if isinstance(vectors, tuple) else len(vectors)
    return [tuple(v[..., i, :, :] for v in vectors) for i in range(count)]


@pytest.mark.parametrize("widths", [(2, 2), (2, 2, 2), (3, 2, 2, 4), (2, 3, 2)])
def test_the_largest_curvature_is_that_of_the_hessian(widths, rng):
    space = DeepLinearNetwork(widths)
    stiffness = np.linspace(1.0, 20.0, widths[0] * widths[-1]).reshape(widths[-1], widths[0])

    def gradient(W):
        return stiffness * (W - 0.3)

    x = space.random_point(rng)
    H = hessian(space, x, gradient)
    expected = np.linalg.eigvalsh((H + H.T) / 2).max()
    many = type(x)(x.lam[None], tuple(q[None] for q in x.q))
    found = largest_curvature(ground_of(space, walk_of(space, many), gradient), many)
    assert 0.9 * expected < found[0] < 1.01 * expected


def test_negative_curvature_does_not_count():
    def down(W):
        return -50 * W

    x = DeepLinearNetwork((2, 2)).random_point(0)
    step = suggest_step(DeepLinearNetwork((2, 2)), x, down, beta=np.inf)
    assert step > 1e4


def test_a_step_is_stable_and_shrinks_with_stiffness_and_temperature():
    step = suggest_step(SPACE, POINT, stiff, beta=1e6)
    assert suggest_step(SPACE, POINT, lambda W: 2 * stiff(W), beta=1e6) == pytest.approx(step / 2)
    hot = [suggest_step(SPACE, POINT, stiff, beta=b) for b in (4.0, 0.1, 0.01)]
    assert hot[0] > hot[1] > hot[2]
    assert suggest_step(SPACE, POINT, None, beta=np.inf) == np.inf
    near = POINT._replace(lam=np.array([1e-3, 1e-4]))
    assert suggest_step(SPACE, near, None, beta=1.0) < 1e-6
    with pytest.raises(ValueError, match="beta=-1"):
        suggest_step(SPACE, POINT, stiff, beta=-1)
    with pytest.raises(TypeError, match="energy_gradient=3"):
        suggest_step(SPACE, POINT, 3, beta=1.0)


@pytest.mark.parametrize("space", [Sphere(3), Grassmann(4, 2), SPACE.base], ids=str)
def test_other_spaces_and_bases_have_steps_too(space):
    x = space.random_point(0)
    x = dlngeom.dense(x) if isinstance(x, dlngeom.SVD) else x
    step = suggest_step(space, x, cases.identity, beta=5.0)
    assert 0 < step < np.inf
    options = {"beta": 5.0, "duration": 0.2, "n_steps": "auto", "rng": 0}
    run = riemannian_langevin(space, x, energy_gradient=cases.identity, **options)
    assert run.times[-1] == pytest.approx(0.2)


def test_automatic_steps_follow_the_energy_and_not_the_seed():
    options = {"beta": 1e3, "duration": 2.0, "n_steps": "auto", "n_chains": 3, "save_every": 10**9}
    sizes = [
        riemannian_langevin(SPACE, POINT, energy_gradient=g, rng=r, **options).step_size
        for g, r in ((stiff, 0), (stiff, 1), (cases.quadratic, 0))
    ]
    assert sizes[0] == sizes[1] < sizes[2] / 3
    layers = dlngeom.factors(POINT)
    for run in (
        network_langevin(layers, energy_gradient=stiff, rng=0, **options),
        brownian_motion(SPACE, dlngeom.dense(POINT), rng=0, **options),
    ):
        assert 0 < run.step_size <= 2
        assert run.times[-1] == pytest.approx(2)
    with pytest.raises(ValueError, match="n_steps='many': it must be an integer, or 'auto'"):
        riemannian_langevin(SPACE, POINT, rng=0, **{**options, "n_steps": "many"})


def test_the_start_is_a_draw_only_without_warmup():
    options = {"energy_gradient": cases.quadratic, "beta": 4.0, "rng": 3, "n_chains": 70}
    whole = riemannian_langevin(SPACE, POINT, duration=0.4, n_steps=40, **options)
    warm = riemannian_langevin(
        SPACE, POINT, duration=0.3, n_steps=30, warmup=10, save_every=4, **options
    )
    kept = [*range(10, 40, 4), 40]
    assert np.array_equal(warm.points.lam, whole.points.lam[:, kept])
    assert np.allclose(warm.times, whole.times[kept] - 0.1)
    with pytest.raises(ValueError, match="warmup=-1"):
        riemannian_langevin(SPACE, POINT, duration=0.3, n_steps=30, warmup=-1, **options)


@pytest.mark.parametrize("adjust", [False, True])
@pytest.mark.parametrize("count", [25, 45, 90])
def test_runs_interrupted_in_warmup_and_after_it_resume_to_the_bit(
    adjust, count, tmp_path, monkeypatch
):
    pytest.importorskip("zarr")
    from dlngeom.langevin._engine import _checkpoints

    monkeypatch.setattr(_checkpoints, "_INTERVAL", 0.0)
    calls = []

    def gradient(W):
        calls.append(1)
        # In the adaptation or the warm-up, and after it.
        if len(calls) == count:
            raise KeyboardInterrupt
        return cases.quadratic(W)

    options = {"beta": 4.0, "duration": 0.4, "n_steps": 20, "warmup": 30, "n_chains": 70, "rng": 0}
    if adjust:
        options |= {"adjust": True, "energy": cases.quadratic_energy}
    plain = riemannian_langevin(SPACE, POINT, energy_gradient=cases.quadratic, **options)
    options["checkpoint"] = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        riemannian_langevin(SPACE, POINT, energy_gradient=gradient, **options)
    again = riemannian_langevin(SPACE, POINT, energy_gradient=cases.quadratic, **options)
    assert same(plain.points, again.points)
    assert same(plain.observed["end_to_end"], again.observed["end_to_end"])


def test_warmup_depends_on_neither_chains_nor_workers():
    from concurrent.futures import ThreadPoolExecutor

    options = {"energy_gradient": cases.quadratic, "energy": cases.quadratic_energy}
    options |= {"beta": 4.0, "duration": 1.0, "n_steps": 5, "warmup": 20, "rng": 0, "adjust": True}
    many = riemannian_langevin(SPACE, POINT, n_chains=200, **options)
    with ThreadPoolExecutor(3) as pool:
        pooled = riemannian_langevin(SPACE, POINT, n_chains=200, pool=pool, **options)
    assert same(many.points, pooled.points)


@pytest.mark.parametrize("first", [1e-3, 5.0])
@pytest.mark.parametrize("widths", [(4, 4), slow((2, 2, 2)), slow((3, 2, 2, 4))])
def test_adjusted_steps_reach_their_acceptance_from_any_first_step(widths, first):
    space = DeepLinearNetwork(widths)
    run = riemannian_langevin(
        space, space.random_point(0), energy_gradient=cases.identity, energy=cases.half_squared,
        adjust=True, beta=6.0, duration=100 * first, n_steps=100, warmup=300, n_chains=32, rng=2,
    )  # fmt: skip
    assert run.times[-1] == pytest.approx(100 * run.step_size)
    assert 0.45 < run.observed["acceptance"][:, -1].mean() < 0.7


def test_long_steps_are_named_once_with_the_step_to_take():
    options = {"beta": 1e3, "duration": 3.0, "n_chains": 5, "rng": 0}
    with pytest.warns(UserWarning, match=r"a step of 0\.6 times the largest curvature .* at the "
                      r"start, 4\.[23]\d*, is 2\.\d+: above 1") as found:  # fmt: skip
        riemannian_langevin(SPACE, POINT, energy_gradient=cases.identity, n_steps=5, **options)
    assert len(found) == 1
    assert found[0].filename == __file__
    step = float(str(found[0].message).split("take steps of ")[1].split(",")[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        riemannian_langevin(
            SPACE, POINT, energy_gradient=cases.identity, n_steps=int(3 / step) + 1, **options
        )


def test_long_steps_are_named_at_a_later_draw():
    def growing(W):
        return 3 * (W - 4 * np.eye(2))

    space = DeepLinearNetwork((2, 2, 2))
    x = space.random_point(0)._replace(lam=np.array([0.3, 0.2]))
    with pytest.warns(UserWarning, match="at a saved draw"):
        riemannian_langevin(
            space, x, energy_gradient=growing, beta=1e3, duration=2.0, n_steps=40, rng=0
        )


def test_a_divergence_says_by_how_much_the_step_is_too_long():
    with pytest.raises(LangevinError, match=r"above 2 steps are unstable; take steps of .*; this"):
        riemannian_langevin(
            SPACE, POINT, energy_gradient=lambda W: 100 * W, beta=5.0, duration=50.0,
            n_steps=60, rng=0,
        )  # fmt: skip
    with pytest.raises(LangevinError, match="of the 30 of the warm-up, t=-") as found:
        riemannian_langevin(
            SPACE, POINT, energy_gradient=lambda W: 100 * W, beta=5.0, duration=50.0,
            n_steps=60, warmup=30, rng=0,
        )  # fmt: skip
    assert found.value.trajectory is None
    assert found.value.step <= 0


def test_automatic_steps_warn_of_what_is_unstable_alone():
    walk, x = walk_of(SPACE, POINT), SPACE.random_point(1, (3,))
    scene = Scene.of(SPACE, walk, x, 1e-3, 1e-3, stiff)
    draws = rebuild(x, [y[:, None] for y in parts(x)])
    highest = float(np.max(scene.curvature(x)))

    def said(product, **options):
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            StepWatch(scene, product / highest, x, **options).end(draws, 1)
        return [str(x.message) for x in found]

    assert "or n_steps='auto'" in said(1.5)[0]
    assert said(1.5, automatic=True) == []
    assert "n_steps='auto' did not come there" in said(2.5, automatic=True)[0]
