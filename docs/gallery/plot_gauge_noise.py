r"""
Does noise in the gauge balance a network?
==========================================

The gradient flow keeps the invariants of a network,

.. math:: G_p = W_p W_p^T - W_{p+1}^T W_{p+1} .

Noise along the leaf of given invariants, in the sense of Ito, does not: its correction is normal to
the leaf and moves the network to others, by curvature.  Does it move them towards the balanced
ones, :math:`G = 0` (:cite:t:`menon2024geometry`, section 13.4)?

**What it shows.** No.  For 200 Gaussian starts in each of four shapes (no energy, 400 steps to
:math:`t = 1`) noise of the gauge alone, :math:`\kappa = 0`, raised :math:`|G|` every time, by 24%
to 68% in the median, not as fast as it raised :math:`R^2 = \sum_p |W_p|^2`; noise in all directions
of the leaf, :math:`\kappa = 1`, lowered it in 94% of the runs.  **What it does not show.**
Energies, larger networks and long times.  (Label noise can balance two layers:
:doc:`plot_torch_training`.)
"""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np

from dlngeom.langevin import network_langevin

STARTS, TIME, STEPS, SEED = 200, 1.0, 400, 0  # for each shape; time in units of beta / 2


def size(matrices):
    """Frobenius norm of several matrices together, ``(chain, draw)``."""
    return np.sqrt(sum(np.sum(x * x, axis=(-2, -1)) for x in matrices))


def follow(widths, kappa):
    """Norms of the invariants and of the layers, and times."""
    rng = np.random.default_rng(SEED)
    layers = [rng.standard_normal((STARTS, up, low)) / low**0.5 for low, up in pairwise(widths)]
    run = network_langevin(
        layers, beta=2.0, kappa=kappa, duration=TIME, n_steps=STEPS,
        save_every=max(1, STEPS // 40), rng=rng,
    )  # fmt: skip
    return run.times, size(run.observed["invariants"]), size(run.points)


# %%
# :math:`|G|` has the units of a squared layer, so it is measured by :math:`R^2`, which grows.
print(f"{STARTS} Gaussian starts, {STEPS} steps to t = {TIME:g}")
print("widths      kappa  |G|(t) / |G|(0)   share of starts where |G| falls   |G|/R^2 (t) / (0)")
axes = [plt.figure(figsize=(4.8, 3.4), layout="constrained").gca() for _ in range(4)]
shapes, verdict = [(2, 2, 2), (4, 4, 4), (3, 3, 3, 3), (2, 4, 2)], {0.0: [], 1.0: []}
for axis, widths in zip(axes, shapes, strict=True):
    for kappa, colour in ((0.0, "tab:blue"), (1.0, "tab:orange")):
        times, G, R = follow(widths, kappa)
        ratio, relative = G / G[:, :1], G / R**2 * (R**2 / G)[:, :1]
        low, middle, high = np.quantile(ratio, (0.1, 0.5, 0.9), axis=0)
        falls = np.mean(ratio[:, -1] < 1)
        verdict[kappa].append(falls)
        name = "-".join(map(str, widths))
        print(f"{name:10} {kappa:6g} {middle[-1]:16.3f} {falls:33.2f}", end=" ")
        print(f"{np.median(relative[:, -1]):19.3f}")
        axis.plot(times, middle, color=colour, label=rf"$|G|$, $\kappa = {kappa:g}$")
        axis.fill_between(times, low, high, color=colour, alpha=0.2, linewidth=0)
        axis.plot(times, np.median(relative, axis=0), "--", color=colour, label=r"$|G|/R^2$")
    axis.axhline(1, color="0.6", linewidth=1, zorder=0)
    axis.set(title=f"invariants, widths {name}", xlabel=r"time $2t/\beta$", yscale="log")
    axis.set_ylabel("relative to the start")
for kappa, shares in verdict.items():
    change = "decreases" if np.mean(shares) > 0.5 else "increases"
    print(f"kappa = {kappa:g}: |G| {change}, it falls for {np.mean(shares):.0%} of all starts")
axes[0].legend()
plt.show()
