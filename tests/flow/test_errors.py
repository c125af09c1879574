"""What a flow refuses, and what it says and keeps when it cannot reach its end."""

import pickle

import numpy as np
import pytest

import dlngeom
from dlngeom import SVD, DeepLinearNetwork, InfinitelyDeepNetwork
from dlngeom.flow import FlowError, gradient_flow, network_flow
from dlngeom.submersion import Base
from tests.helpers import reference as ref
from tests.helpers.flows import Quadratic, matrix
from tests.helpers.parameters import crossed, slow
from tests.helpers.trees import leaves

WIDTHS, RANK = (3, 4, 2, 3), 2
METHODS = ["DOP853", "RK45", "Radau", "BDF", "LSODA"]
KINDS = ["dense", "svd", "upstairs", "layers"]
OPTIONS = [*({"method": x} for x in METHODS), {"rtol": 1e-3}]
EXPLICIT_AND_IMPLICIT = ["DOP853", "RK45", "BDF", "LSODA"]


@pytest.fixture
def space():
    return DeepLinearNetwork(WIDTHS, RANK)


@pytest.fixture
def start(rng):
    return ref.random_frames(WIDTHS, RANK, rng)


def zero(point):
    return 0 * matrix(point)


def follow(kind, space, start, gradient, t, **options):
    """Flow of one kind from a balanced start."""
    if kind == "layers":
        return network_flow(dlngeom.factors(start), gradient, t, **options)
    if kind == "upstairs":
        return gradient_flow(space, start, gradient, t, upstairs=True, **options)
    W = dlngeom.dense(start)
    point = dlngeom.svd(W, space.rank) if kind == "svd" else W
    return gradient_flow(space, point, gradient, t, **options)


def test_flows_upstairs_refuse_bad_points(space, start, rng):
    def flow(point, where=space):
        gradient_flow(where, point, zero, [0, 1], upstairs=True)

    with pytest.raises(ValueError, match=r"layers 1 and 2 are not balanced: .* allowed 1e-08"):
        flow(ref.random_layers(WIDTHS, rng))
    with pytest.raises(ValueError, match=r"has widths \(3, 4, 3\) and rank 2: they must be \(3, 4"):
        flow(start._replace(q=(start.q[0], start.q[1], start.q[3])))
    with pytest.raises(ValueError, match=r"and rank 1: they must be \(3, 4, 2, 3\) and 2"):
        flow(ref.random_frames(WIDTHS, 1, rng))
    with pytest.raises(ValueError, match=r"lam has an entry -1.* must be >= 0|smallest singular"):
        flow(start._replace(lam=np.array([1.0, -1.0])))
    with pytest.raises(ValueError, match="Q_1 is not orthonormal: off by 3"):
        flow(start._replace(q=(start.q[0], 2 * start.q[1], *start.q[2:])))
    with pytest.raises(ValueError, match="of type ndarray: upstairs it must be Frames or balanced"):
        flow(dlngeom.dense(start))
    with pytest.raises(ValueError, match="of type SVD: upstairs it must be Frames or balanced"):
        flow(dlngeom.svd(dlngeom.dense(start), 2))
    for base in (InfinitelyDeepNetwork(3), space.base):
        with pytest.raises(ValueError, match="is a base, nothing lies upstairs of it"):
            flow(start, base)
    with pytest.raises(ValueError, match=r"the point has batch shape \(2, 2\): it must be \(\) or"):
        flow(ref.random_frames(WIDTHS, 2, rng, batch=(2, 2)))


def test_flows_downstairs_refuse_bad_points(space, start, rng):
    def flow(point, where=space):
        gradient_flow(where, point, zero, [0, 1])

    W = dlngeom.dense(start)
    with pytest.raises(ValueError, match="the point is Frames, a network: pass upstairs=True"):
        flow(start)
    with pytest.raises(
        ValueError, match="the point is a tuple of layers, a network: pass upstairs"
    ):
        flow(dlngeom.factors(start))
    with pytest.raises(ValueError, match=r"the point has shape \(3, 4\): it must be \(..., 3, 3\)"):
        flow(np.ones((3, 4)))
    with pytest.raises(
        ValueError, match=r"rank=2: the point has a larger one, sigma_3/sigma_1 = 1"
    ):
        flow(np.eye(3))
    with pytest.raises(ValueError, match=r"its rank is below 2"):
        flow(np.ones((3, 3)))
    with pytest.raises(
        ValueError, match="the point is 3 x 3 of rank 1: it must be 3 x 3 of rank 2"
    ):
        flow(dlngeom.svd(W, 1))
    u, s, vt = dlngeom.svd(W, 2)
    with pytest.raises(ValueError, match="u is not orthonormal: off by 3, allowed 1e-08"):
        flow(SVD(2 * u, s, vt))
    with pytest.raises(ValueError, match=r"the point\[1, 2\] is nan: all entries must be finite"):
        flow(np.where(np.arange(9).reshape(3, 3) == 5, np.nan, W))
    with pytest.raises(ValueError, match="point has dtype float16: it must be float32 or float64"):
        flow(np.ones((3, 3), dtype=np.float16))
    with pytest.raises(ValueError, match="its rank is below 3"):
        flow(W, InfinitelyDeepNetwork(3))
    with pytest.raises(ValueError, match=r"batch shape \(1, 2\): it must be \(\) or \(chain,\)"):
        flow(np.stack([[W, W]]))
    with pytest.raises(ValueError, match=r"batch shape \(0,\): it must be \(\) or \(chain,\)"):
        flow(np.ones((0, 3, 3)), DeepLinearNetwork((3, 3)))
    with pytest.raises(TypeError, match="space=3: it must be a Base or a RiemannianSubmersion"):
        flow(W, 3)


def test_network_flow_refuses_bad_layers(start):
    layers = dlngeom.factors(start)
    with pytest.raises(ValueError, match="factors is of type Frames: it must be layers"):
        network_flow(start, zero, [0, 1])
    with pytest.raises(ValueError, match=r"W_2 W_1 is not defined: shapes \(3, 2\) and \(4, 3\)"):
        network_flow([layers[0], layers[2]], zero, [0, 1])
    with pytest.raises(ValueError, match=r"W_1\[0, 0\] is inf: all entries must be finite"):
        network_flow([np.full((3, 3), np.inf)], zero, [0, 1])


def test_spaces_refuse_bad_widths_and_ranks():
    with pytest.raises(ValueError, match="rank=3: it must be an integer from 1 to 2"):
        DeepLinearNetwork(WIDTHS, 3)
    with pytest.raises(ValueError, match=r"rank=0: it must be an integer from 1 to 2"):
        DeepLinearNetwork(WIDTHS, 0)
    for widths in [(3,), (3, 0), (3, 2.5), 3]:
        with pytest.raises(ValueError, match=r"widths=.*: they must be two or more integers"):
            DeepLinearNetwork(widths)
    with pytest.raises(ValueError, match="width=0: it must be an integer of at least 1"):
        InfinitelyDeepNetwork(0)


def test_a_base_without_a_flow_of_its_own():
    class Line(Base):
        dim = 1
        random_point = cometric = inner = retraction = None

    with pytest.raises(TypeError, match="has no gradient_flow and no submersion to lift it to"):
        gradient_flow(Line(), np.ones(1), zero, [0, 1])


def test_flows_refuse_bad_times_and_tolerances(space, start):
    def flow(t=(0, 1), **options):
        gradient_flow(space, start, zero, t, upstairs=True, **options)

    for t, message in [
        ([0, 2, 1], r"t\[2\]=1: times must increase"),
        ([0, 0], r"t\[1\]=0: times must increase"),
        ([0, np.nan], "t=nan: times must be finite"),
        ([0, np.inf], "t=inf: times must be finite"),
        ([], r"t has shape \(0,\): it must be \(draw,\)"),
        (1.0, r"t has shape \(\): it must be \(draw,\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            flow(t)
    for rtol in (1e-17, 1, -1, np.nan):
        with pytest.raises(ValueError, match=r"rtol=.*: it must be at least 2.2e-14 and below 1"):
            flow(rtol=rtol)
    for atol in (-1, np.nan, np.inf):
        with pytest.raises(ValueError, match=r"atol=.*: it must be >= 0 and finite"):
            flow(atol=atol)
    with pytest.raises(ValueError, match="max_evaluations=0: it must be an integer of at least 1"):
        flow(max_evaluations=0)
    with pytest.raises(TypeError, match="t_eval is no option here"):
        flow(t_eval=[0.5])
    with pytest.raises(ValueError, match="`method` must be one of"):
        flow(method="Euler")
    with pytest.raises(TypeError, match=r"reltol=0.001: .* did you mean rtol\?"):
        flow(reltol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_flows_refuse_bad_energy_gradients(kind, space, start):
    def flow(value):
        follow(kind, space, start, lambda point: value, [0, 1])

    with pytest.raises(
        ValueError, match=r"energy_gradient has shape \(4, 3\): it must be \(..., 3, 3\)"
    ):
        flow(np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"energy_gradient has shape \(3,\): it must be \(..., m"):
        flow(np.ones(3))
    with pytest.raises(
        ValueError, match=r"energy_gradient has batch \(2,\) and the point \(\): th"
    ):
        flow(np.ones((2, 3, 3)))
    with pytest.raises(TypeError, match="energy_gradient returned NoneType: it must be a matrix"):
        flow(None)
    with pytest.raises(ValueError, match=r"dtypes \['float32', 'float64'\] must agree"):
        flow(np.ones((3, 3), dtype=np.float32))
    with pytest.raises(
        ValueError, match="at the initial point, the energy gradient, or the flow, i"
    ):
        flow(np.full((3, 3), np.nan))
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"one library, got numpy\.ndarray, torch\.Tensor"):
        flow(torch.ones((3, 3), dtype=torch.float64))


def test_a_batch_names_its_chain(rng):
    space = DeepLinearNetwork((3, 3, 3))
    W = rng.standard_normal((4, 3, 3))
    bad = np.ones((4, 3, 3))
    bad[2, 0, 1] = np.nan
    for point in (W, dlngeom.svd(W)):
        with pytest.raises(ValueError, match="is not finite in chain 2"):
            gradient_flow(space, point, lambda X: bad, [0, 1])
    with pytest.raises(ValueError, match=r"energy_gradient has batch \(3,\) and the point \(4,\)"):
        gradient_flow(space, W, lambda X: bad[:3], [0, 1])
    with pytest.raises(ValueError, match="is one operator and the point a batch"):
        gradient_flow(space, W, lambda X: dlngeom_operator(), [0, 1])


def dlngeom_operator():
    sparse = pytest.importorskip("scipy.sparse")
    return sparse.eye_array(3, format="csr")


def fence(target, limit=6.0):
    """Gradient that does not exist beyond a norm of the matrix."""

    def gradient(point):
        W = matrix(point)
        return np.where(np.linalg.norm(W) > limit, np.nan, W - target)

    return gradient


@pytest.mark.parametrize(("kind", "options"), crossed(KINDS, OPTIONS), ids=str)
def test_a_gradient_that_ends_on_the_way(kind, options, rng):
    space = DeepLinearNetwork((3, 3, 3))
    start = ref.random_frames(space.widths, 3, rng)
    target = 8 * ref.orthonormal(3, 3, rng)
    t = np.linspace(0, 2, 81)
    with pytest.raises(FlowError, match="energy gradient, or the flow, is not finite") as caught:
        follow(kind, space, start, fence(target), t, **options)
    error = caught.value
    assert "this error carries the last good state" in str(error)
    assert 0.19 < error.time < 0.2014
    assert all(np.all(np.isfinite(x)) for x in leaves(error.point))
    assert leaves(error.point)[0].shape[0] == 1
    size = np.linalg.norm(dlngeom.network.end_to_end(error.point))
    assert 5.5 < size <= 6 * (1 + 1e-14)
    saved = error.trajectory
    ref.close(saved.times, t[t <= error.time])
    assert len(saved.times) > 4
    exact = follow(kind, space, start, Quadratic(target).gradient, saved.times, rtol=1e-10)
    gap = np.abs(saved.observed["end_to_end"] - exact.observed["end_to_end"])
    # LSODA adds up the errors of all its steps.
    assert np.max(gap) < (2e-2 if "rtol" in options else 1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_gradient_that_ends_at_once(method, start, space):
    W = dlngeom.dense(start)

    def gradient(point):
        return np.where(np.any(np.abs(point - W) > 1e-13), np.nan, 1e3 * W)

    with pytest.raises(FlowError, match=r"stopped at t=3, before t=4: the energy") as caught:
        gradient_flow(space, W, gradient, [3, 4], method=method, dense_output=True)
    error = caught.value
    assert error.time == 3
    ref.close(error.point[0], W, 1e-14)
    ref.close(error.trajectory.points[0, 0], W, 1e-14)
    assert error.trajectory.times.tolist() == [3]


@pytest.mark.parametrize("method", METHODS)
def test_errors_of_the_gradient_itself_come_through(method, space, start):
    def gradient(point):
        if np.linalg.norm(point) > 1.1 * size:
            raise ValueError("no such matrix")
        return -point

    W = dlngeom.dense(start)
    size = np.linalg.norm(W)
    with pytest.raises(ValueError, match="no such matrix"):
        gradient_flow(space, W, gradient, [0, 10], method=method)


@pytest.mark.parametrize("method", METHODS[:-1])
def test_errors_of_the_gradient_are_not_taken_for_the_solver_s(method, space, start):
    """Not even where trials of the same step were not finite."""
    W = dlngeom.dense(start)
    calls = []

    def gradient(point):
        calls.append(1)
        if len(calls) == 61:
            raise ValueError("no such matrix")
        return -point * (np.nan if len(calls) > 50 else 1)

    with pytest.raises(ValueError, match="no such matrix"):
        gradient_flow(space, W, gradient, [0, 10], method=method)


@pytest.mark.parametrize("kind", KINDS)
def test_evaluations_run_out(kind, space, start, rng):
    energy = Quadratic(1e4 * rng.standard_normal((3, 3)))
    counted = []

    def gradient(point):
        counted.append(1)
        return energy.gradient(point)

    with pytest.raises(
        FlowError, match=r"used up max_evaluations=500 .* raise it, or where"
    ) as caught:
        follow(kind, space, start, gradient, [0, 1e-6, 10], max_evaluations=500)
    assert len(counted) == 500
    error = caught.value
    assert 1e-6 < error.time < 10
    assert error.trajectory.times.tolist() == [0, 1e-6]
    residuals = [energy(dlngeom.network.end_to_end(x)) for x in (error.point, start)]
    assert residuals[0] < residuals[1]


@pytest.mark.parametrize(("kind", "method"), crossed(KINDS, EXPLICIT_AND_IMPLICIT))
def test_finite_time_blow_up(kind, method, rng):
    """``E' = -W^3`` entry by entry, three layers: the solution ends at a finite time."""
    space = DeepLinearNetwork((2, 2, 2, 2))
    start = ref.random_frames(space.widths, 2, rng)
    before = np.linalg.norm(dlngeom.dense(start), 2)
    pattern = rf"it leaves every compact set, \|W\| grew from {before:.3g} to .* in chain 0"
    with pytest.raises(FlowError, match=pattern) as caught:
        follow(kind, space, start, lambda X: -(matrix(X) ** 3), [0, 1e-3, 10], method=method)
    s = np.linalg.svd(dlngeom.network.end_to_end(caught.value.point))[1]
    assert s[0, 0] > 300 * before
    assert caught.value.time < 1


def test_blow_up_names_the_chain(rng):
    W = np.stack([0.1 * np.eye(2), np.eye(2), 0.2 * np.eye(2)])
    with pytest.raises(FlowError, match=r"leaves every compact set, .* from 1 to .* in chain 1"):
        gradient_flow(DeepLinearNetwork((2, 2, 2)), W, lambda X: -(X**3), [0, 10])


def test_errors_come_back_from_other_processes():
    def gradient(W):
        return -(W**3)

    with pytest.raises(FlowError) as caught:
        gradient_flow(DeepLinearNetwork((2, 2, 2)), np.eye(2), gradient, [0, 10])
    error = caught.value
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, FlowError)
    assert str(copy) == str(error)
    assert copy.time == error.time
    ref.close(copy.point, error.point, 0)
    ref.close(copy.trajectory.points, error.trajectory.points, 0)


def test_growth_alone_is_no_blow_up(start, rng):
    """A small start may grow by any factor before something else goes wrong."""
    small = start._replace(lam=1e-3 * start.lam)
    space = DeepLinearNetwork(WIDTHS, RANK)
    target = 8 * ref.orthonormal(3, 3, rng)
    with pytest.raises(FlowError, match="not finite"):
        follow("upstairs", space, small, fence(target), [0, 1e4])


@pytest.mark.parametrize(("kind", "method"), crossed(KINDS[:3], EXPLICIT_AND_IMPLICIT))
def test_one_layer_reaches_lower_rank(kind, method):
    """In exact coordinates the second singular value falls straight to zero."""
    space = DeepLinearNetwork((3, 4), 2)
    start = dlngeom.Frames(np.array([2.0, 0.5]), (np.eye(3)[:, :2], np.eye(4)[:, :2]))
    energy = Quadratic(np.eye(4, 3) * [1, -1, 0])
    with pytest.raises(FlowError, match=r"lower rank, sigma_min fell from 0.5 to .*e-") as caught:
        follow(kind, space, start, energy.gradient, [0, 0.1, 10], method=method)
    assert caught.value.time == pytest.approx(np.log(1.5), abs=1e-4)


def test_one_layer_of_full_rank_goes_straight_on():
    """Matrices of full rank have no boundary that a flow of one layer would notice."""
    space = DeepLinearNetwork((2, 2))
    start = dlngeom.Frames(np.array([2.0, 0.5]), (np.eye(2),) * 2)
    energy = Quadratic(np.diag([1.0, -1.0]))
    for kind in KINDS:
        run = follow(kind, space, start, energy.gradient, [0, 1, 2])
        exact = energy.A + (np.diag([2, 0.5]) - energy.A) * np.exp(-run.times)[:, None, None]
        ref.close(run.observed["end_to_end"][0], exact, 1e-7)


LATER_COUNTS = [slow(svd, range(20, 50)) for svd in (False, True)]


# A step and its interpolation take fifteen evaluations.
@pytest.mark.parametrize(
    ("svd", "counts"), [slow(False, range(2, 20)), slow(True, range(2, 20)), *LATER_COUNTS], ids=str
)
def test_whichever_evaluation_is_the_first_that_is_not_finite(svd, counts):
    """Some evaluations serve the interpolation of saved states alone."""
    W = np.diag([0.6, 0.5])
    start = dlngeom.svd(W) if svd else W
    for allowed in counts:
        calls = []

        def gradient(W, calls=calls, allowed=allowed):
            calls.append(W)
            W = dlngeom.dense(W) if isinstance(W, dlngeom.SVD) else W
            return (W - np.diag([3.0, 2.0])) * (np.nan if len(calls) > allowed else 1)

        with pytest.raises(FlowError) as failure:
            gradient_flow(
                dlngeom.DeepLinearNetwork((2, 2, 2)), start, gradient, np.linspace(0, 2, 101)
            )
        saved = failure.value.trajectory
        assert saved.observed["end_to_end"].shape[:2] == (1, len(saved.times))
        assert np.all(np.isfinite(saved.observed["end_to_end"]))


def test_energies_that_are_not_finite():
    space, W = dlngeom.DeepLinearNetwork((2, 2, 2)), np.diag([0.6, 0.5])

    def energy(W):
        return np.where(np.linalg.norm(W, axis=(-2, -1)) > 0.9, np.inf, 1.0)

    with pytest.raises(FlowError, match=r"energy is not finite at t=1; .* t=0") as failure:
        gradient_flow(space, W, lambda W: W - np.eye(2), [0, 1, 2], energy=energy)
    assert failure.value.time == 0
    np.testing.assert_array_equal(failure.value.point, W[None])
    np.testing.assert_array_equal(failure.value.trajectory.times, [0])
    with pytest.raises(ValueError, match=r"energy is \[\[inf\]\] at the initial point"):
        gradient_flow(space, 5 * W, lambda W: W - np.eye(2), [0, 1], energy=energy)
