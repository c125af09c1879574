r"""
Where small random starts end
=============================

Of a 2 x 2 matrix only the diagonal is given, ``W11 = W22 = 1``.  Which of the matrices without
energy does the gradient flow pick from small random starts, and of them ``W12 = a``, ``W21 = 1/a``,
of rank one (Menon, *The geometry of the deep linear network*, section 14.1)?  With ``--scale 1e-2``
and 200 starts, rank one is the limit of 52%, 52%, 36% and 22% at depths 2, 3, 4 and infinity; 90%
of these have ``|a|`` within 0.6%, 2.3%, 5% and 33% of one, of either sign.  The other starts have
energy too, and converge to matrices of rank two.  That is an experiment, at one size of start.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np

from dlngeom import DeepLinearNetwork, InfinitelyDeepNetwork
from dlngeom.flow import gradient_flow

parser = argparse.ArgumentParser(description="Limits of the flow from small random starts")
parser.add_argument("--starts", type=int, default=200, help="random starts for each depth")
parser.add_argument("--scale", type=float, default=1e-2, help="standard deviation of their entries")
parser.add_argument("--time", type=float, default=3e3, help="when to give up on convergence")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--output", help="file for the figure")
arguments = parser.parse_args()


def energy_gradient(W):
    """Gradient of ``((W11 - 1)^2 + (W22 - 1)^2) / 2``."""
    return np.eye(2) * (W - 1)


def limits(depth, starts):
    """End points of the flow, ``(chain, 2, 2)``."""
    finite = depth < np.inf
    space = DeepLinearNetwork((2,) * (depth + 1)) if finite else InfinitelyDeepNetwork(2)

    def converged(t, W):
        return np.max(np.abs(energy_gradient(W))) - 1e-8

    converged.terminal = True
    t, options = [0, arguments.time], {"rtol": 1e-8, "events": converged, "observe": {}}
    run = gradient_flow(space, starts, energy_gradient, t, **options)
    times, points = run.events[0]
    return points[:, -1] if len(times) else run.points[:, -1]


# %%
# A limit counts as rank one if the smaller singular value is below a thousandth of the larger.
rng = np.random.default_rng(arguments.seed)
starts = arguments.scale * rng.standard_normal((arguments.starts, 2, 2))
print(f"{arguments.starts} Gaussian starts of scale {arguments.scale:g}, seed {arguments.seed}")
print("depth  converged  rank one   |a| of these: 5%   median     95%  a > 0")
figure, axes = plt.subplots(1, 4, figsize=(12, 3.6), layout="constrained", sharey=True)
for axis, depth in zip(axes, (2, 3, 4, np.inf), strict=True):
    W = limits(depth, starts)
    W = W[np.max(np.abs(energy_gradient(W)), axis=(-2, -1)) < 1e-6]
    s = np.linalg.svd(W, compute_uv=False)
    low = s[:, 1] < 1e-3 * s[:, 0]
    a = W[low, 0, 1]
    print(f"{depth:5}  {len(W) / len(starts):9.3f}  {np.mean(low):8.3f}", end="  ")
    if len(a):
        least, median, most = np.quantile(np.abs(a), (0.05, 0.5, 0.95))
        print(f"{least:17.4f}  {median:7.4f}  {most:6.4f}  {np.mean(a > 0):5.2f}", end="")
    print()
    for branch in (1, -1):
        b = branch * np.geomspace(0.2, 5, 200)
        axis.plot(b, 1 / b, color="0.7", linewidth=1, zorder=0)
    axis.scatter(*W[~low][:, [0, 1], [1, 0]].T, s=8, color="tab:orange", label="rank two")
    axis.scatter(*W[low][:, [0, 1], [1, 0]].T, s=8, color="tab:blue", label="rank one")
    name = r"\infty" if depth == np.inf else depth
    axis.set(title=f"$N = {name}$: {np.mean(low):.0%} of rank one", xlabel="$W_{12}$")
    axis.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal")
axes[0].set(ylabel="$W_{21}$")
axes[0].legend(loc="upper left", fontsize=8)
if arguments.output:
    figure.savefig(arguments.output, dpi=120)
