"""What makes paths of completion cheap: cheaper regressions, continued paths, no heavy imports."""

import subprocess
import sys

import numpy as np
import pytest

from dlngeom.completion import _observed, _path, _regression
from dlngeom.completion._path import Schedule
from tests.helpers.completion_cases import hide, low_rank


def regression(density, rank):
    """Entries, orthonormal frame, and coefficients with their errors at random."""
    rng = np.random.default_rng(0)
    values = np.where(rng.random((300, 260)) < density, rng.normal(size=(300, 260)), np.nan)
    observed = _observed.observed_entries(values)
    frame = np.linalg.qr(rng.normal(size=(260, rank)))[0]
    return observed, frame, rng.normal(size=(300, rank))


def test_coefficients_near_the_solution_are_corrected_to_a_tenth_of_their_error(monkeypatch):
    observed, frame, error = regression(0.5, 20)
    penalty = np.geomspace(1e-3, 10, 20)
    exact = _regression.ridge_rows(observed, frame, penalty)
    monkeypatch.setattr(_regression, "_normal", None)  # No normal equation is needed.
    got = _regression.ridge_rows(observed, frame, penalty, near=exact + 1e-9 * error)
    assert np.linalg.norm(got - exact) < 0.2e-9 * np.linalg.norm(error)


def test_normal_equations_are_solved_where_gradients_would_take_long():
    observed, frame, _ = regression(0.15, 40)
    penalty = np.full(40, 1e-9)
    exact = _regression.ridge_rows(observed, frame, penalty)
    near = _regression.ridge_rows(observed, frame, 1e6 * penalty)  # Wrong where it is hard.
    got = _regression.ridge_rows(observed, frame, penalty, near=near)
    np.testing.assert_array_equal(got, exact)


@pytest.mark.parametrize("density", [0.05, 0.5])
def test_gaps_are_residuals(density):
    values, _ = hide(low_rank((30, 20)), 1 - density, 0)
    observed = _observed.observed_entries(values)
    left, right = np.random.default_rng(0).normal(size=(2, 30, 3))
    gap, residual = observed.gap(left, right[:20]), observed.residual(left, right[:20])
    assert isinstance(gap, np.ndarray) is (density == 0.5)
    dense = gap if density == 0.5 else gap.toarray()
    np.testing.assert_allclose(dense, residual.toarray(), atol=1e-14)
    assert observed.rms_of(gap) == pytest.approx(_observed.rms(residual.data), rel=1e-12)


def test_path_that_ended_early_is_continued_to_where_the_whole_one_ends():
    values, _ = hide(low_rank((60, 50)), 0.5, 0)
    noise = 0.3 * np.random.default_rng(1).normal(size=values.shape)
    observed = _observed.observed_entries(values + noise)
    mask = _observed.held_out_mask(observed, 0.1, 0)
    parts, schedule = (observed.select(~mask), observed.select(mask)), Schedule(3, 20, 100, 1e-8)

    def follow(**more):
        return _path.follow_path(*parts, schedule, np.random.default_rng(0), **more)

    whole, begun = follow(), follow(is_behind=lambda step: step.rank > 1)
    assert 0 < len(begun.steps) < len(whole.steps)
    continued = follow(begun=begun)
    thresholds, expected = ([step.threshold for step in x.steps] for x in (continued, whole))
    np.testing.assert_allclose(thresholds, expected, rtol=0.02)
    assert continued.steps[: len(begun.steps)] == begun.steps
    np.testing.assert_allclose(continued.point.s, whole.point.s, rtol=0.02)


def test_path_loads_no_library_of_optimizers():
    script = (
        "import sys, numpy; from dlngeom.completion import complete;"
        "complete(numpy.arange(12.0).reshape(4, 3)); assert 'pymanopt' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=100)


def test_solvers_are_those_of_the_descents_and_the_path():
    from dlngeom.completion import _descent, _solvers

    assert ["alternating", *_descent.SOLVERS] == list(_solvers.SOLVERS)
