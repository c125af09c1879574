r"""
Have the chains converged?
==========================

Four chains of the Riemannian Langevin equation in the energy :math:`|W|^2 / 2`, at :math:`\kappa
= 1`, from starts of very different sizes: their traces, the ranks of the draws of each chain
among those of all, and the draws against the law that is known exactly. The lifted energy is
homogeneous of degree :math:`2 N` in the layers, so with the dimension of the balanced networks

.. math:: \tfrac{1}{2} \beta\, |W|^2 \sim \Gamma\Big( \frac{\dim}{2 N} \Big) .

**What it shows.** A run of 20 draws has an R-hat of 1.75, one of 3000 of 1.002: its ranks are
uniform, and the draws after the burn-in have the exact law.  **What it does not show.** That chains
have found every well: R-hat is near one, too, where all of them have missed the same one.

``Trajectory.to_xarray`` is a dataset over ``chain`` and ``draw``, which is what arviz plots.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

from dlngeom import DeepLinearNetwork
from dlngeom.langevin import riemannian_langevin

DRAWS, BURN_IN, BETA, SEED = 3000, 100, 4.0, 0

# %%
# The start is one network at four sizes, and a run much too short says so.
space, chains, step = DeepLinearNetwork((2, 2, 2)), 4, 0.01
start = space.random_point(SEED, (chains,))
start = start._replace(lam=np.array([0.1, 0.5, 1.5, 2.5])[:, None] * np.array([1.0, 0.7]))


def sample(draws, burn_in):
    """Run of draws at intervals of ten steps, whose diagnostics are printed."""
    time = {"duration": 10 * step * draws, "n_steps": 10 * draws, "save_every": 10}
    observe = {"squared": lambda network: (network.lam ** (2 * space.depth)).sum(axis=-1)}
    energy = {"energy_gradient": lambda W: W, "beta": BETA}
    options = {**time, **energy, "observe": observe, "rng": SEED}
    run = riemannian_langevin(space, start, **options)
    found = {name: x["squared"].item() for name, x in run.diagnostics(burn_in).items()}
    print(f"{draws} draws, without {burn_in}: R-hat {found['r_hat']:.3f},", end=" ")
    print(f"effective {found['ess_bulk']:.0f}, in the tails {found['ess_tail']:.0f}")
    return run, found["mcse"]


sample(20, 0)
run, error = sample(DRAWS, BURN_IN)

# %%
# ``dim`` is that of the matrices and of the fibre, a circle.
law = stats.gamma((4 + 1) / (2 * space.depth), scale=2 / BETA)
data = run.to_xarray()
kept = data["squared"].isel(draw=slice(BURN_IN, None))
ranks = stats.rankdata(kept).reshape(kept.shape)
print(f"mean {kept.mean().item():.3f} with an error of {error:.3f}, exactly {law.mean():.3f}")
figure, axes = plt.subplot_mosaic("t;r;l", figsize=(6, 8), layout="constrained")
for chain, colour in zip(range(chains), ("C0", "C1", "C2", "C3"), strict=True):
    axes["t"].plot(data["time"], data["squared"][chain], color=colour, linewidth=0.5)
    counts = np.histogram(ranks[chain], 20, (0, kept.size))[0] * 20 / kept.sizes["draw"]
    axes["r"].stairs(counts, np.linspace(0, 1, 21), color=colour, label=f"chain {chain}")
axes["l"].hist(kept.values.ravel(), 60, range=(0, 3.5), density=True, color="0.8")
x = np.linspace(1e-3, 3.5, 500)
axes["l"].plot(x, law.pdf(x), "k", linewidth=1)
axes["t"].axvline(data["time"][BURN_IN], color="k", linestyle=":")
axes["t"].set(title="traces", xlabel="time", ylabel="$|W|^2$", yscale="log")
axes["r"].set(title="ranks", xlabel="rank among all draws", ylabel="density", ylim=(0, None))
axes["l"].set(title="all draws and the exact law", xlabel="$|W|^2$", ylabel="density")
axes["r"].legend(fontsize=8, ncols=2)
plt.show()
