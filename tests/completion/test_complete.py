import numpy as np
import pytest

from dlngeom import completion
from dlngeom.completion import _complete
from dlngeom.completion._losses import rmse
from dlngeom.completion._solvers import SOLVERS
from tests.helpers.completion_cases import hide, low_rank
from tests.helpers.parameters import slow

SMALL = (30, 24)
OPTIONS = {"rank": 4, "depth": 2, "rng": 3, "max_iterations": 10}

STEPS = {"alternating": 25, "conjugate-gradient": 25, "trust-regions": 12, "steepest-descent": 25}


@pytest.mark.parametrize("solver", [x if x == "alternating" else slow(x) for x in SOLVERS])
def test_every_solver_predicts_far_better_than_the_biases(solver):
    matrix = low_rank(noise=0.05)
    values, hidden = hide(matrix, 0.4)
    options = {"solver": solver, "max_iterations": STEPS[solver], "rng": 1}
    result = completion.complete(values, rank=6, depth=2, biases="columns", **options)
    biases = rmse(result.biases.matrix() - matrix, hidden)
    assert rmse(result.predicted - matrix, hidden) < 0.2 * biases


@pytest.mark.parametrize("noise", [slow(0.05), 0.1])
def test_depth_three_finds_the_rank_and_reaches_the_noise(noise):
    matrix = low_rank(noise=noise)
    values, hidden = hide(matrix, 0.4)
    result = completion.complete(values, rank=20, depth=3, biases=True, rng=1)
    assert rmse(result.predicted - matrix, hidden) < 1.6 * noise
    # Removing additive biases adds two to the rank of the matrix.
    assert np.sum(result.point.s > 0.05 * result.point.s[0]) == 5


@pytest.mark.slow
def test_depth_one_with_the_same_cap_is_no_match_for_depth_three():
    matrix = low_rank(noise=0.05)
    values, hidden = hide(matrix, 0.4)
    flat, deep = (
        rmse(completion.complete(values, rank=20, depth=N, rng=1).predicted - matrix, hidden)
        for N in (1, 3)
    )
    assert deep < flat / 3


def test_keeps_observed_entries_and_does_not_change_its_input():
    values, hidden = hide(low_rank(SMALL), 0.3)
    before = values.copy()
    result = completion.complete(values, rank=5, depth=2, rng=0, max_iterations=5)
    np.testing.assert_array_equal(values, before)
    np.testing.assert_array_equal(result.completed[~hidden], values[~hidden])
    np.testing.assert_array_equal(result.completed[hidden], result.predicted[hidden])


@pytest.fixture(scope="module")
def predicted():
    """Prediction of one run, which others must repeat."""
    np.random.seed(1)  # noqa: NPY002
    return completion.complete(hide(low_rank(SMALL), 0.3)[0], **OPTIONS).predicted


def test_same_seed_same_result_whatever_numpy_s_global_state(predicted):
    values, _ = hide(low_rank(SMALL), 0.3)
    np.random.seed(2)  # noqa: NPY002
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    again = completion.complete(values, **OPTIONS).predicted
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    np.testing.assert_array_equal(again, predicted)


def test_hidden_values_have_no_influence(predicted):
    matrix = low_rank(SMALL)
    _, hidden = hide(matrix, 0.3)
    other, _ = hide(np.where(hidden, 1e6, matrix), 0.3)
    np.testing.assert_array_equal(completion.complete(other, **OPTIONS).predicted, predicted)


def test_result_scales_and_shifts_with_the_data(predicted):
    values, _ = hide(low_rank(SMALL), 0.3)
    moved = completion.complete(1e4 * values - 7, **OPTIONS)
    # The runs differ by rounding only until an iterate amplifies it.
    np.testing.assert_allclose(moved.predicted, 1e4 * predicted - 7, atol=1e4 * 1e-6)


def test_empty_rows_and_columns_fall_back_to_the_biases():
    values, _ = hide(low_rank(SMALL), 0.3)
    values[4], values[:, 7] = np.nan, np.nan
    result = completion.complete(values, rank=5, depth=2, rng=0, max_iterations=10)
    assert result.empty == (1, 1)
    np.testing.assert_array_equal(result.predicted[4], result.biases.matrix()[4])
    np.testing.assert_array_equal(result.predicted[:, 7], result.biases.matrix()[:, 7])
    assert result.biases.rows[4] == 0
    assert np.isfinite(result.completed).all()


def test_biases_solve_the_ridge_problem():
    values, hidden = hide(low_rank((12, 9)), 0.3)
    seen = ~hidden
    biases = _complete.fit_biases(values, seen, ridge=0.7)
    residual = np.where(seen, values - biases.matrix(), 0.0)
    np.testing.assert_allclose(residual.sum(axis=1), 0.7 * biases.rows, atol=1e-7)
    np.testing.assert_allclose(residual.sum(axis=0), 0.7 * biases.columns, atol=1e-7)
    assert biases.mean == pytest.approx(values[seen].mean())


def test_data_that_are_biases_alone_or_constant():
    rng = np.random.default_rng(0)
    for matrix in (rng.normal(size=(30, 1)) + rng.normal(size=20), np.full((30, 20), 3.0)):
        values, hidden = hide(matrix, 0.3)
        result = completion.complete(values, rank=4, depth=2, max_iterations=50, rng=0)
        # The ridge shrinks the biases a little, and the start is small but not zero.
        assert rmse(result.predicted - matrix, hidden) < 0.2 * np.std(matrix) + 1e-5


def test_tiny_matrix_and_full_rank_cap():
    values = np.array([[1.0, 2.0], [3.0, np.nan]])
    result = completion.complete(values, rng=0)
    assert np.isfinite(result.completed).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": 0}, "rank=0"),
        ({"rank": 46}, "from 1 to 45"),
        ({"depth": 0}, "depth=0"),
        ({"depth": 1.5}, "depth=1.5"),
        ({"depth": float("inf")}, "depth=inf"),
        ({"solver": "newton"}, "newton"),
        ({"holdout": 0.0}, "holdout=0.0"),
        ({"rng": "seed"}, "seed"),
    ],
)
def test_complete_names_bad_options(change, message):
    values, _ = hide(low_rank(), 0.3)
    with pytest.raises(ValueError, match=message):
        completion.complete(values, **change)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[1.0, np.inf], [np.nan, 2.0]]), r"\[0, 1\] is inf"),
        (np.full((3, 3), np.nan), "fewer than two"),
        (np.ones((1, 5)), "2 x 2"),
        (np.ones((4, 4), dtype=bool), "dtype bool"),
    ],
)
def test_complete_names_bad_data(values, message):
    with pytest.raises(ValueError, match=message):
        completion.complete(values)
