r"""
Have the chains converged?
==========================

Four chains of the Riemannian Langevin equation in the energy ``|W|^2 / 2``, at ``kappa = 1``, from
starts of very different sizes.  Above are the traces of ``|W|^2`` with the first draws, which a
warm-up would leave out; on the left, the ranks of each chain's later draws among those of all.
Chains that have converged have ranks that are uniform.  On the right are all later draws against
the law that is known exactly: the lifted energy is homogeneous of degree ``2 N`` in the layers, so
``beta |W|^2 / 2`` has the Gamma law with the shape ``dim / (2 N)``, ``dim`` being the dimension of
the balanced networks.

``Trajectory.to_xarray()`` is a dataset over ``chain`` and ``draw``, which is what arviz plots;
``Trajectory.diagnostics`` has its R-hat and effective sample sizes.  At seed 0 a run of 20 draws
has an R-hat of 1.75, and one of 3000 of 1.002.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

from dlngeom import DeepLinearNetwork
from dlngeom.langevin import riemannian_langevin

parser = argparse.ArgumentParser(description="Traces and ranks of chains")
for option, default in {"draws": 3000, "burn_in": 100, "beta": 4.0, "seed": 0}.items():
    parser.add_argument(f"--{option}", type=type(default), default=default)
parser.add_argument("--output", help="file for the figure")
arguments = parser.parse_args()

# %%
# The start is one network at four sizes, and a run much too short says so.
space, chains, step = DeepLinearNetwork((2, 2, 2)), 4, 0.01
start = space.random_point(arguments.seed, (chains,))
start = start._replace(lam=np.array([0.1, 0.5, 1.5, 2.5])[:, None] * np.array([1.0, 0.7]))


def sample(draws, burn_in):
    """Run of draws at intervals of ten steps, whose diagnostics are printed."""
    time = {"duration": 10 * step * draws, "n_steps": 10 * draws, "save_every": 10}
    observe = {"squared": lambda network: (network.lam ** (2 * space.depth)).sum(axis=-1)}
    energy = {"energy_gradient": lambda W: W, "beta": arguments.beta}
    options = {**time, **energy, "observe": observe, "rng": arguments.seed}
    run = riemannian_langevin(space, start, **options)
    found = {name: x["squared"].item() for name, x in run.diagnostics(burn_in).items()}
    print(f"{draws} draws, without {burn_in}: R-hat {found['r_hat']:.3f},", end=" ")
    print(f"effective {found['ess_bulk']:.0f}, in the tails {found['ess_tail']:.0f}")
    return run, found["mcse"]


sample(20, 0)
run, error = sample(arguments.draws, arguments.burn_in)

# %%
# ``dim`` is that of the matrices and of the fibre, a circle.
law = stats.gamma((4 + 1) / (2 * space.depth), scale=2 / arguments.beta)
data = run.to_xarray()
kept = data["squared"].isel(draw=slice(arguments.burn_in, None))
ranks = stats.rankdata(kept).reshape(kept.shape)
print(f"mean {kept.mean().item():.3f} with an error of {error:.3f}, exactly {law.mean():.3f}")
figure, axes = plt.subplot_mosaic("tt;rl", figsize=(9, 6), layout="constrained")
for chain, colour in zip(range(chains), ("C0", "C1", "C2", "C3"), strict=True):
    axes["t"].plot(data["time"], data["squared"][chain], color=colour, linewidth=0.5)
    counts = np.histogram(ranks[chain], 20, (0, kept.size))[0] * 20 / kept.sizes["draw"]
    axes["r"].stairs(counts, np.linspace(0, 1, 21), color=colour, label=f"chain {chain}")
axes["l"].hist(kept.values.ravel(), 60, range=(0, 3.5), density=True, color="0.8")
x = np.linspace(1e-3, 3.5, 500)
axes["l"].plot(x, law.pdf(x), "k", linewidth=1)
axes["t"].axvline(data["time"][arguments.burn_in], color="k", linestyle=":")
axes["t"].set(title="traces", xlabel="time", ylabel="$|W|^2$", yscale="log")
axes["r"].set(title="ranks", xlabel="rank among all draws", ylabel="density", ylim=(0, None))
axes["l"].set(title="all draws and the exact law", xlabel="$|W|^2$", ylabel="density")
axes["r"].legend(fontsize=8, ncols=2)
if arguments.output:
    figure.savefig(arguments.output, dpi=120)
