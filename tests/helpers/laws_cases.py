"""Samples of the walks, p-values against exact laws, and mutants that must not pass them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from scipy import stats

from dlngeom import (
    SVD,
    DeepLinearNetwork,
    EndToEndGeometry,
    Frames,
    InfinitelyDeepNetwork,
    balanced,
    dense,
    factors,
    laws,
)
from dlngeom._lib.vectors import coordinates, parts, rebuild
from dlngeom.balanced._balance import rotations
from dlngeom.balanced._curves import signed_svd
from dlngeom.dln._square_walk import anisotropic_coordinates
from dlngeom.dln._walks import anisotropic
from dlngeom.endtoend import inverse_cometric
from dlngeom.langevin import brownian_motion, riemannian_langevin, step
from dlngeom.langevin._engine import _groups
from dlngeom.network import singular_values
from dlngeom.quotients import HermitianSpectrum, Sphere
from dlngeom.submersion._walks import AmbientWalk
from dlngeom.thermodynamics import entropy_gradient

SEED = int(os.environ.get("DLNGEOM_TEST_SEED", "20240213"))
ALPHA = 1e-5


@contextmanager
def one_group() -> Iterator[None]:
    """Run all chains at once: without a pool to share with, calls of numpy cost most."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_groups, "_GROUPS", 1)
        yield


def two_sample(x, y):
    """Smallest p-value over the columns, times their number."""
    pairs = zip(columns(x), columns(y), strict=True)
    values = [stats.ks_2samp(a, b, method="asymp").pvalue for a, b in pairs]
    return min(values) * len(values)


def one_sample(x, law):
    return stats.kstest(x, law.cdf, method="asymp").pvalue


def columns(x):
    return np.asarray(x).reshape(len(x), -1).T


def with_sums(x):
    """Append the sum, which no permutation of the columns hides."""
    return np.concatenate([x, x.sum(axis=-1, keepdims=True)], axis=-1)


def with_gaps(x):
    """Append the gaps, which feel the repulsion."""
    return np.concatenate([x, np.diff(x)], axis=-1)


def last(trajectory, name="x"):
    return trajectory.observed[name][:, -1]


def first_order(frames, V, at=None, *, damped=False):
    """Stand in for ``corrected``: the first-order retraction."""
    return rotations(frames.lam, V.core), V.perp


def first_order_coordinates(at, lam, V):
    """Stand in for ``corrected_coordinates``, the same for square frames."""
    return V


def first_order_steps(monkeypatch):
    """Let walks of networks retract to first order."""
    monkeypatch.setattr("dlngeom.dln._walks.corrected", first_order)
    place = "dlngeom.dln._square_walk.corrected_coordinates"
    monkeypatch.setattr(place, first_order_coordinates)


def isotropic(frames, at, noise, vertical, horizontal):
    """Stand in for ``anisotropic``: the noise of the observable is that of the gauge."""
    return anisotropic(frames, at, noise, vertical, vertical)


def isotropic_coordinates(lift, noise, vertical, horizontal):
    """Stand in for ``anisotropic_coordinates``, the same for square frames."""
    return anisotropic_coordinates(lift, noise, vertical, vertical)


def horizontal_only_coordinates(lift, noise, vertical, horizontal):
    """Stand in for ``anisotropic_coordinates``: no noise of the gauge."""
    return anisotropic_coordinates(lift, noise, 0.0 * vertical, horizontal)


def horizontal_only(frames, at, noise, vertical, horizontal):
    """Stand in for ``anisotropic``: no noise of the gauge, hence no entropic force."""
    return anisotropic(frames, at, noise, 0.0 * vertical, horizontal)


_ambient_step = AmbientWalk.step


def ambient_isotropic(self, state, noise, covector, time, vertical, horizontal):
    return _ambient_step(self, state, noise, covector, time, vertical, vertical)


def ambient_horizontal(self, state, noise, covector, time, vertical, horizontal):
    return _ambient_step(self, state, noise, covector, time, 0.0, horizontal)


def spectrum(rank):
    return np.linspace(1.2, 0.7, rank)


def svd_start(m, n, rank, depth):
    return SVD(np.eye(m)[:, :rank], spectrum(rank) ** depth, np.eye(n)[:rank])


def frames_start(widths, rank, size=1.0):
    return Frames(size * spectrum(rank), tuple(np.eye(d)[:, :rank] for d in widths))


@one_group()
def radial(m, n, rank, depth, *, chains, steps, time=0.2, beta=1.5, law_beta=None):
    """p-value of the singular values of Brownian motion downstairs."""
    if depth == np.inf:
        space, start, power = InfinitelyDeepNetwork(m), svd_start(m, n, rank, 1), 1.0
    else:
        space, start = EndToEndGeometry(m, n, rank, depth), svd_start(m, n, rank, depth)
        power = 1 / depth
    run = brownian_motion(
        space, start, duration=time, n_steps=steps, beta=beta, rng=SEED, n_chains=chains,
        save_every=steps, observe={"x": lambda W: singular_values(W) ** power},
    )  # fmt: skip
    law = law_beta if law_beta is not None else beta
    exact = laws.radial_law(start.s, (m, n), depth, time, law, 10 * chains, SEED + 1)
    return two_sample(with_sums(last(run)), with_sums(exact))


def squared_norm(point):
    """``R^2``, the squared norm of all layers."""
    return (len(point.q) - 1) * np.sum(point.lam**2, axis=-1)


@one_group()
def cone_samples(widths, rank, kappa, *, chains, steps, time=0.1, beta=1.5):
    start = frames_start(widths, rank)
    run = riemannian_langevin(
        DeepLinearNetwork(widths, rank), start, beta=beta, kappa=kappa, duration=time,
        n_steps=steps, rng=SEED, n_chains=chains, save_every=steps, observe={"x": squared_norm},
    )  # fmt: skip
    return last(run)


def cone(widths, rank, kappa, *, chains, steps, time=0.1, beta=1.5, law_beta=None, law_kappa=None):
    """p-value of the squared norm under the RLE without energy."""
    x = cone_samples(widths, rank, kappa, chains=chains, steps=steps, time=time, beta=beta)
    space, start = DeepLinearNetwork(widths, rank), frames_start(widths, rank)
    law = laws.cone_law(
        space, float(squared_norm(start)), time, law_beta or beta, law_kappa or kappa
    )
    return one_sample(x, law)


def sphere_samples(size, kappa, *, chains, steps, time=0.3, beta=1.5):
    """Squared lengths of a walk that starts at a vector of length one."""
    start = np.eye(size)[0]
    run = riemannian_langevin(
        Sphere(size), start, beta=beta, kappa=kappa, duration=time, n_steps=steps, rng=SEED,
        n_chains=chains, save_every=steps, observe={"x": lambda x: np.sum(x * x, axis=-1)},
    )  # fmt: skip
    return last(run)


def sphere(size, kappa, *, chains, steps, time=0.3, beta=1.5):
    """p-value of the squared length."""
    x = sphere_samples(size, kappa, chains=chains, steps=steps, time=time, beta=beta)
    return one_sample(x, laws.sphere_law(size, 1.0, time, beta, kappa))


@one_group()
def dyson(x0, kappa, *, chains, steps, time=0.1, beta=1.5, law_beta=None, law_kappa=None):
    """p-value of the eigenvalues of Hermitian matrices."""
    space = HermitianSpectrum(len(x0))
    run = riemannian_langevin(
        space, np.diag(x0).astype(complex), beta=beta, kappa=kappa, duration=time, n_steps=steps,
        rng=SEED, n_chains=chains, save_every=steps, observe={"x": space.project},
    )  # fmt: skip
    exact = laws.dyson_law(x0, time, law_beta or beta, law_kappa or kappa, 5 * chains, SEED + 1)
    return two_sample(with_gaps(last(run)), with_gaps(exact))


class EntropicForce:
    """Covector whose negative gradient is ``grad S / beta``."""

    def __init__(self, widths, beta):
        self.widths, self.beta = widths, beta

    def __call__(self, W):
        # Of an SVD, since a dense matrix loses singular values at rounding level.
        covector = inverse_cometric(W, entropy_gradient(W, self.widths), len(self.widths) - 1)
        return -dense((W, covector)) / self.beta


@one_group()
def shadows(size, depth, *, chains, steps, time=0.15, beta=1.5, force=True):
    """p-value of upstairs Brownian motion, projected, against the drift of the entropy below."""
    widths = (size,) * (depth + 1)
    space, start = DeepLinearNetwork(widths), frames_start(widths, size, 0.8)
    options = {
        "beta": beta, "duration": time, "n_steps": steps, "n_chains": chains,
        "save_every": steps, "observe": {"x": lambda x: singular_values(x) ** (1 / depth)},
    }  # fmt: skip
    up = brownian_motion(space, start, upstairs=True, rng=SEED, **options)
    unit = np.eye(size)
    below = SVD(unit, start.lam**depth, unit)
    if force:
        drift = EntropicForce(widths, beta)
        down = riemannian_langevin(
            space.base, below, energy_gradient=drift, rng=SEED + 1, **options
        )
    else:
        down = brownian_motion(space.base, below, rng=SEED + 1, **options)
    return two_sample(with_sums(last(up)), with_sums(last(down)))


def remainders(space, start, kappa, *, chains, steps, time, beta):
    """Bias of the mean of ``R^2`` over one run and its standard error.

    The start of each step is independent of its noise ``V``, so ``2 <x, V>`` has the mean zero,
    and ``|V|^2`` that of the exact process: what is left of the change of ``R^2`` is the bias.
    The opposite noise has the same law; together they lose the odd part, which has no mean.
    """
    rng, dt = np.random.default_rng(SEED), time / steps
    x = rebuild(start, [np.repeat(a[None], chains, axis=0) for a in parts(start)])
    size, total = np.sqrt(2 * dt / beta), np.zeros(chains)
    for _ in range(steps):
        noise = tuple(rng.standard_normal(W.shape) for W in factors(x))
        up = coordinates(balanced.vertical_projection(x, noise), 1)
        along = coordinates(balanced.horizontal_projection(x, noise), 1)
        length = size**2 * np.sum(up**2 + kappa * along**2, axis=-1)
        opposite = tuple(-a for a in noise)
        ends = [step(space, x, a, duration=dt, beta=beta, kappa=kappa) for a in (opposite, noise)]
        total += sum(map(squared_norm, ends)) / 2 - squared_norm(x) - length
        x = ends[1]
    return np.mean(total), np.std(total) / np.sqrt(chains)


def gibbs_marginals(depth, beta, entropic=True, cells=160):
    """Grids and distribution functions of three ``lam`` and their sum at equilibrium.

    The energy is half the squared norm of ``W``, and all widths are three.
    """
    edge = (16 / beta) ** (1 / (2 * depth))
    h = edge / cells
    index = np.indices((cells,) * 3)
    inside = (index[0] > index[1]) & (index[1] > index[2])
    lam = [(axis[inside] + 0.5) * h for axis in index]
    log_density = -beta / 2 * sum(x ** (2 * depth) for x in lam)
    for k, l in ((0, 1), (0, 2), (1, 2)):  # noqa: E741
        log_density = log_density + np.log(lam[k] ** 2 - lam[l] ** 2)
        if entropic:
            ratio = (lam[k] ** (2 * depth) - lam[l] ** (2 * depth)) / (lam[k] ** 2 - lam[l] ** 2)
            log_density = log_density + np.log(ratio) / 2
    density = np.exp(log_density - np.max(log_density))
    laws_of = []
    for axis in index:
        mass = np.bincount(axis[inside], density, cells)
        laws_of.append((h * np.arange(cells + 1), np.r_[0, np.cumsum(mass)] / mass.sum()))
    mass = np.bincount(sum(index)[inside], density, 3 * cells)
    # Cells of equal sum fill the slab around their centres.
    laws_of.append((h * (np.arange(3 * cells + 1) + 1), np.r_[0, np.cumsum(mass)] / mass.sum()))
    return laws_of


def gibbs_p(lam, depth, beta, *, entropic=True):
    """p-value of samples ``(size, 3)`` against the equilibrium, with or without the entropy."""
    marginals = gibbs_marginals(depth, beta, entropic)
    values = [
        stats.kstest(x, lambda y, g=grid, f=cdf: np.interp(y, g, f), method="asymp").pvalue
        for x, (grid, cdf) in zip(with_sums(lam).T, marginals, strict=True)
    ]
    return min(values) * len(values)


def identity(W):
    """Gradient of half the squared norm."""
    return W


def signed(size, depth, *, chains, steps, parity=None):
    """p-value of singular values that cross zero, the smallest with the sign of ``det W``."""
    lam = np.array([1.0, 0.2])[-size:]
    start, time, beta = np.diag(lam**depth), 0.2, 1.5
    run = brownian_motion(
        EndToEndGeometry(size, size, size, depth), start, duration=time, n_steps=steps, beta=beta,
        rng=SEED, n_chains=chains, save_every=steps, observe={"x": lambda W: W},
    )  # fmt: skip
    W = last(run)
    x = np.linalg.svd(W, compute_uv=False) ** (1 / depth)
    x[:, -1] *= np.sign(np.linalg.det(W))
    noise = np.random.default_rng(SEED + 1).standard_normal((10 * chains, size, size))
    G = np.diag(lam) + np.sqrt(2 * time / (beta * depth)) * noise
    y = np.linalg.svd(G, compute_uv=False)
    if (parity or depth) % 2:
        y[:, -1] *= np.sign(np.linalg.det(G))
    return two_sample(x, y)


def unsigned_svd(H, **_):
    """Stand in for ``signed_svd``: the reflection at zero forgets the sign."""
    values, left, _ = signed_svd(H)
    return values, left, left


def stuck_svd(H, **_):
    """Stand in for ``signed_svd``: what crosses zero stays there, and is not reflected."""
    values, left, right = signed_svd(H)
    signs = np.sum(left * right, axis=-2)
    return np.where(signs < 0, 1e-6, values), left, left


def radial_retraction(self, point, vector, *, order=2):
    """First-order retraction of vectors: the length moves by the radial component."""
    moved = point + vector
    length = self.project(point) + self.differential(point, vector)
    return moved * (length / self.project(moved))[..., None]


@one_group()
def equilibrium(space, start, gradient, *, chains, beta, phases, observe):
    """Samples after phases ``(duration, steps)``, coarse ones first to come near cheaply."""
    for i, (time, steps) in enumerate(phases):
        run = riemannian_langevin(
            space, start, energy_gradient=gradient, beta=beta, duration=time, n_steps=steps,
            rng=SEED + i, n_chains=None if i else chains, save_every=steps,
            observe={"x": observe},
        )  # fmt: skip
        start = rebuild(run.points, [x[:, -1] for x in parts(run.points)])
    return last(run)


def stationary_norms(space, start, *, chains, dt, time, beta):
    """Time averages of ``|W|^2`` after a burn-in, one for each chain, for half of it as energy.

    The change of ``R^2`` is ``2 <x, V> + |V|^2 - 2 N |W|^2 dt`` and the bias.  Steps do not depend
    on their noise: subtracting all but ``|W|^2``, less its mean, keeps the mean, and takes
    nearly all of the spread.
    """
    rng, depth, size = np.random.default_rng(SEED), space.depth, np.sqrt(2 * dt / beta)
    x = rebuild(start, [np.repeat(a[None], chains, axis=0) for a in parts(start)])
    total, steps, burn = np.zeros(chains), round(time / dt), round(3.0 / dt)
    for k in range(burn + steps):
        noise = tuple(rng.standard_normal(W.shape) for W in factors(x))
        W = space.project(x)
        if k == burn:
            total -= squared_norm(x)
        if k >= burn:
            V = coordinates(space.tangent_projection(x, noise), 1)
            radial = 2 * size * np.sum(coordinates(factors(x), 1) * V, axis=-1)
            total += 2 * depth * dt * np.sum(W**2, axis=(-2, -1)) - radial
            total -= size**2 * (np.sum(V**2, axis=-1) - space.dim)
        x = step(space, x, noise, duration=dt, beta=beta, covector=W)
    return (total + squared_norm(x)) / (2 * depth * dt * steps)


class Quadratic:
    """Energy ``|W - A|^2 / 2`` of matrices, and its gradient."""

    def __init__(self, target):
        self.target = np.asarray(target)

    def energy(self, W):
        return np.sum((W - self.target) ** 2, axis=(-2, -1)) / 2

    def __call__(self, W):
        return W - self.target


def with_singular_values(W):
    """Entries and singular values of matrices, one row each."""
    return np.concatenate([W.reshape(len(W), -1), np.linalg.svd(W, compute_uv=False)], axis=-1)
