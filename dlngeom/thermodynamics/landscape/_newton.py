"""Newton's method downstairs from many starts at once, for minima or for all critical points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dlngeom import endtoend, spectral
from dlngeom._lib.arrays import NumpyArray
from dlngeom.thermodynamics._entropy_derivatives import entropy_egrad
from dlngeom.thermodynamics._free_energy import free_energy, free_energy_hessian

__all__ = ["FreeEnergyPotential", "LocalModel", "Search", "local_model", "search"]


# A search ends where a Newton step is this short, relative to the size of the layers.
CONVERGED = 1e-9
# Shorter steps are not judged by the free energy, whose rounding errors would decide.
TRUSTED = 1e-6
# Eigenvalues below this share of the largest count as zero.
FLAT = 1e-7
# Eigenvalues are raised to this share of the largest where a search tests convergence.
SOFT = 1e-5
# Eigenvalues are raised to this share of the largest where a step divides by them.
ROUNDING = 1e-12
# Ratio of singular values below which a point counts as of lower rank.
SINGULAR = 1e-12
# How far matrices may grow, relative to the largest start.
FAR = 1e4


class FreeEnergyPotential(NamedTuple):
    """A free energy with the derivatives that a search needs.

    Attributes
    ----------
    energy, gradient, hessian : callable
        ``E(W)``, ``E'(W)`` and ``E''(W)[Z]`` of batches.
    widths : tuple of int
    beta : float
    depth : int or inf
    """

    energy: Callable[[NumpyArray], NumpyArray]
    gradient: Callable[[NumpyArray], NumpyArray]
    hessian: Callable[[NumpyArray, NumpyArray], NumpyArray]
    widths: tuple[int, ...]
    beta: float
    depth: float

    def value(self, W: NumpyArray) -> NumpyArray:
        """Free energy of a batch."""
        if self.depth == 1:
            return self.energy(W)
        widths, depth = self.widths, self.depth
        return np.asarray(free_energy(W, widths, self.energy, self.beta, depth=depth))

    def slope(self, W: NumpyArray) -> NumpyArray:
        """Euclidean gradient of the free energy."""
        if self.depth == 1:
            return self.gradient(W)
        force: Any = entropy_egrad(W, self.widths, depth=self.depth)
        return np.asarray(self.gradient(W) - force / self.beta)

    def bend(self, W: NumpyArray, Z: NumpyArray) -> NumpyArray:
        """Hessian for ``g^N`` applied to ``Z``."""
        second = self.hessian(W, Z)
        if self.depth == 1:
            return second
        result: Any = free_energy_hessian(
            W, self.gradient(W), second, Z, self.widths, self.beta, depth=self.depth
        )
        return np.asarray(result)


class LocalModel(NamedTuple):
    """Second-order model of a free energy in orthonormal coordinates of ``g^N``.

    Attributes
    ----------
    basis : array (k, m n, m, n)
    slope : array (k, m n)
    eigenvalues : array (k, m n)
        Eigenvalues of the Hessian, ascending.
    eigenvectors : array (k, m n, m n)
    size : array (k,)
        Norm of the layers; for infinite depth the root of the number of singular values.
    """

    basis: NumpyArray
    slope: NumpyArray
    eigenvalues: NumpyArray
    eigenvectors: NumpyArray
    size: NumpyArray


class Search(NamedTuple):
    """End points of the searches from a batch of starts, and why they ended.

    Attributes
    ----------
    W : array (k, m, n)
    converged, escaped, collapsed : bool array (k,)
    """

    W: NumpyArray
    converged: NumpyArray
    escaped: NumpyArray
    collapsed: NumpyArray


def local_model(potential: FreeEnergyPotential, W: NumpyArray) -> LocalModel:
    """Expand a free energy at a batch of points."""
    k, m, n = W.shape
    u, s, vt = np.linalg.svd(W)
    rows, columns = (np.pad(s, ((0, 0), (0, size - s.shape[-1]))) for size in (m, n))
    root = np.sqrt(spectral.weights(rows[:, :, None], columns[:, None, :], potential.depth))
    # basis[a] = root_ij u_i v_j^T for a = (i, j).
    basis = np.einsum("kij,kpi,kjq->kijpq", root, u, vt).reshape(k, m * n, m, n)
    slope = np.einsum("kapq,kpq->ka", basis, potential.slope(W))
    many = np.broadcast_to(W[:, None], basis.shape)
    bent = np.einsum("kpi,kapq,kjq->kaij", u, potential.bend(many, basis), vt)
    H = (bent / root[:, None]).reshape(k, m * n, m * n)
    eigenvalues, eigenvectors = np.linalg.eigh((H + H.mT) / 2)
    power = 2 / potential.depth
    size = np.sqrt(s.shape[-1] if power == 0 else potential.depth * np.sum(s**power, axis=-1))
    return LocalModel(basis, slope, eigenvalues, eigenvectors, np.broadcast_to(size, (k,)))


def search(
    potential: FreeEnergyPotential, starts: NumpyArray, max_iterations: int, *, descend: bool
) -> Search:
    """Descend from every start, or look for critical points of any index.

    Newton steps are limited by a trust region and follow the retraction of the metric.  A descent
    divides by the absolute values of the eigenvalues.
    """
    W = starts.copy()
    ended = Search(W, *(np.zeros(len(W), dtype=bool) for _ in range(3)))
    radius, limit = np.full(len(W), 0.3), FAR * np.max(np.linalg.norm(starts, axis=(1, 2)))
    for _ in range(max_iterations):
        s = np.linalg.svd(W, compute_uv=False)
        ended.escaped[:] |= ~ended.converged & (s[:, 0] > limit)
        ended.collapsed[:] |= ~(ended.converged | ended.escaped) & (s[:, -1] < SINGULAR * s[:, 0])
        rows = np.flatnonzero(~(ended.converged | ended.escaped | ended.collapsed))
        if potential.depth == 1:
            ended.collapsed[:] = False
        if not len(rows):
            break
        model = local_model(potential, W[rows])
        step, stationary = _newton_step(model, descend)
        ended.converged[rows] = stationary
        W[rows], radius[rows] = _moved(potential, W[rows], model, step, radius[rows], descend)
    return ended


def _newton_step(model: LocalModel, descend: bool) -> tuple[NumpyArray, NumpyArray]:
    """Newton step in the eigenbasis, and whether the search has converged."""
    size = np.abs(model.eigenvalues)
    largest = np.max(size, axis=-1, keepdims=True) + np.finfo(float).tiny
    signs = np.where((model.eigenvalues < 0) & (not descend), -1.0, 1.0)
    slope = np.einsum("kab,ka->kb", model.eigenvectors, model.slope)
    # Along a continuum of critical points the slope is rounding error.
    slope *= np.abs(slope) > ROUNDING * largest * model.size[:, None] / 10
    step = -slope * signs / np.maximum(size, ROUNDING * largest)
    judged = slope / np.maximum(size, SOFT * largest)
    short = np.linalg.norm(judged, axis=-1) < CONVERGED * model.size
    downhill = model.eigenvalues[:, 0] < -FLAT * largest[:, 0]
    if descend and np.any(short & downhill):
        # A saddle point: leave it along the direction of most negative curvature.
        step[short & downhill, 0] = (1e-3 * model.size)[short & downhill]
        short &= ~downhill
    return step, short


def _moved(
    potential: FreeEnergyPotential,
    W: NumpyArray,
    model: LocalModel,
    step: NumpyArray,
    radius: NumpyArray,
    descend: bool,
) -> tuple[NumpyArray, NumpyArray]:
    """Points after a step within the trust region, and its new radius."""
    length = np.linalg.norm(step, axis=-1) / model.size
    step = step * np.minimum(1, radius / (length + np.finfo(float).tiny))[:, None]
    slope = np.einsum("kab,ka->kb", model.eigenvectors, model.slope)
    expected = np.sum(step * slope + model.eigenvalues * step**2 / 2, axis=-1)
    Z = np.einsum("kab,kb,kapq->kpq", model.eigenvectors, step, model.basis)
    there, fine = _ends(potential, W, Z, descend)
    if descend:
        gain = potential.value(there) - potential.value(W)
        ratio = np.where(expected < 0, gain / np.where(expected < 0, expected, -1.0), 0.0)
        fine &= (ratio > 0.05) | (length < TRUSTED)
        good = fine & (ratio > 0.5)
    else:
        good = fine
    radius = np.where(fine, np.where(good, np.minimum(2 * radius, 0.5), radius), radius / 4)
    return np.where(fine[:, None, None], there, W), radius


def _ends(
    potential: FreeEnergyPotential, W: NumpyArray, Z: NumpyArray, descend: bool
) -> tuple[NumpyArray, NumpyArray]:
    """Return the ends of steps, and whether they are admissible: not at singular matrices."""
    straight = W + Z
    if potential.depth == 1:
        return straight, np.full(len(W), True)
    there = np.asarray(endtoend.retraction(W, Z, potential.depth))
    fine = _regular(W, there)
    there = np.where(fine[:, None, None], there, W)
    if descend:
        # Valleys are straight where the energy leaves entries free, and curved near low rank.
        fair = _regular(W, straight)
        straight = np.where(fair[:, None, None], straight, W)
        better = fair & (potential.value(straight) < potential.value(there))
        there, fine = np.where(better[:, None, None], straight, there), fine | better
    return there, fine


def _regular(W: NumpyArray, there: NumpyArray) -> NumpyArray:
    """Whether a step ends at full rank, and a determinant keeps its sign."""
    s = np.linalg.svd(there, compute_uv=False)
    fine = np.isfinite(s).all(axis=-1) & (s[:, -1] > 1e-14 * s[:, 0])
    if W.shape[-2] == W.shape[-1]:
        fine &= np.linalg.slogdet(W)[0] == np.linalg.slogdet(there)[0]
    return np.asarray(fine)
