"""Quantities along a trajectory, what may be watched, and how it is handed on."""

import sys

import numpy as np
import pytest

import dlngeom
from dlngeom import DeepLinearNetwork, network
from dlngeom.flow import gradient_flow, network_flow
from tests.helpers import reference as ref
from tests.helpers.flows import Quadratic
from tests.helpers.trees import leaves

WIDTHS, RANK = (3, 4, 2, 4), 2


@pytest.fixture
def frames(rng):
    return ref.random_frames(WIDTHS, RANK, rng, batch=(2, 3))


def kinds(frames):
    """The same matrices as points of every kind."""
    W = dlngeom.dense(frames)
    layers = dlngeom.factors(frames)
    return {"dense": W, "svd": dlngeom.svd(W, RANK), "frames": frames, "layers": layers}


@pytest.mark.parametrize("kind", ["dense", "svd", "frames", "layers"])
def test_observables_of_every_kind_of_point(kind, frames):
    point = kinds(frames)[kind]
    for index in np.ndindex(2, 3):
        layers = [x[index] for x in dlngeom.factors(frames)]
        W = ref.product(layers)
        ref.close(network.end_to_end(point)[index], W, 1e-13)
        s = network.singular_values(point)[index]
        assert s.shape == ((3,) if kind in {"dense", "layers"} else (2,))
        ref.close(s, np.linalg.svd(W)[1][: len(s)], 1e-13)
        assert network.effective_rank(point)[index] == pytest.approx(effective_rank(s))
        if kind in {"frames", "layers"}:
            for G in network.invariants(point):
                assert np.max(np.abs(G[index])) < 1e-14
    assert network.effective_rank(point).shape == (2, 3)


def effective_rank(s):
    p = s[s > 0] / np.sum(s)
    return np.exp(-np.sum(p * np.log(p)))


def test_layers_may_be_a_list(rng):
    layers = list(ref.random_layers((3, 2, 4), rng))
    ref.close(network.end_to_end(layers), layers[1] @ layers[0], 1e-15)
    literal = layers[0] @ layers[0].T - layers[1].T @ layers[1]
    ref.close(network.invariants(layers)[0], literal, 1e-14)
    assert network.invariants(layers[:1]) == ()


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_equal_singular_values_count(rank, rng):
    u, v = ref.orthonormal(6, rank, rng), ref.orthonormal(5, rank, rng)
    for scale in (1.0, 1e-200, 1e200):
        assert network.effective_rank(scale * u @ v.T) == pytest.approx(rank, rel=1e-12)


def test_effective_rank_at_the_edges():
    assert network.effective_rank(np.zeros((3, 4))) == 0
    assert network.effective_rank(np.diag([1.0, 0, 0])) == 1
    both = np.stack([np.zeros((2, 2)), np.eye(2)])
    ref.close(network.effective_rank(both), np.array([0.0, 2.0]), 1e-15)
    assert network.effective_rank(np.diag([1.0, 1e-300])) == pytest.approx(1)


def test_observables_keep_library_and_dtype(xp, rng):
    plain = ref.random_frames((3, 3, 3), 2, rng)
    for dtype in ("float64", "float32"):
        if xp.name == "jax" and dtype == "float32":
            continue
        frames = xp.array(plain, dtype)
        for name in ("end_to_end", "singular_values", "effective_rank", "invariants"):
            value = getattr(network, name)(frames)
            assert xp.dtypes(value) == {dtype}
            expected = getattr(network, name)(plain)
            for x, y in zip(leaves(xp.numpy(value)), leaves(expected), strict=True):
                assert np.max(np.abs(x - y)) < (1e-13 if dtype == "float64" else 1e-5)


@pytest.fixture
def flow(rng):
    """A short flow with options of one's choice."""
    x = ref.random_frames(WIDTHS, RANK, rng)
    space, t = DeepLinearNetwork(WIDTHS, RANK), [0, 0.1, 0.2]
    quadratic = Quadratic(rng.standard_normal((4, 3)))

    def run(point=None, gradient=quadratic.gradient, **options):
        if point is None:
            return gradient_flow(space, x, gradient, t, upstairs=True, **options)
        return gradient_flow(space, point, gradient, t, **options)

    return run


def test_observe_replaces_the_defaults(flow):
    run = flow(observe={"trace": lambda point: np.sum(point.lam**2, axis=-1)})
    assert set(run.observed) == {"trace"}
    ref.close(run.observed["trace"], np.sum(run.points.lam**2, axis=-1), 1e-15)
    assert flow(observe={}).observed == {}
    run = flow(observe={}, energy=lambda W: 2.5)
    assert run.observed["energy"].tolist() == [[2.5] * 3]


def test_observed_tuples_become_tuples(flow):
    run = flow(observe={"layers": dlngeom.factors, "pair": lambda x: [x.lam, x.q[0]]})
    assert [x.shape for x in run.observed["layers"]] == [(1, 3, 4, 3), (1, 3, 2, 4), (1, 3, 4, 2)]
    assert [x.shape for x in run.observed["pair"]] == [(1, 3, 2), (1, 3, 3, 2)]


def never(point):
    raise AssertionError("the gradient was called")


def test_what_observe_and_energy_may_not_return(flow):
    """They are tried at the start, so nothing is lost."""
    for value, message in [
        (np.ones(()), r"observe\['f'\] returned shape \(\): the first axis must be the chains, 1"),
        (np.ones((3, 2)), r"observe\['f'\] returned shape \(3, 2\): the first axis"),
        (1.0, r"observe\['f'\] returned shape \(\): the first axis must be the chains, 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            flow(observe={"f": lambda point, value=value: value}, gradient=never)
    with pytest.raises(TypeError, match=r"observe\['f'\] returned NoneType: it must be an array"):
        flow(observe={"f": lambda point: None}, gradient=never)
    with pytest.raises(TypeError, match=r"observe=.*: it must be a dict from names to functions"):
        flow(observe=network.end_to_end)
    for value in (None, np.ones((1, 2))):
        with pytest.raises(ValueError, match=r"energy returned .*: it must be one number for each"):
            flow(energy=lambda W, value=value: value, gradient=never)
    with pytest.raises(ValueError, match=r"observe\['energy'\] returned shape \(2,\)"):
        flow(energy=lambda W: np.ones(2), gradient=never)


def test_energies_are_numbers_or_arrays_of_chains(flow, rng):
    W = dlngeom.dense(ref.random_frames(WIDTHS, RANK, rng, batch=(2,)))
    for energy in (
        lambda W: 1.0,
        lambda W: np.ones(()),
        lambda W: np.float64(1),
        lambda W: np.ones(1),
    ):
        assert flow(energy=energy).observed["energy"].tolist() == [[1.0] * 3]
    run = flow(W, energy=lambda W: np.sum(W**2, axis=(-2, -1)))
    ref.close(run.observed["energy"], np.sum(run.observed["end_to_end"] ** 2, axis=(-2, -1)), 1e-14)
    with pytest.raises(
        ValueError, match=r"returned shape \(1,\): the first axis must be the chain"
    ):
        flow(W, energy=lambda W: 1.0)


def test_to_xarray(flow, rng):
    xarray = pytest.importorskip("xarray")
    run = flow(energy=lambda W: np.sum(W**2, axis=(-2, -1)))
    data = run.to_xarray()
    assert isinstance(data, xarray.Dataset)
    assert dict(data.sizes)["chain"] == 1
    assert dict(data.sizes)["draw"] == 3
    assert data.coords["chain"].values.tolist() == [0]
    assert data.coords["time"].dims == ("draw",)
    assert data.coords["time"].values.tolist() == [0, 0.1, 0.2]
    assert set(data.data_vars) == {
        *("point_lam", "point_q_0", "point_q_1", "point_q_2", "point_q_3"),
        *("end_to_end", "singular_values", "effective_rank", "energy"),
        *("invariants_0", "invariants_1"),
    }
    assert data["end_to_end"].dims == ("chain", "draw", "end_to_end_0", "end_to_end_1")
    assert data["energy"].dims == ("chain", "draw")
    ref.close(data["point_q_2"].values, run.points.q[2], 0)
    ref.close(data["energy"].values, run.observed["energy"], 0)
    W = dlngeom.dense(ref.random_frames(WIDTHS, RANK, rng, batch=(2,)))
    assert flow(W).to_xarray()["point"].shape == (2, 3, 4, 3)
    assert set(flow(dlngeom.svd(W, 2), observe={}).to_xarray()) == {
        "point_u",
        "point_s",
        "point_vt",
    }


def test_to_xarray_of_one_layer_and_of_torch(rng):
    pytest.importorskip("xarray")
    torch = pytest.importorskip("torch")
    layer = torch.from_numpy(rng.standard_normal((2, 3)))
    data = network_flow([layer], lambda W: W, [0, 1]).to_xarray()
    assert data["point_0"].shape == (1, 2, 2, 3)
    assert isinstance(data["end_to_end"].values, np.ndarray)


def test_to_xarray_says_what_to_install(flow, monkeypatch):
    run = flow()
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(ImportError, match=r"pip install 'dlngeom\[xarray\]'"):
        run.to_xarray()
