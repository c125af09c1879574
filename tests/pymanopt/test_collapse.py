"""Rank collapse is said once, and only where it happens; a start that fits does not lose rank."""

import warnings

import numpy as np
import pytest
from pymanopt.optimizers import ConjugateGradient, TrustRegions
from scipy import sparse

from dlngeom import LowRank, svd
from dlngeom.pymanopt import EndToEnd, Point
from tests.helpers.parameters import slow
from tests.helpers.rank_collapse import (
    CASES,
    OPTIMIZERS,
    Case,
    distance,
    ending,
    endings,
    same_sign,
    solved,
    start_of,
)

# Some of the runs of the benchmark, which takes them all.
RUNS = {"ConjugateGradient": 8, "TrustRegions": 4}


@pytest.mark.parametrize(
    ("name", "optimizer", "depth", "count"),
    [
        ("5 x 5", "ConjugateGradient", 2, 3),
        ("5 x 5", "TrustRegions", 3, 3),
        *(
            slow(name, optimizer, depth, RUNS[optimizer])
            for name in ("6 x 5", "5 x 5", "5 x 5, condition 1000")
            for optimizer in OPTIMIZERS
            for depth in (2, 3)
        ),
    ],
)
def test_each_run_ends_at_the_target_or_warns(name, optimizer, depth, count):
    found = endings(CASES[name], depth, OPTIMIZERS[optimizer][0], "random", range(count))
    assert {word for word, _ in found} <= {"reached", "warned"}
    # Only the sign of the determinant stands between start and target.
    assert not found["warned", True]
    if name != "6 x 5":
        assert found["warned", False] > 0


@pytest.mark.parametrize("depth", [2, slow(3)])
@pytest.mark.parametrize("name", ["6 x 5", "5 x 5", *(slow(x) for x in list(CASES)[2:])])
def test_an_aligned_start_reaches_the_target(name, depth):
    found = endings(CASES[name], depth, ConjugateGradient, "aligned", range(2))
    assert found == {("reached", True): 2}


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_all_aligned_starts_reach_the_target(depth, optimizer):
    method, count = OPTIMIZERS[optimizer][0], RUNS[optimizer]
    for name in ("6 x 5", "5 x 5"):
        found = endings(CASES[name], depth, method, "aligned", range(count))
        assert found == {("reached", True): count}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "depth"),
    list(zip([x for x in CASES if x.startswith("20 x 15")], (2, 3, 2), strict=True)),
)
def test_no_run_below_full_rank_is_silent_or_warns_in_vain(name, depth):
    found = endings(CASES[name], depth, ConjugateGradient, "random", range(10))
    # Its line search may give up, and it then says so.
    assert {word for word, _ in found} <= {"reached", "unfinished"}
    assert found["reached", True] >= 9


@pytest.mark.parametrize("depth", [2, slow(3)])
def test_starts_with_the_columns_of_the_target_collapse_as_square_ones_do(depth):
    found = endings(CASES["6 x 5"], depth, TrustRegions, "columns", range(6))
    assert {word for word, _ in found} == {"reached", "warned"}


@pytest.mark.parametrize(("depth", "seeds"), [(2, [2]), slow(2, range(5)), slow(3, range(5))])
def test_a_small_gradient_that_is_left_is_said_too(depth, seeds):
    for k in seeds:
        u, s, vt = np.linalg.svd(np.random.default_rng(k).standard_normal((4, 4)))
        s[-1] = left = 8e-4
        manifold = EndToEnd(4, 4, 4, depth, rng=k)
        start = manifold.random_point()
        B = (u * s) @ vt
        B = B if not same_sign(start, B) else B * np.array([-1.0, 1, 1, 1])
        result, warned = solved(ConjugateGradient, distance(manifold, B), start)
        assert result.cost > 0.4 * left**2
        assert warned == 1


def test_a_decrease_below_rounding_is_the_end_in_every_unit():
    """Far above the tolerance of pymanopt too."""
    manifold, G = EndToEnd(3, 3, 3, 2), np.diag([0.0, 0, 1e3])
    one = np.eye(3)
    start = Point(one, np.array([1.0, 1, 0.1]), one)
    manifold.euclidean_to_riemannian_gradient(start, G)
    for last, count in ((1e-10, 0), (1e-18, 1)):
        x = Point(one, np.array([1.0, 1, last]), one)
        x._descent = start.descent()
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            gradient = manifold.euclidean_to_riemannian_gradient(x, G)
        assert manifold.norm(x, gradient) > 1e-6
        assert len(seen) == count


@pytest.mark.parametrize("depth", [1, 2, slow(3)])
def test_a_minimum_of_lower_rank_is_no_collapse(depth):
    rng = np.random.default_rng(0)
    B = rng.standard_normal((8, 1)) @ rng.standard_normal((1, 6))
    manifold = EndToEnd(8, 6, 3, depth, rng=1)
    for seen in (1.0, rng.random((8, 6)) < 0.7):
        problem = distance(manifold, B, seen)
        assert solved(ConjugateGradient, problem, manifold.random_point())[1] == 0


def test_collapse_beside_a_lower_rank_that_is_wanted():
    """One singular value goes to zero rightly, and the next beside it wrongly."""
    B = np.diag([3.0, 2.0, 1.0, 0.0])
    manifold = EndToEnd(4, 4, 4, 2, rng=0)
    start = svd(np.diag([1.0, 1.0, -0.5, 0.4]))
    result, warned = solved(TrustRegions, distance(manifold, B), start)
    assert result.cost == pytest.approx(0.5)
    assert warned == 1


@pytest.mark.parametrize("depth", [2, slow(3)])
def test_every_run_warns_for_itself(depth):
    B = np.diag([3.0, 2.0, -1.0])
    manifold = EndToEnd(3, 3, 3, depth)
    problem, start = distance(manifold, B), manifold.aligned_point(-np.eye(3))
    end, warned = solved(ConjugateGradient, problem, start)
    again = [solved(method, problem, start)[1] for method in (TrustRegions, ConjugateGradient)]
    assert [warned, *again] == [1, 1, 1]
    assert solved(ConjugateGradient, problem, end.point)[1] == 1
    good = distance(manifold, np.diag([3.0, 2.0, 1.0]))
    assert solved(ConjugateGradient, good, start)[1] == 0


def test_singular_values_that_are_zero_from_the_start_are_said():
    B = np.diag([3.0, 2.0, 1.0])
    manifold = EndToEnd(3, 3, 3, 3)
    result, warned = solved(ConjugateGradient, distance(manifold, B), svd(np.diag([3, 2, 1e-12])))
    assert result.cost > 0.4
    assert warned == 1
    lower = distance(manifold, np.diag([3.0, 2.0, 0.0]))
    assert solved(ConjugateGradient, lower, svd(np.diag([3.1, 2, 1e-12])))[1] == 0


def test_the_warning_names_the_singular_value_and_what_to_do():
    manifold = EndToEnd(3, 3, 3, 2)
    start = manifold.aligned_point(-np.eye(3))
    with pytest.warns(RuntimeWarning, match="singular value 3 of 3 fell from 1 to .*aligned_point"):
        ConjugateGradient(verbosity=0).run(
            distance(manifold, np.diag([3.0, 2.0, -1.0])), initial_point=start
        )


def test_columns_of_the_target_and_endings():
    """The helpers: a start in the columns of the target, and the word for an end."""
    case = Case((6, 5), 5)
    B = case.target(0)
    x = start_of("columns", EndToEnd(6, 5, 5, 2, rng=0), B)
    assert np.linalg.matrix_rank(np.hstack([x.u, B])) == 5
    result = ConjugateGradient(verbosity=0, max_iterations=1).run(
        distance(EndToEnd(6, 5, 5, 2), B), initial_point=x
    )
    assert [ending(result, w, B) for w in (0, 1)] == ["unfinished", "warned"]


def test_aligned_points_take_every_kind_of_gradient():
    rng = np.random.default_rng(0)
    U, V = rng.standard_normal((7, 3)), rng.standard_normal((5, 3))
    manifold = EndToEnd(7, 5, 2, 2, rng=0)
    points = [
        manifold.aligned_point(G, scale=0.5)
        for G in (U @ V.T, LowRank(U, np.eye(3), V), sparse.csr_array(U @ V.T))
    ]
    for x in points:
        W = (x.u * x.s) @ x.vt
        np.testing.assert_allclose(x.s, 0.5)
        np.testing.assert_allclose(W, (points[0].u * 0.5) @ points[0].vt, atol=1e-10)
        assert np.sum(W * (U @ V.T)) < 0
    with pytest.raises(ValueError, match="scale=0"):
        manifold.aligned_point(U @ V.T, scale=0)
