import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlngeom import spectral

mpmath.mp.dps = 50
INF = math.inf
DEPTHS = (1, 2, 3, 10, 1000, 10**6, INF)


def exact_weight(a, b, depth, share=1):
    """Geometric sum of the first ``share * depth`` layers, at 50 digits."""
    a, b = sorted((mpmath.mpf(float(a)), mpmath.mpf(float(b))), reverse=True)
    step = mpmath.mpf(0) if depth == INF else mpmath.mpf(1) / depth
    share = mpmath.mpf(share)
    if b == 0:
        return mpmath.mpf(0) if depth == INF else a ** (2 * (share - step))
    count = share if depth == INF else share * depth
    if a == b:
        return count * a ** (2 * (share - step))
    log_ratio = mpmath.log(b / a)
    below = 2 * log_ratio if depth == INF else mpmath.expm1(2 * log_ratio * step)
    return a ** (2 * (share - step)) * mpmath.expm1(2 * share * log_ratio) / below


def pairs(rng, exponent):
    """Pairs of singular values: ratios from 1 to 1e-300, near ties, exact ties, a zero."""
    larger = 10 ** rng.uniform(-exponent, exponent, 120)
    ratio = np.concatenate(
        [
            10 ** -rng.uniform(0, 300, 40),
            10 ** -rng.uniform(0, 2, 40),
            1 - 10 ** rng.uniform(-16, -1, 30),
            np.ones(5),
            np.zeros(5),
        ]
    )
    return larger, larger * ratio


def relative_errors(computed, exact):
    return [
        abs(float((mpmath.mpf(float(x)) - y) / y)) if y else abs(float(x))
        for x, y in zip(computed, exact, strict=True)
    ]


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize(("exponent", "limit"), [(3, 1e-14), (120, 5e-14)])
def test_weights_agree_with_fifty_digits(depth, exponent, limit, rng):
    a, b = pairs(rng, exponent)
    exact = [exact_weight(x, y, depth) for x, y in zip(a, b, strict=True)]
    assert max(relative_errors(spectral.weights(a, b, depth), exact)) <= limit
    assert max(relative_errors(spectral.weights(b, a, depth), exact)) <= limit


@pytest.mark.parametrize("depth", DEPTHS)
def test_weights_where_the_ratio_underflows(depth):
    a, b = np.array([1e100, 1e100, 1e-10, 1e80]), np.array([1e-220, 5e-324, 5e-324, 1e-228])
    exact = [exact_weight(x, y, depth) for x, y in zip(a, b, strict=True)]
    assert max(relative_errors(spectral.weights(a, b, depth), exact)) <= 1e-13


@pytest.mark.parametrize("depth", [1, 2, 3, 7])
def test_weights_are_the_sum_over_layers(depth):
    a, b = np.array([1.3, 0.7, 2.0]), np.array([0.4, 0.7, 1.99])
    literal = sum(
        a ** (2 * (depth - p) / depth) * b ** (2 * (p - 1) / depth) for p in range(1, depth + 1)
    )
    np.testing.assert_allclose(spectral.weights(a, b, depth), literal, rtol=1e-14)


@pytest.mark.parametrize("depth", DEPTHS)
def test_weights_of_zeros(depth):
    a, b = np.array([0.0, 0.0, 2.0]), np.array([0.0, 2.0, 0.0])
    single = {1: 1.0, INF: 0.0}.get(depth, 2 ** (2 - 2 / depth))
    both = 1.0 if depth == 1 else 0.0
    np.testing.assert_allclose(spectral.weights(a, b, depth), [both, single, single], rtol=1e-14)


def test_weights_converge_to_infinite_depth():
    a, b = np.array([1.3, 0.7, 1.0]), np.array([0.4, 0.7, 1e-3])
    limit = spectral.weights(a, b, INF)
    gaps = [np.max(np.abs(spectral.weights(a, b, n) / n / limit - 1)) for n in (10**3, 10**5)]
    assert gaps[0] < 0.05
    assert gaps[1] < 0.011 * gaps[0]


positive = st.floats(1e-100, 1e100)


@given(positive, positive, st.sampled_from(DEPTHS), st.floats(1e-3, 1e3))
def test_weights_are_symmetric_homogeneous_and_between_their_ties(a, b, depth, scale):
    w = lambda x, y: float(spectral.weights(np.asarray(x), np.asarray(y), depth))  # noqa: E731
    assert w(a, b) == w(b, a)
    degree = 2 - 2 / depth
    assert w(scale * a, scale * b) == pytest.approx(scale**degree * w(a, b), rel=1e-12)
    assert w(min(a, b), min(a, b)) * (1 - 1e-12) <= w(a, b) <= w(max(a, b), max(a, b)) * (1 + 1e-12)


@pytest.mark.parametrize("depth", DEPTHS)
def test_log_weights_agree_with_fifty_digits_where_weights_underflow(depth, rng):
    a, b = pairs(rng, 120)
    a, b = a[b > 0] * 1e-180, b[b > 0] * 1e-180
    a, b = a[b > 0], b[b > 0]
    exact = [mpmath.log(exact_weight(x, y, depth)) for x, y in zip(a, b, strict=True)]
    gaps = [
        abs(float(mpmath.mpf(float(x)) - y)) / (1 + 2 * abs(math.log(m)))
        for x, y, m in zip(spectral._log_weights(a, b, depth), exact, a, strict=True)
    ]
    assert max(gaps) <= 1e-14


@pytest.mark.parametrize("depth", [2, 3, 10])
def test_partial_weights_are_sums_over_the_first_layers(depth, rng):
    a, b = pairs(rng, 3)
    for j in range(depth + 1):
        share = np.asarray(j / depth)
        computed = spectral._partial_weights(a, b, share, depth)
        exact = [
            exact_weight(x, y, depth, mpmath.mpf(j) / depth) if j else mpmath.mpf(0)
            for x, y in zip(a, b, strict=True)
        ]
        assert max(relative_errors(computed, exact)) <= 2e-14


def test_partial_weights_of_infinite_depth_are_integrals(rng):
    a, b = pairs(rng, 3)
    for share in (0.125, 0.5, 1.0):
        exact = [exact_weight(x, y, INF, share) for x, y in zip(a, b, strict=True)]
        computed = spectral._partial_weights(a, b, np.asarray(share), INF)
        assert max(relative_errors(computed, exact)) <= 2e-14


def test_partial_weights_of_two_zeros_see_the_first_layer_alone():
    zero, shares = np.zeros(4), np.arange(4) / 3
    np.testing.assert_array_equal(spectral._partial_weights(zero, zero, shares, 3), [0, 1, 0, 0])


@pytest.mark.parametrize("depth", [1, 2, 5, INF])
def test_layer_nodes_sum_to_the_weights(depth):
    a, b = np.array([1.0, 1.3, 2.0, 1.0]), np.array([1.0, 0.4, 1e-3, 1e-30])
    nodes = spectral._layer_nodes(depth)
    terms = nodes.weight * a[:, None] ** (2 * nodes.left) * b[:, None] ** (2 * nodes.right)
    np.testing.assert_allclose(terms.sum(axis=1), spectral.weights(a, b, depth), rtol=1e-13)
    assert nodes.step == (0 if depth == INF else 1 / depth)


def test_root_is_the_singular_value_of_a_layer():
    s = np.array([4.0, 1.0, 0.0])
    np.testing.assert_array_equal(spectral._root(s, 1), s)
    np.testing.assert_allclose(spectral._root(s, 2), [2.0, 1.0, 0.0], rtol=1e-15)


@pytest.mark.parametrize("depth", [0, 1.5, -1, True, "a", math.nan, -INF, None])
def test_bad_depth_is_named(depth):
    with pytest.raises(ValueError, match=r"^depth=") as error:
        spectral.weights(np.ones(2), np.ones(2), depth)
    assert repr(depth) in str(error.value)
    assert "an integer of at least 1" in str(error.value)


def test_depth_may_be_any_integer_type():
    one = np.ones(2)
    np.testing.assert_array_equal(spectral.weights(one, one, np.int64(3)), [3.0, 3.0])
