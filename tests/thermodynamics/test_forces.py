"""Entropy, forces and curvatures of small singular values, against closed forms in 1300 digits."""

import math
from functools import cache

import mpmath
import numpy as np
import pytest

from dlngeom import SVD, Tangent, endtoend
from dlngeom.thermodynamics import (
    entropy_egrad,
    entropy_ehess,
    entropy_gradient,
    entropy_of_singular_values,
    free_energy_hessian,
)
from dlngeom.thermodynamics._entropy_derivatives import entropy_hessian
from dlngeom.thermodynamics._layers import layer_widths
from dlngeom.thermodynamics.landscape._newton import FreeEnergyPotential, local_model
from tests.helpers.namespaces import JAX_IS_SLOW
from tests.helpers.parameters import crossed

INF = math.inf
DIGITS = 1300
RATIOS = (1.0, 1 - 1e-9, 0.4, 1e-3, 1e-8, 1e-30, 1e-100, 1e-300)
SPECTRA = {
    "pair": lambda q: [1.0, q],
    "three": lambda q: [1.3, 0.7, q],
    "small pair": lambda q: [1.0, q, 0.8 * q],
    "small tie": lambda q: [1.0, q, q],
    "tie": lambda q: [1.0, 1.0, q],
    "steps": lambda q: [2.0, q**0.5, q],
    "turned": lambda q: [q, 0.1, 1.0, 1.0 + 1e-5],
}


@cache
def log_weight_slopes(a, b, depth):
    """``log w_N / 2`` with its derivatives by ``a``, by ``a`` twice, and by ``a`` and ``b``."""
    mp = mpmath.mp
    if depth == INF:
        L, D = mp.log(a / b), a**2 - b**2
        value = mp.log(D / (2 * L))
        first = 2 * a / D - 1 / (a * L)
        second = 2 / D - 4 * a**2 / D**2 + (L + 1) / (a * L) ** 2
        return value / 2, first / 2, second / 2, (4 * a * b / D**2 - 1 / (a * b * L**2)) / 2
    # Sums over the layers have no differences at all.
    lam_a, lam_b = (mp.root(x, depth) ** 2 for x in (a, b))
    powers = [mp.mpf(2 * (depth - p)) / depth for p in range(1, depth + 1)]
    terms = [lam_a ** (depth - p) * lam_b ** (p - 1) for p in range(1, depth + 1)]
    w = sum(terms)
    first = sum(x * t for x, t in zip(powers, terms, strict=True)) / a
    second = sum(x * (x - 1) * t for x, t in zip(powers, terms, strict=True)) / a**2
    mixed = sum(x * y * t for x, y, t in zip(powers, powers[::-1], terms, strict=True)) / a / b
    other = sum(y * t for y, t in zip(powers[::-1], terms, strict=True)) / b
    second, mixed = second / w - (first / w) ** 2, mixed / w - first * other / w**2
    return mp.log(w) / 2, first / w / 2, second / 2, mixed / 2


def exact(s, depth, free):
    """Pair part of the entropy, slopes ``g``, and entries of the Hessian in the frames.

    ``own[k, l]`` and ``opposite[k, l]`` are the parts of entry ``(k, l)`` of the Hessian due to
    entry ``(k, l)`` of the vector and due to its transpose; ``mixed`` has the second derivatives.
    """
    r, free = len(s), mpmath.mpf(free) / depth if depth < INF else mpmath.mpf(0)
    # Ties are split by less than any digit that counts.
    s = [mpmath.mpf(x) * (1 + mpmath.mpf(k) * mpmath.mpf(10) ** -330) for k, x in enumerate(s)]
    g = [free / x for x in s]
    value, size = free * sum(map(mpmath.log, s)), 0
    mixed = np.zeros((r, r), dtype=object)
    for k in range(r):
        mixed[k, k] += -free / s[k] ** 2
        for j in range(r):
            if j == k:
                continue
            f, first, second, cross = log_weight_slopes(s[k], s[j], depth)
            value, size = value + f / 2, size + abs(f / 2)
            g[k] += first
            mixed[k, k] += second
            mixed[k, j] = cross
    own, opposite = np.zeros((2, r, r), dtype=object)
    for k in range(r):
        for j in range(r):
            if j != k:
                difference = s[k] ** 2 - s[j] ** 2
                own[k, j] = (s[k] * g[k] - s[j] * g[j]) / difference
                opposite[k, j] = (s[j] * g[k] - s[k] * g[j]) / difference
    return value, g, mixed, own, opposite


def closer(found, right, rtol, tiny, huge):
    """Relative error of all entries that the dtype can hold."""
    found, right = np.asarray(found), np.asarray(right, dtype=object)
    assert found.shape == right.shape
    for x, y in zip(found.ravel().tolist(), right.ravel().tolist(), strict=True):
        size = abs(y)
        if size > huge:
            assert abs(x) > huge / 10, (x, mpmath.nstr(y, 17))
        elif size < tiny:
            assert abs(x) <= 2 * tiny, (x, mpmath.nstr(y, 17))
        else:
            error = abs(mpmath.mpf(x) - y) / size
            assert error <= rtol, (x, mpmath.nstr(y, 17), float(error))


def point(s, count=None):
    """Diagonal matrix, or a batch of ``count`` copies of it."""
    unit = np.eye(len(s), dtype=s.dtype)
    W = SVD(unit, s, unit)
    return W if count is None else SVD(*(np.stack([x] * count) for x in W))


def basis(r, dtype):
    """All matrices with one entry, as a batch."""
    M = np.eye(r * r, dtype=dtype).reshape(r * r, r, r)
    return Tangent(np.zeros_like(M), M, np.zeros_like(M))


def image(k, j, diagonal, own, opposite):
    """Image of entry ``(k, j)`` under a Hessian."""
    right = np.zeros(own.shape, dtype=object)
    if k == j:
        right[np.diag_indices(len(own))] = diagonal[:, k]
    else:
        right[k, j], right[j, k] = own[k, j], opposite[j, k]
    return right


def structure(r, depth, wide):
    """Widths, keywords, and number of directions beyond the rank."""
    if depth == INF:
        return (r, r), {"depth": INF}, 0
    free = (depth - 1) * wide
    return (r, *[r + wide] * (depth - 1), r), {}, free


def limits(dtype):
    info = np.finfo(dtype)
    # 1e-13, and as many units in the last place of other dtypes.
    return 450 * float(info.eps), float(info.smallest_normal) * 10, float(info.max) / 10


CASES = crossed([2, 3, 5, INF], list(SPECTRA), [np.float64, np.float32], [0, 2])


def spectra(name, dtype):
    least = 1e-300 if dtype == np.float64 else 1e-30
    for q in RATIOS:
        if q >= least:
            yield np.asarray(SPECTRA[name](q), dtype=dtype)


@pytest.mark.parametrize(("depth", "name", "dtype", "wide"), CASES)
def test_forces_and_curvatures_keep_their_digits_at_every_ratio(depth, name, dtype, wide):
    rtol, tiny, huge = limits(dtype)
    for s in spectra(name, dtype):
        r = len(s)
        widths, options, free = structure(r, depth, wide)
        with mpmath.workdps(DIGITS):
            _, g, mixed, own, opposite = exact(s.tolist(), depth, free)
            W = point(s)
            closer(np.diag(entropy_egrad(W, widths, **options).S), g, rtol, tiny, huge)
            power = 2 - 2 / mpmath.mpf(depth) if depth < INF else 2
            scale = depth if depth < INF else 1
            force = [scale * x * mpmath.mpf(y) ** power for x, y in zip(g, s.tolist(), strict=True)]
            closer(np.diag(entropy_gradient(W, widths, **options).M), force, rtol, tiny, huge)
            with np.errstate(over="ignore"):
                Z, many = basis(r, dtype), point(s, r * r)
                found = entropy_ehess(many, Z, widths, **options).S[:, :r, :r]
            for i in range(r * r):
                right = image(*divmod(i, r), mixed, own, opposite)
                closer(found[i], right, rtol, tiny, huge)


def test_the_forces_that_were_lost():
    """Values that follow from ``S = sum log(sigma_k + sigma_l) / 2`` for two layers by hand."""
    egrad = entropy_egrad(np.diag([1.0, 1e-18]), (2, 2, 2))
    assert egrad[1, 1] == pytest.approx(0.5, rel=1e-15)
    S = entropy_ehess(point(np.array([1, 1e-8]), 4), basis(2, np.float64), (2, 2, 2)).S
    assert S[3, 1, 1] == pytest.approx(-0.5 / (1 + 1e-8) ** 2, rel=1e-15)
    deep = entropy_egrad(point(np.array([1, 1e-30])), (2, 2, 2, 2)).S
    assert deep[1, 1] == pytest.approx(1e10 / 3, rel=1e-14)


@pytest.mark.parametrize("depth", [1, 2, 3, 5, INF])
def test_the_entropy_keeps_its_digits_at_every_ratio(depth):
    for name in ("pair", "tie", "turned"):
        for q in RATIOS:
            s = np.sort(SPECTRA[name](q))[::-1].copy()
            widths, options, _ = structure(len(s), depth, 0)
            with mpmath.workdps(DIGITS):
                right, size = exact(s.tolist(), depth, 0)[0], 0.0
            found = entropy_of_singular_values(s, widths, **options)
            constant = entropy_of_singular_values(np.ones_like(s), widths, **options)
            if depth < INF:
                constant = constant - len(s) * (len(s) - 1) / 4 * math.log(depth)
            # Near a zero of the sum its terms decide what can be had.
            size = abs(float(right)) + abs(constant) + 1
            assert found - constant == pytest.approx(float(right), abs=1e-15 * size, rel=1e-13)


def exact_hessian(s, depth, free):
    """Entries of the Hessian for ``g^N``, as :func:`exact` gives those of the Euclidean one."""
    _, g, mixed, _, _ = exact(s, depth, free)
    r, step = len(s), mpmath.mpf(0) if depth == INF else 1 / mpmath.mpf(depth)
    number = 1 if depth == INF else depth
    s = [mpmath.mpf(x) * (1 + mpmath.mpf(k) * mpmath.mpf(10) ** -330) for k, x in enumerate(s)]
    weight = [x ** (2 - 2 * step) for x in s]
    c = [number * w * x for w, x in zip(weight, g, strict=True)]
    own, opposite = np.zeros((2, r, r), dtype=object)
    diagonal = np.zeros((r, r), dtype=object)
    for k in range(r):
        # Diagonal matrices are flat, with the coordinates sigma^(1/N) or log sigma.
        bend = (number - 1) * s[k] ** (1 - 2 * step) if depth < INF else s[k]
        for j in range(r):
            diagonal[k, j] = number * weight[k] * mixed[k, j] + (bend * g[k] if j == k else 0)
            if j == k:
                continue
            slope, other = (log_weight_slopes(*x, depth)[1] for x in ((s[k], s[j]), (s[j], s[k])))
            change = c[k] * slope + c[j] * other
            odd = (c[k] + c[j]) / (s[k] + s[j]) - change
            even = (c[k] - c[j]) / (s[k] - s[j]) - change
            own[k, j], opposite[k, j] = (even + odd) / 2, (even - odd) / 2
    return diagonal, own, opposite


def entropy_part_of_hessian(W, Z, widths, depth, options):
    """Hessian of the free energy at ``beta = 1/2`` without an energy."""
    if mpmath.mpf(float(W.s.min())) ** (2 - 2 / depth) < 10 * np.finfo(W.s.dtype).tiny:
        # Nothing but the entropy exists where the metric has no digits left.
        return -2 * entropy_hessian(W, Z, layer_widths(widths, depth)).M
    nothing = np.zeros_like(Z.M)
    return free_energy_hessian(W, nothing, nothing, Z, widths, 0.5, **options).M


@pytest.mark.parametrize(("depth", "name", "dtype", "wide"), CASES)
def test_the_free_energy_keeps_its_digits_at_every_ratio(depth, name, dtype, wide):
    rtol, tiny, huge = limits(dtype)
    for s in spectra(name, dtype):
        r = len(s)
        widths, options, free = structure(r, depth, wide)
        Z, many = basis(r, dtype), point(s, r * r)
        with mpmath.workdps(DIGITS), np.errstate(over="ignore", under="ignore"):
            exact_parts = exact_hessian(s.tolist(), depth, free)
            found = entropy_part_of_hessian(many, Z, widths, depth, options)
            for i in range(r * r):
                right = -2 * image(*divmod(i, r), *exact_parts)
                # Entries may pass through zero between two ratios: the largest sets the scale.
                size = max(abs(x) for x in right.ravel())
                if tiny < size < huge:
                    error = max(abs(found[i] - right).ravel()) / size
                    assert error <= rtol, (s, i, float(error))


@pytest.mark.parametrize("depth", [2, 3, 5, INF])
def test_the_landscape_sees_the_curvature_of_nearly_singular_points(depth):
    def nothing(W, *_):
        return 0 * W

    widths = (2, 2) if depth == INF else (2,) * (depth + 1)
    potential = FreeEnergyPotential(nothing, nothing, nothing, widths, 1.0, depth)
    for q in (1e-3, 1e-7, 1e-11):
        s = [1.0, q]
        found = local_model(potential, np.diag(s)[None])
        with mpmath.workdps(DIGITS):
            slopes = exact(s, depth, 0)[1]
            diagonal, own, opposite = exact_hessian(s, depth, 0)
        weight = endtoend.cometric(np.diag(s), np.ones((2, 2)), depth)
        slope = np.zeros((2, 2))
        slope[np.diag_indices(2)] = [-float(x) for x in slopes]
        np.testing.assert_allclose(
            found.slope[0].reshape(2, 2), slope * np.sqrt(weight), rtol=1e-13, atol=0
        )
        root = np.sqrt(np.diag(weight))
        block = -np.array(diagonal.tolist(), dtype=float) * root / root[:, None]
        crossed = -np.array([[own[0, 1], opposite[0, 1]], [opposite[0, 1], own[0, 1]]], dtype=float)
        expected = np.sort([*np.linalg.eigvalsh(block), *np.linalg.eigvalsh(crossed)])
        scale = np.max(np.abs(expected))
        np.testing.assert_allclose(found.eigenvalues[0], expected, rtol=0, atol=1e-13 * scale)


@pytest.mark.parametrize("depth", [2, 3, INF])
@pytest.mark.parametrize("xp", JAX_IS_SLOW, indirect=True)
def test_every_library_keeps_the_digits(xp, depth):
    widths, options, _ = structure(3, depth, 0)
    s = np.array([1.0, 3e-150, 1e-300])
    W, Z = point(s, 9), basis(3, np.float64)
    # Where a result does not fit into the dtype no warning is due.
    with np.errstate(over="ignore"):
        for function, arguments in (
            (entropy_gradient, (W,)),
            (entropy_egrad, (W,)),
            (entropy_ehess, (W, Z)),
        ):
            expected = function(*arguments, widths, **options)[1]
            found = function(*(xp.array(x) for x in arguments), widths, **options)[1]
            np.testing.assert_allclose(xp.numpy(found), expected, rtol=1e-13, atol=1e-305)
