import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator

from dlngeom.completion import DLNCompletion, _losses, _observed, _path, _regression
from dlngeom.completion._observed import Observed
from tests.helpers.completion_cases import hide, low_rank
from tests.helpers.parameters import slow


def as_sparse(values):
    rows, columns = np.nonzero(~np.isnan(values))
    return sparse.csr_array((values[rows, columns], (rows, columns)), shape=values.shape)


def rmse(x):
    return np.sqrt(np.mean(x**2))


def some_entries(density, shape=(30, 20), seed=0):
    values, _ = hide(low_rank(shape, seed=seed), 1 - density, seed)
    return values, _observed.observed_entries(values)


class WithoutPredict(DLNCompletion):
    """Hides ``predict``, which takes places rather than rows and so no check understands."""

    @property
    def predict(self):
        raise AttributeError("predict")


# Each of these calls ``predict(X)``; on the estimator without that method all of them pass.
CALL_PREDICT = [
    "check_dict_unchanged",
    "check_dtype_object",
    "check_estimator_sparse_array",
    "check_estimator_sparse_matrix",
    "check_estimators_dtypes",
    "check_estimators_pickle",
    "check_estimators_unfitted",
    "check_f_contiguous_array_estimator",
    "check_fit2d_predict1d",
    "check_fit_idempotent",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_n_features_in_after_fitting",
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.EstimatorCheckFailedWarning")
def test_scikit_learn_s_checks():
    check_estimator(WithoutPredict(), on_skip=None)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.EstimatorCheckFailedWarning")
def test_scikit_learn_s_checks_fail_with_predict_alone():
    expected = dict.fromkeys(CALL_PREDICT, "predict(rows, columns) takes places, not rows")
    # Neither biases nor scales are chosen, which the checks above see.
    model = DLNCompletion(biases=False, scale=False)
    check_estimator(model, expected_failed_checks=expected, on_skip=None)


@pytest.mark.parametrize("density", [0.05, 0.6])
def test_residual_and_its_products_are_those_of_the_dense_matrices(density, monkeypatch):
    monkeypatch.setattr(_observed, "GATHERED", 7)
    monkeypatch.setattr(_observed, "ENTRIES_PER_TASK", 21)
    values, given = some_entries(density)
    rng = np.random.default_rng(1)
    left, right = rng.normal(size=(30, 4)), rng.normal(size=(20, 4))
    expected = np.where(np.isnan(values), 0.0, left @ right.T - values)
    residual = given.residual(left, right)
    np.testing.assert_allclose(residual.toarray(), expected, atol=1e-13)
    np.testing.assert_allclose(residual @ right, expected @ right, atol=1e-12)
    np.testing.assert_allclose(residual.T @ left, expected.T @ left, atol=1e-12)
    assert np.shares_memory(residual.indices, given.matrix.indices)
    with ThreadPoolExecutor(3) as pool:
        threaded = given.residual(left, right, pool.map)
    np.testing.assert_array_equal(threaded.data, residual.data)


def test_residual_is_the_gradient_of_the_loss():
    values, given = some_entries(0.4)
    rng = np.random.default_rng(1)
    x, d = (rng.normal(size=(30, 20)) for _ in range(2))

    def loss(t):
        return 0.5 * np.nansum((x + t * d - values) ** 2)

    slope = (loss(1e-5) - loss(-1e-5)) / 2e-5
    gradient = given.residual(x, np.eye(20))
    assert np.sum(gradient.toarray() * d) == pytest.approx(slope, rel=1e-8)


@pytest.mark.parametrize("density", [0.05, 0.6])
def test_ridge_rows_solve_their_normal_equations(density, monkeypatch):
    monkeypatch.setattr(_regression, "NORMAL_NUMBERS", 100)
    monkeypatch.setattr(_regression, "PRODUCT_NUMBERS", 60)
    values, given = some_entries(density)
    V, c = np.random.default_rng(1).normal(size=(20, 4)), np.array([0.1, 0.2, 0.5, 3.0])
    got = _regression.ridge_rows(given, V, c)
    for i, row in enumerate(values):
        seen = ~np.isnan(row)
        normal = V[seen].T @ V[seen] + np.diag(c)
        expected = np.linalg.solve(normal, V[seen].T @ row[seen])
        np.testing.assert_allclose(got[i], expected, atol=1e-12)
    with ThreadPoolExecutor(3) as pool:
        np.testing.assert_array_equal(_regression.ridge_rows(given, V, c, pool.map), got)


def objective(given, point, depth, threshold):
    density = len(given.values) / np.prod(given.shape)
    weight = _path.penalty(np.ones(1), depth, threshold, density)[0]
    loss = 0.5 * np.sum(given.residual(point.u * point.s, point.vt.T).data ** 2)
    return loss + 0.5 * weight * depth * np.sum(point.s ** (2 / depth))


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_sweeps_never_raise_the_penalised_loss_and_end_where_it_is_stationary(depth):
    _, given = some_entries(0.6)
    rng = np.random.default_rng(2)
    point = _path.svd_of_product(rng.normal(size=(30, 3)), rng.normal(size=(20, 3)))
    last = objective(given, point, depth, 1.0)
    for _ in range(400):
        point = _path._columns_then_rows(given, point, depth, 1.0, map)
        value = objective(given, point, depth, 1.0)
        assert value <= last * (1 + 1e-12)
        last = value
    moves = [
        point._replace(s=point.s * np.exp(1e-5 * sign * np.eye(3)[k]))
        for k in range(3)
        for sign in (1, -1)
    ]
    assert all(objective(given, move, depth, 1.0) > last * (1 - 1e-13) for move in moves)


@pytest.mark.parametrize("depth", [3, 4, 10])
def test_threshold_is_where_one_direction_begins_to_pay(depth):
    # Of one direction: min_s p/2 s^2 - size s + (weight N / 2) s^(2/N) has a positive minimiser.
    density, threshold = 0.3, 2.0
    weight = _path.penalty(np.ones(1), depth, threshold, density)[0]
    s = np.linspace(1e-6, 20, 2_000_001)
    for size, exists in ((0.999 * threshold, False), (1.001 * threshold, True)):
        slope = density * s - size + weight * s ** (2 / depth - 1)
        assert (slope < 0).any() == exists


@pytest.mark.parametrize("depth", [2, 3])
def test_recovers_an_exact_matrix_and_its_rank(depth):
    matrix = low_rank()
    values, hidden = hide(matrix, 0.4)
    model = DLNCompletion(depth=depth, random_state=0, biases=False)
    completed = model.fit_transform(values)
    assert rmse((completed - matrix)[hidden]) < 1e-5
    assert depth == 2 or model.rank_ == 4
    np.testing.assert_array_equal(completed[~hidden], values[~hidden])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("solver", "max_iter"),
    [("conjugate-gradient", 500), ("trust-regions", 22), ("steepest-descent", 250)],
)
def test_descents_complete_by_stopping_early(solver, max_iter):
    matrix = low_rank((60, 40))
    values, hidden = hide(matrix + 0.1 * np.random.default_rng(3).normal(size=matrix.shape), 0.3)
    model = DLNCompletion(
        solver=solver, rank=6, max_iter=max_iter, random_state=0, biases=False, verbose=True
    )
    completed = model.fit_transform(as_sparse(values))
    assert rmse((completed - matrix)[hidden]) < 0.08
    best = min(model.path_, key=lambda step: step.held_out)
    assert 0.1 < model.validation_error_ < 0.14
    assert best.training < best.held_out
    rows, columns = np.nonzero(hidden)
    np.testing.assert_allclose(model.predict(rows, columns), completed[hidden], rtol=1e-12)
    warm = model.set_params(warm_start=True, rank=8, verbose=False).fit(values)
    assert rmse((warm.transform(values) - matrix)[hidden]) < 0.08


@pytest.mark.parametrize("depth", [1, slow(3)])
def test_trust_regions_end_where_the_gradient_vanishes(depth):
    # The loss in a single column is quadratic at depth one, and a step or two solve it.
    spread = np.exp(np.random.default_rng(0).uniform(-200, 200, size=(4, 1)))
    for column in (np.eye(4, 1), spread):
        for early_stopping in (True, False):
            model = DLNCompletion(
                depth, solver="trust-regions", early_stopping=early_stopping, random_state=1
            )
            completed = model.fit(column).transform(np.where(column > 0, np.nan, column))
            assert np.isfinite(completed).all()
            assert np.isfinite(model.predict([0, 1, 2, 3], [0] * 4)).all()


def test_descents_on_dense_and_sparse_splits_are_the_same():
    values, given = some_entries(0.6)
    seen = ~np.isnan(values)
    held_out = np.zeros_like(seen)
    held_out[given.rows[::7], given.columns[::7]] = True
    dense_split = _losses.DenseSplit(np.where(seen, values, 0.0), seen & ~held_out, held_out)
    part = held_out[given.rows, given.columns]
    sparse_split = _losses.ObservedSplit(given.select(~part), given.select(part))
    rng = np.random.default_rng(1)
    point = _path.svd_of_product(rng.normal(size=(30, 3)), rng.normal(size=(20, 3)))
    left, right = rng.normal(size=(30, 4)), rng.normal(size=(20, 4))
    assert dense_split.count == sparse_split.count
    for one, two in (
        (dense_split.residual(point), sparse_split.residual(point).toarray()),
        (dense_split.derivative(left, right), sparse_split.derivative(left, right).toarray()),
        (dense_split.held_out_error(point), sparse_split.held_out_error(point)),
    ):
        np.testing.assert_allclose(one, two, atol=1e-13)
    error = ((point.u * point.s) @ point.vt - values)[held_out]
    assert dense_split.held_out_error(point) == pytest.approx(rmse(error), rel=1e-12)


def test_noise_stops_the_path_at_the_rank_of_the_signal():
    matrix = low_rank((200, 150))
    noisy, hidden = hide(matrix + 0.1 * np.random.default_rng(3).normal(size=matrix.shape), 0.5)
    model = DLNCompletion(random_state=0, biases=True).fit(noisy)
    # Removing biases adds two to the rank.
    assert np.sum(model.singular_values_ > 0.1 * model.singular_values_[0]) == 5
    assert model.rank_ <= 8
    assert rmse((model.transform(noisy) - matrix)[hidden]) < 0.06
    assert 0.1 < model.validation_error_ < 0.13


def test_ill_conditioned_matrix():
    rng = np.random.default_rng(0)
    u, v = (np.linalg.qr(rng.normal(size=(300, 5)))[0] for _ in range(2))
    matrix = (u * np.geomspace(100, 1, 5)) @ v.T
    values, _ = hide(matrix, 0.7)
    completed = DLNCompletion(random_state=0).fit_transform(values)
    assert np.linalg.norm(completed - matrix) < 1e-6 * np.linalg.norm(matrix)


@pytest.mark.parametrize(("seeds", "allowed"), [(range(2), 0), slow(range(2, 10), 1)], ids=str)
def test_twice_as_many_entries_as_unknowns_are_enough(seeds, allowed):
    # 975 unknowns; new directions that enter too early fit the gaps between the entries.
    failed, count = 0, 1800
    for seed in seeds:
        rng = np.random.default_rng(seed)
        matrix = rng.normal(size=(100, 5)) @ rng.normal(size=(5, 100))
        matrix *= 100 / np.linalg.norm(matrix)
        values = np.full(matrix.size, np.nan)
        given = rng.choice(matrix.size, count, replace=False)
        values[given] = matrix.ravel()[given]
        model = DLNCompletion(biases=False, random_state=seed)
        completed = model.fit_transform(values.reshape(matrix.shape))
        failed += np.linalg.norm(completed - matrix) > 1e-6 * np.linalg.norm(matrix)
    assert failed <= allowed


def test_dense_sparse_and_pandas_input_give_the_same():
    values, _ = hide(low_rank((30, 24), noise=0.1), 0.4)
    values[3, 4] = 0.0
    model = DLNCompletion(random_state=0, rank=4, max_iter=10)
    expected = model.fit_transform(values)
    stored = as_sparse(values)
    assert stored[3, 4] == 0
    assert stored.nnz == np.sum(~np.isnan(values))
    for kind in (sparse.csr_array, sparse.csc_array, sparse.coo_matrix):
        np.testing.assert_array_equal(clone(model).fit_transform(kind(stored)), expected)
    names = [f"c{i}" for i in range(24)]
    frame = pd.DataFrame(values, columns=names, index=range(100, 130))
    result = clone(model).set_output(transform="pandas").fit_transform(frame)
    assert list(result.columns) == names
    assert list(result.index) == list(range(100, 130))
    np.testing.assert_array_equal(result.to_numpy(), expected)


def test_explicit_zeros_are_observed():
    stored = as_sparse(np.where(np.arange(900).reshape(30, 30) % 3, np.nan, 0.0))
    assert np.all(DLNCompletion(random_state=0).fit_transform(stored) == 0)


def test_new_rows_are_completed_from_the_row_space():
    matrix = low_rank((200, 45))
    values, hidden = hide(matrix, 0.4)
    model = DLNCompletion(random_state=0).fit(values[:150])
    new = model.transform(values[150:])
    assert rmse((new - matrix[150:])[hidden[150:]]) < 1e-4
    assert model.score(values[150:]) > -1e-3
    np.testing.assert_allclose(model.transform(values[:7]), model.transform(values)[:7], rtol=1e-12)


def test_predict_is_transform_entry_by_entry():
    values, hidden = hide(low_rank((30, 24), noise=0.1), 0.4)
    model = DLNCompletion(random_state=0, max_iter=10).fit(values)
    rows, columns = np.nonzero(hidden)
    expected = model.transform(values)[hidden]
    np.testing.assert_allclose(model.predict(rows, columns), expected, rtol=1e-12)


def test_rows_and_columns_without_entries_get_the_biases():
    values, _ = hide(low_rank((30, 24), noise=0.1), 0.4)
    values[4], values[:, 7] = np.nan, np.nan
    model = DLNCompletion(random_state=0, max_iter=10).fit(values)
    mean, a, b = model.biases_
    np.testing.assert_allclose(model.transform(values)[4], mean + b, rtol=1e-12)
    np.testing.assert_allclose(model.transform(values)[:, 7], mean + a, rtol=1e-10)


def test_result_does_not_depend_on_threads_and_survives_pickling():
    values, _ = hide(low_rank((30, 24), noise=0.1), 0.4)
    one = DLNCompletion(random_state=0, max_iter=10).fit(values)
    threaded = DLNCompletion(random_state=0, max_iter=10, n_jobs=2).fit(values)
    two = pickle.loads(pickle.dumps(threaded))
    np.testing.assert_array_equal(one.transform(values), two.transform(values))


def test_result_scales_and_shifts_with_the_data():
    values, _ = hide(low_rank(noise=0.1), 0.4)
    model = DLNCompletion(random_state=0, rank=6)
    one, two = (clone(model).fit_transform(x) for x in (values, 1e4 * values - 7))
    np.testing.assert_allclose(two, 1e4 * one - 7, atol=1e-3)


def test_warm_start_goes_on_with_more_entries_and_the_same_held_out_ones():
    matrix = low_rank((120, 90), noise=0.1)
    more, hidden = hide(matrix, 0.4)
    less = np.where(np.random.default_rng(5).random(matrix.shape) < 0.2, np.nan, more)
    model = DLNCompletion(random_state=0, warm_start=True)
    steps = model.fit(less).n_iter_
    held_out = [
        _observed.held_out_mask(_observed.observed_entries(x), 0.1, model._seed)
        for x in (less, more)
    ]
    places = [
        np.argwhere(~np.isnan(x))[mask] for x, mask in zip((less, more), held_out, strict=True)
    ]
    assert set(map(tuple, places[0])) <= set(map(tuple, places[1]))
    warm = rmse((model.fit(more).transform(more) - matrix)[hidden])
    assert model.n_iter_ < steps
    cold = rmse((DLNCompletion(random_state=0).fit_transform(more) - matrix)[hidden])
    assert warm < 1.05 * cold


@pytest.mark.parametrize("solver", ["alternating", "conjugate-gradient"])
def test_warm_start_keeps_to_a_cap_that_has_fallen(solver):
    values, _ = hide(low_rank(), 0.4)
    model = DLNCompletion(
        solver=solver, rank=6, max_iter=20, warm_start=True, random_state=0, biases=False
    )
    assert model.fit(values).rank_ > 2
    assert model.set_params(rank=2).fit(values).rank_ == 2


def test_held_out_entries_are_a_fair_sample():
    _, given = some_entries(0.9, (300, 200))
    for seed in range(3):
        mask = _observed.held_out_mask(given, 0.2, seed)
        count = len(mask)
        # Five standard deviations; rows and columns likewise.
        assert abs(mask.sum() - 0.2 * count) < 5 * np.sqrt(0.16 * count)
        for index, size in ((given.rows, 300), (given.columns, 200)):
            total, part = np.bincount(index), np.bincount(index, mask, size)
            assert np.all(np.abs(part - 0.2 * total) < 5 * np.sqrt(0.16 * total))
    other = _observed.held_out_mask(given, 0.2, 7)
    assert abs(np.mean(mask & other) - 0.04) < 0.01


def test_float32_in_float32_out_and_progress(capsys):
    values, _ = hide(low_rank((30, 24), noise=0.1), 0.4)
    model = DLNCompletion(random_state=0, verbose=True, rank=4, max_iter=10)
    assert model.fit_transform(values.astype(np.float32)).dtype == np.float32
    assert model.rank_ <= 4
    assert "rank" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 0}, "depth=0"),
        ({"solver": "magic"}, "solver='magic': it must be one of alternating, conj"),
        ({"rank": 46}, "from 1 to 45"),
        ({"validation_fraction": 1.0}, "validation_fraction=1.0"),
        ({"ridge": -1.0}, "ridge=-1.0"),
        ({"tol": float("nan")}, "tol=nan"),
        ({"max_iter": 0}, "max_iter=0"),
        ({"max_iter": 2.5}, "max_iter=2.5"),
        ({"memory_limit": 1e-3}, r"a fit to \d+ entries at rank 45 needs 0.\d+ GiB"),
    ],
)
def test_the_estimator_names_bad_parameters(change, message):
    values, _ = hide(low_rank(), 0.3)
    with pytest.raises(ValueError, match=message):
        DLNCompletion(**change).fit(values)


def test_the_estimator_names_bad_data():
    values, _ = hide(low_rank(), 0.3)
    values[2, 3] = np.inf
    with pytest.raises(ValueError, match=r"\[2, 3\] is inf"):
        DLNCompletion().fit(values)
    stored = as_sparse(low_rank((5, 4)))
    stored.data[6] = np.nan
    with pytest.raises(ValueError, match=r"sparse entry \[1, 2\] is NaN"):
        DLNCompletion().fit(stored)
    with pytest.raises(ValueError, match=r"the largest entry is .*e\+20"):
        DLNCompletion().fit(1e200 * low_rank())
    with pytest.raises(ValueError, match="0 entries are observed"):
        DLNCompletion().fit(np.full((4, 4), np.nan))


@pytest.mark.filterwarnings("ignore:4 of 50000 entries are stored more than once")
def test_a_dense_result_beyond_the_limit_is_refused_and_predict_is_not():
    rng = np.random.default_rng(0)
    n = 20_000
    index = rng.integers(n, size=(2, 50_000))
    given = sparse.coo_array((rng.normal(size=50_000), index), shape=(n, n))
    model = DLNCompletion(rank=2, max_iter=2, random_state=0, memory_limit=1.0).fit(given)
    with pytest.raises(ValueError, match=r"20000 x 20000 .* needs 2\.98 GiB"):
        model.transform(given)
    assert np.isfinite(model.predict(*index)).all()
    with pytest.raises(ValueError, match="rows has values"):
        model.predict([n], [0])
    with pytest.raises(ValueError, match="shapes"):
        model.predict([1, 2], [0])


def test_data_that_are_biases_alone_or_constant():
    rng = np.random.default_rng(0)
    for matrix in (rng.normal(size=(30, 1)) + rng.normal(size=20), np.full((30, 20), 3.0)):
        values, hidden = hide(matrix, 0.3)
        completed = DLNCompletion(random_state=0).fit_transform(values)
        assert rmse((completed - matrix)[hidden]) < 0.2 * np.std(matrix) + 1e-5


def test_without_early_stopping_the_fit_is_exact():
    values, hidden = hide(low_rank(noise=0.1), 0.3)
    model = DLNCompletion(early_stopping=False, random_state=0).fit(values)
    assert np.isnan(model.validation_error_)
    rows, columns = np.nonzero(~hidden)
    assert rmse(model.predict(rows, columns) - values[~hidden]) < 1e-3
    assert isinstance(model._model.path.steps, list)
    assert isinstance(_observed.observed_entries(values), Observed)
