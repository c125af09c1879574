"""Draws of Gibbs laws of square networks, independent ones with weights, and exact means by them.

Matrices are drawn from the Gaussian part of the law, and each stands for the line of matrices that
differ in the smallest singular value, on which integrals are computed: the density of the law is
infinite where that one vanishes, and weights without it would have no variance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Lines", "gibbs_lines"]


class Lines(NamedTuple):
    """Lines ``fixed + t * slope`` of matrices with weights on their nodes.

    Attributes
    ----------
    fixed, slope : array (line, d, d)
    nodes, weights : array (line, node)
        The weights of all lines add up to one.
    """

    fixed: np.ndarray
    slope: np.ndarray
    nodes: np.ndarray
    weights: np.ndarray

    def mean(self, functions: Sequence[Callable[..., np.ndarray]]) -> np.ndarray:
        """Mean and standard error, ``(function, 2)``, of functions of matrices on lines."""
        return np.array([self._mean(function(*self[:3])) for function in functions])

    def _mean(self, values: np.ndarray) -> tuple[float, float]:
        mean = float(np.sum(self.weights * values))
        gaps = np.sum(self.weights * (values - mean), axis=1)
        return mean, float(np.sqrt(np.sum(gaps**2)))

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Matrices ``(count, d, d)`` of the law."""
        chosen = rng.choice(self.weights.size, count, p=self.weights.ravel())
        line, node = np.unravel_index(chosen, self.weights.shape)
        return self.fixed[line] + self.nodes[line, node][:, None, None] * self.slope[line]


def gibbs_lines(
    energy: Any,
    count: int,
    rng: np.random.Generator,
    n_nodes: int,
    sign: float | None = None,
) -> Lines:
    r"""Lines of the law :math:`e^{-(\beta E - S) / \kappa}\, \mathrm{d}\mathrm{vol}_{g^N}`.

    ``energy`` has ``widths``, ``beta``, ``kappa``, and is ``sum stiffness (W - center)^2 / 2`` plus
    ``rest(W)``.  ``sign`` is that of the determinant, by default both.
    """
    depth, inverse = len(energy.widths) - 1, energy.beta / energy.kappa
    spread = (inverse * energy.stiffness) ** -0.5
    W = energy.middle + spread * rng.standard_normal((count, *energy.middle.shape))
    u, s, vt = np.linalg.svd(W)
    slope = u[:, :, -1:] * vt[:, -1:, :] * np.sign(np.linalg.det(W))[:, None, None]
    fixed = (u[:, :, :-1] * s[:, None, :-1]) @ vt[:, :-1, :]
    x, share = np.polynomial.legendre.leggauss(n_nodes)
    # Powers of singular values are polynomials of the root, and the density is finite in it.
    root = (x + 1) / 2
    sides = [1.0, -1.0] if sign is None else [sign]
    lam = s[:, -2:-1] ** (1 / depth) * root
    gauss, law = _densities(energy, s[:, :-1], lam)
    jacobian = share * root ** (depth - 1)
    logs = {side: _quadratic(energy, inverse, fixed, slope, side * lam**depth) for side in (1, -1)}
    top = np.maximum(*(np.max(x + gauss, axis=1, keepdims=True) for x in logs.values()))
    total = sum(np.sum(np.exp(x + gauss - top) * jacobian, axis=1) for x in logs.values())
    nodes = np.concatenate([side * lam**depth for side in sides], axis=1)
    found = [np.exp(logs[int(side)] + law - top) * share for side in sides]
    weights = np.concatenate(found, axis=1) / total[:, None]
    if energy.rest is not None:
        weights *= np.exp(-inverse * energy.rest(fixed, slope, nodes))
    return Lines(fixed, slope, nodes, weights / np.sum(weights))


def _quadratic(
    energy: Any, inverse: float, fixed: np.ndarray, slope: np.ndarray, t: np.ndarray
) -> np.ndarray:
    """Logarithm of the Gaussian density on lines."""
    gap, k = fixed - energy.middle, inverse * energy.stiffness
    terms = [np.sum(k * a * b, axis=(-2, -1))[:, None] for a, b in
             ((gap, gap), (gap, slope), (slope, slope))]  # fmt: skip
    return -(terms[0] / 2 + terms[1] * t + terms[2] * t**2 / 2)


def _densities(energy: Any, s: np.ndarray, lam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of volumes in the smallest singular value and in its root.

    Lebesgue measure, ``prod (s_k^2 - s_l^2) ds``, and ``exp(S / kappa) dvol``, in the root, with
    what the other singular values say of it.
    """
    depth = len(energy.widths) - 1
    extra = sum(d - s.shape[1] - 1 for d in energy.widths[1:-1]) / energy.kappa
    roots = s ** (1 / depth)
    pair = 0.5 / energy.kappa - 1
    gauss = np.sum(np.log(s[:, :, None] ** 2 - lam[:, None, :] ** (2 * depth)), axis=1)
    law = gauss + extra * np.log(lam)
    law += np.sum((extra + 1 - depth) * np.log(roots), axis=1, keepdims=True)
    # The root runs from zero to that of the next singular value, whose length is another one.
    law += (1 - depth) * np.log(roots[:, -1:])
    for k in range(s.shape[1]):
        law += pair * np.log(_kernel(roots[:, k, None], lam, depth))
    for k, j in combinations(range(s.shape[1]), 2):
        law += pair * np.log(_kernel(roots[:, k], roots[:, j], depth))[:, None]
    return gauss, law


def _kernel(a: np.ndarray, b: np.ndarray, depth: int) -> np.ndarray:
    """``(a^2N - b^2N) / (a^2 - b^2)``."""
    return sum(a ** (2 * (depth - p)) * b ** (2 * (p - 1)) for p in range(1, depth + 1))
