"""Biases, scales and depth chosen by held-out entries."""

import numpy as np
import pytest
from sklearn.datasets import load_wine

from dlngeom.completion import DLNCompletion, _biases, _choice, _model, _observed, complete
from dlngeom.completion._path import PathStep, Schedule
from dlngeom.completion._solvers import FitOptions, Progress
from tests.helpers.completion_cases import hide, low_rank


def rmse(x):
    return np.sqrt(np.mean(x**2))


def sensors():
    rng = np.random.default_rng(0)
    waves = np.sin(np.linspace(0, 20, 300))[:, None] * np.array([1, 2, 3, 4])
    return waves + 20 + 0.1 * rng.normal(size=(300, 4))


def additive():
    rng = np.random.default_rng(1)
    return rng.normal(size=(80, 1)) + 2 * rng.normal(size=60) + 0.5 * rng.normal(size=(80, 60))


def test_tables_in_different_units_are_scaled_and_results_are_not():
    table = load_wine().data
    values, hidden = hide(table, 0.1)
    model = DLNCompletion(random_state=0)
    completed = model.fit_transform(values)
    assert model.biases_kind_ == "columns"
    assert model.scale_.max() > 100 * model.scale_.min()
    means = np.nanmean(values, axis=0)
    assert rmse((completed - table)[hidden]) < 0.75 * rmse((means - table)[hidden])
    by_hand = (values - means) / np.nanstd(values, axis=0)
    expected = DLNCompletion(random_state=0, biases=False, scale=False).fit_transform(by_hand)
    expected = means + np.nanstd(values, axis=0) * expected
    assert rmse((completed - table)[hidden]) < 1.05 * rmse((expected - table)[hidden])


@pytest.mark.parametrize("call", ["estimator", "function"])
def test_scaled_columns_do_not_depend_on_their_units(call):
    values, _ = hide(low_rank((40, 30), noise=0.1), 0.3)
    units = np.geomspace(1e-3, 1e3, 30)
    options = {"biases": "columns", "scale": "columns"}
    if call == "function":
        options |= {"depth": (1, 3), "rank": 4, "rng": 0, "max_iterations": 10}
        one, two = (complete(x, **options).completed for x in (values, units * values))
    else:
        model = DLNCompletion(random_state=0, **options)
        one, two = (model.fit_transform(x) for x in (values, units * values))
    np.testing.assert_allclose(two / units, one, rtol=1e-6, atol=1e-6)


def test_sensors_with_a_common_wave():
    truth = sensors()
    values, hidden = hide(truth, 0.1)
    assert rmse((DLNCompletion(random_state=0).fit_transform(values) - truth)[hidden]) < 0.16


def test_biases_are_chosen_by_what_they_predict():
    values, _ = hide(additive(), 0.8)
    assert DLNCompletion(random_state=0).fit(values).biases_kind_ == "rows+columns"
    # Forty entries a column: their mean would add more error than it takes away.
    values, _ = hide(low_rank((200, 150), noise=0.5) - 5, 0.8)
    assert DLNCompletion(random_state=0).fit(values).biases_kind_ == "none"


def test_a_depth_of_auto_is_the_best_of_three_on_held_out_entries():
    values, _ = hide(low_rank((40, 30), noise=0.2), 0.4)
    options = {"rank": 4, "biases": "columns", "scale": False, "rng": 2}
    chosen = complete(values, **options)
    each = [complete(values, depth=N, **options).held_out for N in (1, 2, 3)]
    assert chosen.depth == 1 + int(np.argmin(each))
    model = DLNCompletion("auto", rank=4, biases="columns", scale=False, random_state=0).fit(values)
    assert model.depth_ == chosen.depth


@pytest.mark.parametrize("kind", ["none", "columns", "rows+columns"])
@pytest.mark.parametrize("scaled", [False, True])
def test_biases_of_the_path_do_not_see_the_held_out_entries(kind, scaled):
    values, _ = hide(low_rank(noise=0.1), 0.3)
    given = _observed.observed_entries(values)
    options = FitOptions("alternating", Schedule(3, 5, 30, 1e-8), kind, scaled, 1.0, 0.1, 0)
    training, held_out = _model.held_out_parts(given, 0.1, 0)
    other = _observed.Observed(held_out.with_values(held_out.values + 100))
    one, two = (_model.attempt((training, x), options, Progress()) for x in (held_out, other))
    np.testing.assert_array_equal(one.units.biases.matrix(), two.units.biases.matrix())


def test_new_rows_of_scaled_columns():
    table = load_wine().data
    values, hidden = hide(table, 0.1)
    model = DLNCompletion(random_state=0).fit(values)
    np.testing.assert_allclose(model.transform(values)[:9], model.transform(values[:9]), rtol=1e-12)
    rows, columns = np.nonzero(hidden)
    expected = model.transform(values)[hidden]
    np.testing.assert_allclose(model.predict(rows, columns), expected, rtol=1e-9)


def test_constant_columns_are_completed_by_their_constant():
    table = load_wine().data[:, :6].copy()
    table[:, 2], table[:, 4] = 5.0, 0.0
    values, _ = hide(table, 0.2)
    for scale in ("auto", "columns"):
        completed = DLNCompletion(random_state=0, biases="columns", scale=scale).fit_transform(
            values
        )
        np.testing.assert_allclose(completed[:, [2, 4]], table[:, [2, 4]], atol=0.1)
    assert np.isfinite(completed).all()


def test_clipped_predictions_keep_to_the_observed_range():
    values, hidden = hide(np.clip(low_rank((40, 30), noise=0.5), 3, 7), 0.4)
    free, kept = (complete(values, rank=4, depth=2, rng=0, clip=clip) for clip in (False, True))
    assert free.outside > 0
    assert kept.outside == 0
    low, high = np.nanmin(values), np.nanmax(values)
    np.testing.assert_allclose(kept.predicted, np.clip(free.predicted, low, high), atol=1e-12)
    model = DLNCompletion(random_state=0, rank=4, clip=True).fit(values)
    completed = model.transform(values)
    assert completed.min() >= low
    assert completed.max() <= high
    assert model.predict(*np.nonzero(hidden)).max() <= high


def test_a_race_ends_what_learns_without_predicting():
    steps = [PathStep(1.0, 1, t, t + 0.01) for t in (0.9, 0.8, 0.6, 0.4)]
    units = _model.Units(_biases.Biases(0.0, np.zeros(3), np.zeros(3)), None, 1.0)
    path = type("Path", (), {"steps": steps})
    rival = _model.Trial(None, units, path, None, np.zeros(0))
    race = _choice._Race(rival, 1.0)
    assert not race.is_behind(PathStep(1.0, 1, 0.85, 0.86), 1.0)
    assert race.is_behind(PathStep(1.0, 1, 0.7, 0.95), 1.0)
    slow = _choice._Race(rival, 1.0)
    verdicts = [slow.is_behind(PathStep(1.0, 1, t, t + 0.02), 1.0) for t in (0.8, 0.7, 0.5)]
    assert verdicts == [False, False, True]
