r"""
The Simons cone and gauge noise
===============================

Balanced networks of two layers of width two lie on the Simons cone :math:`|W_1| = |W_2|`, which is
minimal (:cite:t:`menon2024geometry`, Remark 8).  Are the balanced networks minimal themselves, and
does noise in the gauge (:math:`\kappa = 0`) move networks to them?  Since
:math:`\operatorname{tr} G = |W_1|^2 - |W_2|^2`, the formula of Ito leaves on every path

.. math::

   \frac{\mathrm{d}}{\mathrm{d}t} \operatorname{tr} G
   = \frac{2}{\beta} \big( |V_1|^2 - |V_2|^2 \big) ,

with the unit vector :math:`V` along the gauge.

**What it shows.** Balanced networks of two layers are minimal, of three they are not.  Gauge noise
raised :math:`|G|` for all of 1000 Gaussian starts and the distance to the cone for 62%; in the
median hardly as fast as :math:`R^2 = |W_1|^2 + |W_2|^2` and :math:`R`.  **What it does not show.**
Attraction to the cone; and other shapes than this one.
"""

import matplotlib.pyplot as plt
import numpy as np

from dlngeom import DeepLinearNetwork, balanced, factors, network
from dlngeom.balanced import second_fundamental_form
from dlngeom.langevin import network_langevin

STARTS, SEED = 1000, 0
rng, turn = np.random.default_rng(SEED), np.array([[0, -1], [1, 0]])


def size(layers):
    """Norm of several matrices together."""
    return np.sqrt(sum(np.sum(x * x, axis=(-2, -1)) for x in layers))


def rate(layers):
    """``|V_1|^2 - |V_2|^2``: ``V = (A W_1, -W_2 A)``, ``A`` a turn plus what keeps ``G``."""
    M, (G,) = layers[0] @ layers[0].mT + layers[1].mT @ layers[1], network.invariants(layers)
    B, inverse, det = G @ turn - turn @ G, np.linalg.inv(M), np.linalg.det(M)[..., None, None]
    A = turn + (B + det * inverse @ B @ inverse) / (2 * M.trace(0, -2, -1)[..., None, None])
    a, b = size([A @ layers[0]]) ** 2, size([layers[1] @ A]) ** 2
    return (a - b) / (a + b)


# %%
# :math:`R |H|`, mean curvature times distance to the origin, is zero where a cone is minimal.
x, J = rng.standard_normal((2, 100, 4)), np.repeat([1, -1], 4)
x = np.hstack(x / np.linalg.norm(x, axis=-1, keepdims=True))
print(f"Simons cone: dimension 7, R |H| up to {np.abs(J.sum() - x**2 @ J**3 / 2).max():.1e}")
for widths in ((2, 2, 2), (2, 2, 2, 2)):
    point = DeepLinearNetwork(widths).random_point(rng, (100,))
    frame = zip(*(np.moveaxis(e, 1, 0) for e in balanced.orthonormal_frame(point)), strict=True)
    forms = [second_fundamental_form(point, X, X) for X in frame]
    H = size([sum(x) for x in zip(*forms, strict=True)]) * size(factors(point))
    print(f"balanced {widths}: dimension {len(forms)}, R |H| from {H.min():.1e} to {H.max():.1e}")
# %%
# Gauge noise from Gaussian starts: paths that end nearer to the cone are blue, others orange.
layers = rng.standard_normal((2, STARTS, 2, 2)) / 2**0.5
run = network_langevin(tuple(layers), beta=2.0, kappa=0.0, duration=1.0, n_steps=400, rng=rng)
(a, b), G = (size([x]) for x in run.points), size(network.invariants(run.points))
trace, R2, gap, predicted = a**2 - b**2, a**2 + b**2, abs(a - b), rate(run.points)[:, :-1].mean(1)
off = trace[:, -1] - trace[:, 0] - predicted
print(f"change of tr G: {np.std(predicted):.3f}, off by {off.mean():.4f}, sd {off.std():.3f}")
axes = [plt.figure(figsize=(4.8, 3.6), layout="constrained").gca() for _ in range(3)]
values = {"distance to cone": gap, "|G|": G, "|tr G|/R^2": abs(trace) / R2, "|G|/R^2": G / R2}
for (name, x), style in zip(values.items(), ("C1", "k", "C1--", "k--"), strict=True):
    ratio = x[:, -1] / x[:, 0]
    print(
        f"{name:16} end / start: median {np.median(ratio):.3f}, below 1: {np.mean(ratio < 1):.0%}"
    )
    axes[1].plot(run.times, np.median(x / x[:, :1], axis=0), style, label=name)
for i in range(min(40, len(a))):
    axes[0].plot(a[i], b[i], color="C0" if gap[i, -1] < gap[i, 0] else "C1")
axes[0].plot([0.3, 2.5], [0.3, 2.5], "k", linewidth=2)
axes[0].set(title="approach the cone (blue) or leave it", xlabel="$|W_1|$", ylabel="$|W_2|$")
axes[1].set(title="medians relative to the start", xlabel="t")
axes[1].legend(fontsize=9)
axes[2].plot(predicted, predicted + off, ".", [-1, 1], [-1, 1], "k", markersize=4)
axes[2].set(title="change of tr G", xlabel="by Ito's formula", ylabel="simulated")
plt.show()
