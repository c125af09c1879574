"""The learning algorithms of geomstats on end-to-end matrices."""

import geomstats.backend as gs
import numpy as np
import pytest
from geomstats.geometry.spd_matrices import SPDMatrices
from geomstats.learning.frechet_mean import FrechetMean
from geomstats.learning.geodesic_regression import GeodesicRegression
from geomstats.learning.geometric_median import GeometricMedian
from geomstats.learning.incremental_frechet_mean import IncrementalFrechetMean
from geomstats.learning.kernel_density_estimation_classifier import (
    KernelDensityEstimationClassifier,
)
from geomstats.learning.kmeans import RiemannianKMeans
from geomstats.learning.knn import KNearestNeighborsClassifier
from geomstats.learning.mdm import RiemannianMinimumDistanceToMean
from geomstats.learning.online_kmeans import OnlineKMeans
from geomstats.learning.pca import TangentPCA
from geomstats.learning.preprocessing import ToTangentSpace
from numpy.testing import assert_allclose, assert_array_equal

from dlngeom.geomstats import DeepLinearCoordinates, DeepLinearMetric, EndToEndMatrices
from tests.helpers.parameters import slow

CENTRES = np.array([np.eye(2), [[1.0, 1.0], [-0.4, 1.6]]])
LABELS = np.repeat([0, 1], 4)
DIRECTION = np.array([[0.3, 0.2], [-0.1, 0.2]])


@pytest.fixture
def space():
    return EndToEndMatrices(2, 2, 2, depth=3)


@pytest.fixture
def points():
    """Four points around each centre, in the order of LABELS."""
    noise = np.random.default_rng(0).standard_normal((8, 2, 2))
    return gs.array(CENTRES[LABELS] + 0.15 * noise)


def line(space, start, times):
    """Points along the geodesic from ``start`` with velocity DIRECTION."""
    return space.metric.exp(times[:, None, None] * DIRECTION, start)


def square_root(S):
    values, vectors = np.linalg.eigh(S)
    return (vectors * np.sqrt(values)[..., None, :]) @ vectors.mT


# Each method has its own measure of convergence.
@pytest.mark.parametrize(("method", "epsilon"), [("default", 1e-16), slow("adaptive", 1e-7)])
def test_logarithms_at_the_frechet_mean_sum_to_zero(space, points, method, epsilon):
    estimator = FrechetMean(space, method=method).set(epsilon=epsilon, max_iter=60)
    mean = estimator.fit(points[:4]).estimate_
    assert np.linalg.norm(np.sum(space.metric.log(points[:4], mean), axis=0)) < 1e-6


def test_batch_means_are_those_of_each_column(space, points):
    columns = np.stack([points[:4], points[4:]], axis=1)
    estimator = FrechetMean(space, method="batch").set(epsilon=1e-16, max_iter=60)
    means = estimator.fit(columns).estimate_
    gradients = np.sum(space.metric.log(columns, means), axis=0)
    assert np.max(np.abs(gradients)) < 1e-6


@pytest.mark.slow
def test_mean_of_two_layers_is_the_wasserstein_barycentre():
    space = SPDMatrices(3, equip=False)
    space.equip_with_metric(DeepLinearMetric, depth=2)
    factors = np.eye(3) + 0.3 * np.random.default_rng(1).standard_normal((6, 3, 3))
    covariances = factors @ factors.mT
    S = FrechetMean(space).set(epsilon=1e-18, max_iter=100).fit(covariances).estimate_
    root = square_root(S)
    assert_allclose(S, np.mean(square_root(root @ covariances @ root), axis=0), atol=1e-6)


@pytest.mark.slow
def test_directions_from_the_geometric_median_sum_to_zero(space, points):
    start = np.mean(points[:4], axis=0)
    median = GeometricMedian(space, init_point=start, epsilon=1e-4).fit(points[:4]).estimate_
    logs = space.metric.log(points[:4], median)
    directions = logs / space.metric.norm(logs, median)[:, None, None]
    assert np.linalg.norm(np.sum(directions, axis=0)) < 1e-2


@pytest.mark.slow
def test_k_means_recover_two_clusters(space, points):
    # One start in each cluster: the random choice may take both from the same.
    k_means = RiemannianKMeans(space, n_clusters=2, init=points[[0, 7]]).fit(points)
    assert_array_equal(k_means.labels_, LABELS)
    assert_array_equal(k_means.predict(CENTRES), [0, 1])
    assert_allclose(k_means.cluster_centers_, CENTRES, atol=0.25)


@pytest.mark.slow
def test_online_k_means_recover_two_clusters(space, points):
    gs.random.seed(0)
    k_means = OnlineKMeans(space, n_clusters=2, n_repetitions=4, max_iter=10).fit(points)
    first = k_means.labels_[0]
    assert_array_equal(k_means.labels_, np.where(LABELS == 0, first, 1 - first))
    assert_allclose(k_means.cluster_centers_[[first, 1 - first]], CENTRES, atol=0.35)


@pytest.mark.slow
def test_nearest_mean_classifies(space, points):
    classifier = RiemannianMinimumDistanceToMean(space).fit(points[::2], LABELS[::2])
    assert_array_equal(classifier.predict(points[1::2]), LABELS[1::2])
    assert_array_equal(np.argmax(classifier.predict_proba(points[1::2]), axis=1), LABELS[1::2])


def test_incremental_mean_of_points_on_a_geodesic_is_at_the_mean_time(space):
    times = np.array([0.0, 0.5, 1.0, 0.1])
    mean = IncrementalFrechetMean(space).fit(line(space, CENTRES[1], times)).estimate_
    assert_allclose(mean, line(space, CENTRES[1], np.array([0.4]))[0], atol=1e-8)


@pytest.mark.slow
def test_first_principal_component_is_the_geodesic_through_the_points(space):
    times = np.linspace(-1, 1, 5)
    # Not a symmetric centre: at one inverse_transform takes all vectors for symmetric.
    points = line(space, CENTRES[1], times)
    pca = TangentPCA(space, n_components=1)
    pca.mean_estimator.set(epsilon=1e-14)
    scores = pca.fit_transform(points)
    assert pca.explained_variance_ratio_[0] > 1 - 1e-8
    assert_allclose(np.abs(scores[:, 0]), np.abs(times) * np.linalg.norm(DIRECTION), atol=1e-6)
    assert_allclose(pca.inverse_transform(scores), points, atol=1e-6)


@pytest.mark.slow
def test_geodesic_regression_recovers_a_geodesic(space):
    times = np.linspace(0, 1, 4)
    regression = GeodesicRegression(space, center_X=False, initialization="frechet")
    regression.fit(times, line(space, CENTRES[0], times))
    assert_allclose(regression.intercept_, CENTRES[0], atol=1e-3)
    assert_allclose(regression.coef_, DIRECTION, atol=1e-3)


@pytest.mark.parametrize("shape", [(3, 2), (2, 3), (2, 2)])
def test_tangent_vectors_of_flat_points(shape, rng):
    """On matrices that are not square geomstats needs vectors."""
    m, n = shape
    flat, matrices = DeepLinearCoordinates(m, 2, columns=n), EndToEndMatrices(m, n, min(m, n), 2)
    points = np.eye(m, n) + 0.1 * rng.standard_normal((3, m, n))
    lift = ToTangentSpace(flat).fit(flat.to_vector(points), base_point=flat.to_vector(points[0]))
    vectors = lift.transform(flat.to_vector(points))
    expected = matrices.metric.log(points, points[0])
    assert_allclose(vectors, expected.reshape(3, m * n), atol=1e-10)
    assert_allclose(flat.to_matrix(lift.inverse_transform(vectors)), points, atol=1e-8)
    np.testing.assert_allclose(
        flat.metric.metric_matrix(lift.base_point_), matrices.metric.metric_matrix(points[0])
    )


def test_flat_points_have_a_length():
    flat = DeepLinearCoordinates(3, 2, columns=2)
    assert (flat.dim, flat.shape) == (6, (6,))
    assert (flat.new().form, flat.new().shape) == (flat.form, flat.shape)
    with pytest.raises(ValueError, match=r"shape \(4,\): it must end in \(6,\)"):
        flat.to_matrix(np.ones(4))
    with pytest.raises(ValueError, match="depth=inf needs square matrices"):
        DeepLinearCoordinates(3, np.inf, columns=2)
    with pytest.raises(ValueError, match="columns=0"):
        DeepLinearCoordinates(3, 2, columns=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "classifier", [KNearestNeighborsClassifier, KernelDensityEstimationClassifier]
)
def test_neighbours_classify_flat_points(points, classifier):
    flat = DeepLinearCoordinates(2, depth=3)
    vectors = flat.to_vector(points)
    options = {"n_neighbors": 1} if classifier is KNearestNeighborsClassifier else {}
    fitted = classifier(flat, **options).fit(vectors[[0, 1, 4, 5]], LABELS[[0, 1, 4, 5]])
    assert_array_equal(fitted.predict(vectors[[2, 6]]), [0, 1])
