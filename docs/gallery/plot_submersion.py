r"""
Noise upstairs, descent of free energy downstairs
=================================================

If noise moves a balanced network only along its gauge orbit (``kappa = 0``), the network wanders
and its end-to-end matrix does not: in the limit of small steps it descends the free energy ``E - S
/ beta`` (Menon, *The geometry of the deep linear network*, figure 9.4, (12.6), (12.7)).  The script
compares the shadow of two layers of width two with the flow downstairs.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np

from dlngeom import DeepLinearNetwork, factors
from dlngeom.flow import gradient_flow
from dlngeom.langevin import riemannian_langevin
from dlngeom.thermodynamics import entropy_egrad

parser = argparse.ArgumentParser(description="Gauge noise and its shadow")
parser.add_argument("--chains", type=int, default=100)
parser.add_argument("--steps", type=int, nargs="+", default=[32, 128, 512, 2048])
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--output", help="file for the figure")
arguments = parser.parse_args()
space, beta, duration = DeepLinearNetwork((2, 2, 2)), 2.0, 4.0
start = space.random_point(arguments.seed)
angle = np.linspace(0, 2 * np.pi, 101)
turns = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]).T


def slope(W):
    """Gradient of the energy ``|W - target|^2 / 2`` in the entries of the matrix."""
    return W - np.array([[1.0, 0.4], [-0.6, 0.3]])


def join(layers):
    """Coordinates ``(..., 8)`` of layers."""
    return np.concatenate(layers, axis=-1).reshape(*layers[0].shape[:-2], 8)


# %%
# The distance of shadow (coloured) and flow (dashed), the largest over time, falls like the square
# root of the step.  Grey are the orbits met on the way.  One start and one energy are shown.
print("steps  distance to the flow (r.m.s.)  times sqrt(steps)")
t, figure = np.linspace(0, duration, 33), plt.figure(figsize=(12, 4.2))
places = ((0.02, "3d"), (0.37, None), (0.73, None))
axes = [figure.add_axes((x, 0.13, 0.26, 0.76), projection=p, fc="none") for x, p in places]
W, distances = space.project(start), []
W = gradient_flow(space, W, lambda W: slope(W) - entropy_egrad(W, space.widths) / beta, t)
for n in arguments.steps:
    run = riemannian_langevin(
        space, start, energy_gradient=slope, beta=beta, kappa=0.0, duration=duration,
        n_steps=n, n_chains=arguments.chains, rng=arguments.seed,
    )  # fmt: skip
    off = run.observed["end_to_end"][:, :: n // 32] - W.points
    distances.append(np.mean(np.max(np.sum(off**2, axis=(2, 3)), axis=1)) ** 0.5)
    print(f"{n:5d} {distances[-1]:20.4f} {distances[-1] * n**0.5:26.3f}")
    if n == arguments.steps[1]:
        s = np.linalg.svd(run.observed["end_to_end"][:4])[1]
        axes[1].plot(run.times, s[..., 0].T, "C0", run.times, s[..., 1].T, "C1", linewidth=0.8)
first, second = (x[0] for x in factors(run.points))
circles = [join([turns @ first[k], second[k] @ turns.mT]) for k in range(0, n + 1, n // 8)]
main, path = np.linalg.svd(np.concatenate(circles))[2][:3].T, join([first, second])
for k, circle in enumerate(circles):
    axes[0].plot(*(circle @ main).T, color="0.75", linewidth=1)
    piece = path[k * n // 8 : (k + 1) * n // 8 + 1] @ main
    axes[0].plot(*piece.T, color=plt.cm.viridis(k / 8), linewidth=1.5)
for side in (axes[0].xaxis, axes[0].yaxis, axes[0].zaxis):
    side.set_pane_color((0.97, 0.97, 0.97, 1))
axes[0].locator_params(nbins=5)
axes[0].set(title="a path upstairs and orbits", xlabel="axis 1", ylabel="axis 2", zlabel="axis 3")
axes[1].plot(t, W.observed["singular_values"][0], "k--", linewidth=2)
axes[1].set(title=f"shadow, {arguments.steps[1]} steps", xlabel="t", ylabel="singular values")
axes[2].loglog(arguments.steps, distances, "o-")
axes[2].set(title="shadow less flow", xlabel="steps", ylabel="distance, r.m.s.")
if arguments.output:
    figure.savefig(arguments.output, dpi=120)
