"""One Gibbs law, five samplers: ours, those of mici and blackjax, and emcee."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from time import process_time
from typing import Any, NamedTuple

import numpy as np

import dlngeom
from dlngeom import DeepLinearNetwork, network, thermodynamics
from dlngeom.langevin import riemannian_langevin

__all__ = [
    "COMPLETION",
    "LOW_RANK",
    "QUADRATIC",
    "SAMPLERS",
    "Draws",
    "Problem",
    "effective",
    "observed",
]


class Problem(NamedTuple):
    """An energy on networks, and the steps in time with which our samplers draw from its law.

    ``|P(W - target)|^2 / 2 + ridge |W|^2 / 2`` with the mask ``P``; it works in every library.
    """

    widths: tuple[int, ...]
    rank: int
    beta: float
    kappa: float
    target: np.ndarray
    mask: np.ndarray
    ridge: float
    step: float
    adjusted_step: float

    @property
    def space(self) -> DeepLinearNetwork:
        return DeepLinearNetwork(self.widths, self.rank)

    def energy(self, W: Any) -> Any:
        gap = (W - self.target) ** 2 * self.mask + self.ridge * W**2
        return gap.sum(axis=(-2, -1)) / 2

    def gradient(self, W: Any) -> Any:
        return (W - self.target) * self.mask + self.ridge * W


class Draws(NamedTuple):
    """End-to-end matrices ``(chain, draw, m, n)``, CPU seconds for them, and what else to say."""

    W: np.ndarray
    seconds: float
    note: str = ""


def _masked(size: int, rank: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A matrix of low rank with singular values near one, and a mask of observed entries."""
    rng = np.random.default_rng(seed)
    u, v = (np.linalg.qr(rng.standard_normal((size, rank)))[0] for _ in range(2))
    return (u * np.linspace(1.5, 1.0, rank)) @ v.T, (rng.random((size, size)) < share) * 1.0


_TARGET = np.array([[1.0, 0.2], [-0.3, 0.5]])
QUADRATIC = Problem((2, 2, 2, 2), 2, 4.0, 1.0, _TARGET, np.ones((2, 2)), 0.0, 0.01, 0.15)
COMPLETION = Problem((5, 5, 5, 5), 5, 20.0, 1.0, *_masked(5, 2, 0.6, 1), 0.1, 0.01, 0.02)
LOW_RANK = Problem((10, 2, 10), 2, 50.0, 1.0, *_masked(10, 2, 0.5, 2), 0.02, 0.02, 0.12)


def start(problem: Problem, chains: int) -> Any:
    """Networks over matrices near the target, of positive determinant where they are square."""
    m, n, rng = problem.widths[-1], problem.widths[0], np.random.default_rng(7)
    W = problem.target + 0.1 * rng.standard_normal((chains, m, n))
    if m == n == problem.rank:
        W[..., 0] *= np.sign(np.linalg.det(W))[:, None]
    return problem.space.orbit_point(dlngeom.svd(_of_rank(W, problem.rank), problem.rank), rng)


def _of_rank(W: np.ndarray, rank: int) -> np.ndarray:
    u, s, vt = np.linalg.svd(W, full_matrices=False)
    return (u[..., :rank] * s[..., None, :rank]) @ vt[..., :rank, :]


def langevin(
    problem: Problem, draws: int, seed: int, *, adjust: bool = False, burn: float = 20.0
) -> Draws:
    """Our equation, with or without the Metropolis step, 64 chains, after a time of ``burn``."""
    chains, dt = 64, problem.adjusted_step if adjust else problem.step
    every = max(1, round(0.1 / dt))
    warm = round(burn / dt)  # Crossing from one sign of the determinant to the other takes a while.
    count = -(-draws // chains)
    options = {"energy": problem.energy, "adjust": True} if adjust else {}

    def run(point: Any, steps: int, rng: int, save_every: int) -> Any:
        return riemannian_langevin(
            problem.space, point, energy_gradient=problem.gradient, beta=problem.beta,
            kappa=problem.kappa, duration=steps * dt, n_steps=steps, save_every=save_every,
            rng=rng, **options,
        )  # fmt: skip

    warmed = run(start(problem, chains), warm, seed, warm)
    point = warmed.points._replace(
        lam=warmed.points.lam[:, -1], q=tuple(q[:, -1] for q in warmed.points.q)
    )
    begin = process_time()
    found = run(point, count * every, seed + 1, every)
    seconds = process_time() - begin
    note = f"accepted {found.observed['acceptance'][:, -1].mean():.2f}" if adjust else ""
    return Draws(found.observed["end_to_end"][:, 1:], seconds, note)


def adjusted(problem: Problem, draws: int, seed: int, burn: float = 20.0) -> Draws:
    """Our equation with the Metropolis step."""
    return langevin(problem, draws, seed, adjust=True, burn=burn)


def mici_nuts(problem: Problem, draws: int, seed: int, warm: int = 60) -> Draws:
    """NUTS of mici upstairs, with its adaptation of the step size, two chains."""
    import mici

    space = problem.space
    system = dlngeom.mici.system(
        space, problem.energy, problem.gradient, problem.beta, problem.kappa
    )
    integrator = mici.integrators.ConstrainedLeapfrogIntegrator(system)
    sampler = mici.samplers.DynamicMultinomialHMC(system, integrator, np.random.default_rng(seed))
    starts = list(dlngeom.mici.position(space, start(problem, 2)))
    warmed = sampler.sample_chains(warm, 1, starts, display_progress=False)
    begin = process_time()
    found = sampler.sample_chains(
        0, draws // 2, warmed.final_states, adapters=[], display_progress=False
    )
    seconds = process_time() - begin
    W = network.end_to_end(dlngeom.mici.layers(space, np.stack(found.traces["pos"])))
    lengths = np.mean(found.statistics["n_step"])
    return Draws(W, seconds, f"step {integrator.step_size:.2f}, {lengths:.0f} steps a draw")


def root_density(problem: Problem) -> Callable[[Any], Any]:
    """Log density in the root chart."""
    return lambda X: thermodynamics.log_gibbs_density(
        X, problem.energy, problem.widths, problem.beta, problem.kappa
    )


def blackjax_nuts(
    problem: Problem, draws: int, seed: int, density: Callable[[Any], Any] | None = None
) -> Draws:
    """NUTS of blackjax in the root chart, with its adaptation, one chain."""
    import blackjax
    import jax

    jax.config.update("jax_enable_x64", True)
    density = density or root_density(problem)
    depth = len(problem.widths) - 1
    first = start(problem, 1)
    X = jax.numpy.asarray(thermodynamics.to_root(dlngeom.dense(first)[0], depth))
    keys = jax.random.split(jax.random.key(seed), 3)
    adaptation = blackjax.window_adaptation(blackjax.nuts, density)
    (state, parameters), _ = jax.jit(lambda key: adaptation.run(key, X, num_steps=300))(keys[0])
    kernel = blackjax.nuts(density, **parameters)

    def one(state: Any, key: Any) -> Any:
        state, info = kernel.step(key, state)
        return state, (state.position, info.num_integration_steps)

    chain = jax.jit(lambda state, key: jax.lax.scan(one, state, jax.random.split(key, draws))[1])
    chain(state, keys[1])[0].block_until_ready()
    begin = process_time()
    roots = np.asarray(chain(state, keys[2])[0])
    seconds = process_time() - begin
    note = f"step {float(parameters['step_size']):.2g}"
    return Draws(thermodynamics.from_root(roots, depth)[None], seconds, note)


def emcee_walk(
    problem: Problem, draws: int, seed: int, density: Callable[[Any], Any] | None = None
) -> Draws:
    """Stretch moves of emcee in the root chart, 32 walkers."""
    import emcee

    walkers, m, n = 32, problem.widths[-1], problem.widths[0]
    density, depth = density or root_density(problem), len(problem.widths) - 1
    X = thermodynamics.to_root(dlngeom.dense(start(problem, walkers)), depth)
    sampler = emcee.EnsembleSampler(
        walkers, m * n, lambda x: density(x.reshape(-1, m, n)), vectorize=True
    )
    sampler.random_state = np.random.RandomState(seed).get_state()
    state = sampler.run_mcmc(X.reshape(walkers, -1), 500)
    sampler.reset()
    begin = process_time()
    sampler.run_mcmc(state, -(-draws // walkers))
    seconds = process_time() - begin
    roots = sampler.get_chain().swapaxes(0, 1).reshape(walkers, -1, m, n)
    return Draws(thermodynamics.from_root(roots, depth), seconds)


SAMPLERS = {
    "RLE": langevin,
    "RLE adjusted": adjusted,
    "mici NUTS": mici_nuts,
    "blackjax NUTS": blackjax_nuts,
    "emcee": emcee_walk,
}


def observed(W: np.ndarray) -> dict[str, np.ndarray]:
    """Smallest singular value that is not zero for all, and the trace."""
    s = np.linalg.svdvals(W)
    kept = np.max(s, axis=(0, 1)) > 1e-6
    return {"sigma_min": s[..., kept][..., -1], "trace": np.trace(W, axis1=-2, axis2=-1)}


def effective(x: np.ndarray) -> float:
    """Bulk effective sample size of ``(chain, draw)`` by arviz-stats."""
    from arviz_stats.base.array import array_stats

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(array_stats.ess(x, chain_axis=0, draw_axis=1))
