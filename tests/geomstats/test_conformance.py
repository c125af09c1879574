"""Our manifolds, metrics and bundle under the test cases that geomstats ships."""

import os
from itertools import product

import geomstats.backend as gs
import numpy as np
import pytest
from geomstats.geometry.full_rank_matrices import FullRankMatrices
from geomstats.geometry.general_linear import GeneralLinear
from geomstats.geometry.spd_matrices import SPDMatrices
from geomstats.test_cases.geometry.fiber_bundle import FiberBundleTestCase
from geomstats.test_cases.geometry.group_action import GroupActionTestCase
from geomstats.test_cases.geometry.manifold import ManifoldTestCase
from geomstats.test_cases.geometry.mixins import ProjectionTestCaseMixins
from geomstats.test_cases.geometry.quotient_metric import QuotientMetricTestCase
from geomstats.test_cases.geometry.riemannian_metric import (
    RiemannianMetricComparisonTestCase,
    RiemannianMetricTestCase,
)

from dlngeom.geomstats import (
    BalancedMatrices,
    DeepLinearCoordinates,
    DeepLinearMetric,
    EndToEndMatrices,
)
from tests.helpers.conformance_cases import EXCLUDED, NOT_OPEN, Nearby, calls, run

pytestmark = pytest.mark.slow

KNOWN = {"GL": GeneralLinear, "full": lambda n: FullRankMatrices(n, n), "SPD": SPDMatrices}

# All sizes take both backends half an hour: ``make conformance`` runs them.
if os.environ.get("ALL_SIZES"):
    SIZES = [(d, depth, r) for d in (2, 3) for depth in (1, 2, 3, 5) for r in (d, d - 1)]
    KNOWN_SIZES = list(product(KNOWN, (2, 3, float("inf"))))
    FLAT_DEPTHS = (1, 3)
else:
    # One layer, an even number and an odd one, below full rank; pytorch takes twice the time.
    SIZES = [(2, 1, 2), (2, 2, 2), (3, 3, 2)] if gs.__name__.endswith("numpy") else [(2, 3, 1)]
    KNOWN_SIZES = [("GL", 3), ("full", float("inf")), ("SPD", 2), ("SPD", float("inf"))]
    KNOWN_SIZES = KNOWN_SIZES if gs.__name__.endswith("numpy") else KNOWN_SIZES[:3]
    FLAT_DEPTHS = (3,)
BUNDLES = [x for x in SIZES if x[1] > 1]


def coordinates(r, d):
    return {} if r == d else NOT_OPEN


def base_matrix(d, r):
    """A matrix of rank r that is not symmetric, of positive determinant at full rank."""
    turn = np.eye(d) + 0.3 * skew(d)
    values = np.array([1.0 + 0.2 * k if k < r else 0.0 for k in range(d)])
    return gs.array(turn * values @ (np.eye(d) + 0.2 * np.eye(d, k=1)))


def skew(d):
    return np.eye(d, k=1) - np.eye(d, k=-1)


def below(d, depth, r):
    space = EndToEndMatrices(d, d, r, depth)
    return space, Nearby(space, space.projection(base_matrix(d, r)))


def above(d, depth, r):
    space = BalancedMatrices(d, depth, r)
    space.equip_with_group_action()
    base = space.equip_with_quotient()
    lifted = space.fiber_bundle.lift(below(d, depth, r)[1].base_point)
    # Turned within its orbit, so that nothing is special about its inner frames.
    turn = gs.array(np.linalg.qr(np.eye(d) + 0.4 * skew(d))[0])
    point = space.group_action(gs.stack([turn] * (depth - 1)), lifted) if depth > 1 else lifted
    return space, base, Nearby(space, point)


def label(arguments):
    """Sizes of a call, for the name of a test."""
    return [value for key, value in arguments.items() if key != "atol"]


def parametrize(case, sizes, *excluded):
    """Sizes and calls, each with what cannot be asked there."""
    rows = [
        pytest.param(*size, name, arguments, id=f"{size}-{name}-{label(arguments)}")
        for size in sizes
        for name, arguments in calls(case, {**EXCLUDED, **coordinates(size[2], size[0])})
        if not any(name.startswith(f"test_{prefix}") for prefix in excluded)
    ]
    return pytest.mark.parametrize(("d", "depth", "r", "name", "arguments"), rows)


class Projecting(ProjectionTestCaseMixins, ManifoldTestCase):
    pass


@parametrize(Projecting, SIZES)
def test_end_to_end_matrices(d, depth, r, name, arguments):
    space, data = below(d, depth, r)
    run(Projecting, name, arguments, space=space, data_generator=data)


@parametrize(RiemannianMetricTestCase, SIZES)
def test_deep_linear_metric(d, depth, r, name, arguments):
    space, data = below(d, depth, r)
    run(RiemannianMetricTestCase, name, arguments, space=space, data_generator=data)


@parametrize(Projecting, SIZES)
def test_balanced_matrices(d, depth, r, name, arguments):
    space, _, data = above(d, depth, r)
    run(Projecting, name, arguments, space=space, data_generator=data)


# The manifold upstairs is embedded, its entries are no coordinates at any rank.
@parametrize(RiemannianMetricTestCase, SIZES, *NOT_OPEN, "geodesic_equation")
def test_balanced_metric(d, depth, r, name, arguments):
    space, _, data = above(d, depth, r)
    run(RiemannianMetricTestCase, name, arguments, space=space, data_generator=data)


@parametrize(FiberBundleTestCase, SIZES)
def test_bundle(d, depth, r, name, arguments):
    total, base, data = above(d, depth, r)
    run(
        FiberBundleTestCase, name, arguments, total_space=total, base=base,
        data_generator=data, base_data_generator=below(d, depth, r)[1],
    )  # fmt: skip


@parametrize(GroupActionTestCase, BUNDLES)
def test_group_action(d, depth, r, name, arguments):
    space, _, data = above(d, depth, r)
    group = space.group_action.group
    run(
        GroupActionTestCase, name, arguments, space=space, group=group,
        group_action=staticmethod(space.group_action), data_generator=data,
        group_data_generator=group,
    )  # fmt: skip


@parametrize(QuotientMetricTestCase, SIZES)
def test_quotient_metric(d, depth, r, name, arguments):
    base, data = above(d, depth, r)[1], below(d, depth, r)[1]
    run(QuotientMetricTestCase, name, arguments, space=base, data_generator=data)


@parametrize(RiemannianMetricComparisonTestCase, SIZES)
def test_closed_form_against_quotient_metric(d, depth, r, name, arguments):
    (space, data), other = below(d, depth, r), above(d, depth, r)[1]
    run(
        RiemannianMetricComparisonTestCase, name, arguments, space=space, other_space=other,
        data_generator=data,
    )  # fmt: skip


ROWS = [
    pytest.param(kind, depth, name, arguments, id=f"{kind}-{depth}-{name}-{label(arguments)}")
    for kind, depth in KNOWN_SIZES
    for name, arguments in calls(
        RiemannianMetricTestCase, {**EXCLUDED, **(NOT_OPEN if kind == "SPD" else {})}
    )
    # Curvature is computed upstairs, where infinite depth has nothing.
    if not (depth == float("inf") and "riemann_tensor" in name)
]


@pytest.mark.parametrize(("kind", "depth", "name", "arguments"), ROWS)
def test_spaces_of_geomstats(kind, depth, name, arguments):
    space = KNOWN[kind](2).equip_with_metric(DeepLinearMetric, depth=depth)
    base = gs.array([[1.0, 0.2], [0.2, 0.7]] if kind == "SPD" else [[1.0, 0.3], [-0.2, 0.8]])
    data = Nearby(space, base, radius=0.1)
    run(RiemannianMetricTestCase, name, arguments, space=space, data_generator=data)


FLAT = [
    pytest.param(depth, name, arguments, id=f"{depth}-{name}-{label(arguments)}")
    for depth in FLAT_DEPTHS
    for name, arguments in calls(RiemannianMetricTestCase, EXCLUDED)
]


@pytest.mark.parametrize(("depth", "name", "arguments"), FLAT)
def test_coordinates(depth, name, arguments):
    space = DeepLinearCoordinates(2, depth)
    data = Nearby(space, space.to_vector(base_matrix(2, 2)))
    run(RiemannianMetricTestCase, name, arguments, space=space, data_generator=data)
