r"""
Networks between quadrics
=========================

The gradient flow of layers keeps the matrices

.. math:: G_p = W_p W_p^T - W_{p+1}^T W_{p+1}, \qquad p = 1, \dots, N - 1 ,

so the space of networks is filled by the varieties on which they are given, which quadratic
equations cut out.  Layers of width one show them without caricature
(:cite:t:`menon2024geometry`, figure 9.1 and (5.10)): in the plane of two such layers they are
hyperbolas, and the balanced networks, :math:`G = 0`, are the two diagonals.

**What it shows.** Flow lines (green) stay on their variety and end where :math:`W = 1` (orange);
balanced ones may run to the saddle :math:`W = 0`.  **What it does not show.** The varieties of
wider layers, of which the last picture is a shadow: networks in eight dimensions over three
quadrics.
"""

from itertools import product

import matplotlib.pyplot as plt
import numpy as np

from dlngeom.flow import network_flow
from dlngeom.points import polar_chart

LINES, SEED = 30, 0  # flow lines in each picture
rng, count = np.random.default_rng(SEED), LINES


def leaf(first, g, depth):
    """Networks of width one with equal invariants of sum ``g``, a curve for all signs (5.10)."""
    W_1, G = (
        np.broadcast_to(x, np.shape(first))[..., None, None] for x in (first, g / (depth - 1))
    )
    layers = polar_chart(W_1, [np.ones_like(W_1)] * (depth - 1), [G] * (depth - 1))
    signs = np.array(list(product((1, -1), repeat=depth)))
    return signs[:, None] * np.concatenate(layers, axis=-1)[..., 0, :]


def flow(layers):
    """Layers along the flow of ``|W - 1|^2 / 2``; prints how well it keeps the invariants."""
    run = network_flow(layers, lambda W: W - np.eye(W.shape[-1]), np.linspace(0, 10, 300))
    drift = max(np.abs(G - G[:, :1]).max() for G in run.observed["invariants"])
    fits = np.mean(np.abs(run.observed["singular_values"][:, -1] - 1).max(axis=-1) < 1e-2)
    print(f"{len(layers):6d} {len(layers[0][0]):5d} {len(layers[0]):5d} {drift:20.1e} {fits:14.2f}")
    return run.points


# %%
# Blue leaves have :math:`G < 0`, red ones :math:`G > 0`, balanced ones are black.  The quadrics of
# the third picture are :math:`G_{11} = -1, 0, 1`.
print("layers width lines  largest change of G   share at W = 1")
axes = [
    plt.figure(figsize=(4.6, 4), layout="constrained").add_subplot(projection=p)
    for p in (None, "3d", "3d")
]
w, angle = np.linspace(0, 2, 100), np.linspace(0, 2 * np.pi, 61)
for axis, depth in zip(axes, (2, 3), strict=False):
    pool, order = [], [0, -1, 1][:depth]
    for g in np.arange(-8, 9) / 2.25:
        pool.append(leaf(np.hypot(w * (1 - abs(g) / 4) ** 0.5, max(g, 0) ** 0.5), g, depth))
        for curve in pool[-1][..., order]:
            axis.plot(*curve.T, color="k" if g == 0 else plt.cm.coolwarm(0.5 + g / 8), linewidth=1)
    start = rng.choice(np.concatenate(pool).reshape(-1, depth), count)
    for line in np.concatenate(flow(tuple(start.T[..., None, None])), axis=-1)[..., 0, order]:
        axis.plot(*line.T, color="tab:green", linewidth=2)
axes[0].plot(w[25:], 1 / w[25:], -w[25:], -1 / w[25:], color="tab:orange", linewidth=2.5)
for g, hue in ((-1.0, "tab:blue"), (0.0, "k"), (1.0, "tab:red")):
    r = np.hypot(w[::9, None], max(g, 0) ** 0.5)
    quadric = r * np.cos(angle), r * np.sin(angle), np.sqrt(r**2 - g) + 0 * angle
    axes[2].plot_surface(*quadric, alpha=0.12, color=hue, linewidth=0)
    q = np.linalg.qr(rng.standard_normal((3, count // 3, 2, 2)))[0]
    W_1 = q[0] * rng.uniform(1.1, 1.8, (count // 3, 1, 2)) @ q[1]
    U, V = flow(polar_chart(W_1, [q[2]], [np.diag([g, -0.5]) + 0 * W_1]))
    for line, column in zip(U[:, :, 0], V[..., 0], strict=True):
        axes[2].plot(*line.T, np.linalg.norm(column, axis=-1), color=hue)
axes[0].set(title="two layers of width 1", xlabel="$w_1$", ylabel="$w_2$", aspect="equal")
axes[1].set(title="three of width 1, $G_1=G_2$", xlabel="$w_1$", ylabel="$w_3$", zlabel="$w_2$")
axes[2].set(title="two of width 2", xlabel="$W_{1,11}$", ylabel="$W_{1,12}$", zlabel="$|W_2e_1|$")
for side in (x for axis in axes[1:] for x in (axis.xaxis, axis.yaxis, axis.zaxis)):
    side.set_pane_color((0.97, 0.97, 0.97, 1))
plt.show()
