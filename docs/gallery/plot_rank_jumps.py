r"""
Jumps of the rank in matrix completion
======================================

Half of the entries of a 10 x 10 matrix of rank two are given; networks start at small Gaussian
matrices (Menon, *The geometry of the deep linear network*, section 13.3).  Does the effective rank
of the flow jump?  From starts of 0.03 it falls, from 10% to 90% of its way within a factor of time
of 3.5 (N = 2), 2.6 (3), 1.8 (infinity, whose times have other units), then rises as more is learnt;
it does not fall one by one.  With ``--scales 1e-3 1e-4 --depths 1 2 3``, from 1e-4, its least value
is 1.13 (2) and 1.01 (3), and the second singular value rises within factors of 3.5 and 1.4.  One
layer stays above 5.7: no jumps.  The errors of its limits on unseen entries are 0.62, those of the
others from 1e-4 are 0.17 and 0.11.  Medians over 20 starts, for one target.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np

from dlngeom import DeepLinearNetwork, InfinitelyDeepNetwork
from dlngeom.flow import gradient_flow

parser = argparse.ArgumentParser(description="Effective rank along the flow")
for name, default in (("--size", 10), ("--starts", 20), ("--seed", 0)):
    parser.add_argument(name, type=int, default=default)
parser.add_argument("--scales", type=float, nargs=2, default=[1e-1, 3e-2], help="of the entries")
parser.add_argument("--depths", type=float, nargs="+", default=[1, 2, 3, np.inf])
parser.add_argument("--output", help="file for the figure")
arguments = parser.parse_args()
rng, d = np.random.default_rng(arguments.seed), arguments.size
target = rng.standard_normal((d, 2)) @ rng.standard_normal((2, d)) / 2**0.5
seen, noise = rng.random((d, d)) < 0.5, rng.standard_normal((arguments.starts, d, d))


def fitted(t, W):
    """Root mean square of the residual, over all starts, less the level where the flow ends."""
    return np.sqrt(np.mean((seen * (W - target)) ** 2)) - 1e-2


def follow(depth, scale):
    """Flow from all starts."""
    infinite, end = depth == np.inf, 30 / scale if depth == np.inf else 30
    space = InfinitelyDeepNetwork(d) if infinite else DeepLinearNetwork((d,) * (int(depth) + 1))
    t, slope = np.r_[0, np.geomspace(1e-3 * end, end, 400)], lambda W: seen * (W - target)
    return gradient_flow(space, scale * noise, slope, t, rtol=1e-4, events=fitted)


def factor(times, share):
    """Median over starts of the time when a share reaches 0.9 over that when it reaches 0.1."""
    late, early = (times[np.argmax(share >= level, axis=-1)] for level in (0.9, 0.1))
    return np.median(late / np.maximum(early, times[1]))


# %%
# Effective ranks, factors, singular values above 1% of the first, and errors on unseen entries.
fitted.terminal = True
figure, axes = plt.subplots(3, len(arguments.depths), figsize=(12, 8.4), layout="constrained")
print(f"{d} x {d}, {np.sum(seen)} entries seen, {arguments.starts} starts, seed {arguments.seed}")
print(" start  depth   least   final    fall sigma_2  above1%   error")
for row, scale in enumerate(arguments.scales):
    for depth, axis, limits in zip(arguments.depths, axes[row], axes[2], strict=True):
        run = follow(depth, scale)
        rank, s = run.observed["effective_rank"], run.observed["singular_values"]
        low, first = np.min(rank, axis=1, keepdims=True), rank[:, :1]
        fall = factor(run.times, (first - rank) / np.maximum(first - low, 1e-9))
        rise = factor(run.times, s[:, :, 1] / s[:, -1:, 1])
        above = np.mean(np.sum(s[:, -1] > 0.01 * s[:, -1, :1], axis=-1))
        error = np.sqrt(np.mean((run.points[:, -1] - target)[:, ~seen] ** 2, axis=-1))
        numbers = (np.median(low), np.median(rank[:, -1]), fall, rise, above, np.median(error))
        print(f"{scale:6g} {depth:6g}" + "".join(f"{x:8.3f}" for x in numbers))
        axis.plot(run.times[1:], rank[:, 1:].T, "C0", linewidth=0.6, alpha=0.5)
        name = r"\infty" if depth == np.inf else f"{depth:g}"
        axis.set(title=f"$N = {name}$, starts of {scale:g}", xscale="log", ylim=(0.8, d))
        axis.set(xlabel="time", ylabel="effective rank")
        limits.plot(rank[:, -1], error, f"C{row + 1}o", markersize=4, label=f"starts of {scale:g}")
        limits.set(title=f"limits, $N = {name}$", xlabel="effective rank", ylabel="error")
axes[2, 0].legend(fontsize=8)
if arguments.output:
    figure.savefig(arguments.output, dpi=120)
