r"""
Paths to the rank-one variety
=============================

Of a :math:`2 \times 2` matrix only the diagonal is given.  The zeros of the energy

.. math:: E(W) = \tfrac12 \big( (W_{11} - 1)^2 + (W_{22} - 1)^2 \big)

are a plane with coordinates :math:`(W_{12}, W_{21})`, and in it the matrices of rank one are the
hyperbola :math:`(a, 1/a)` (:cite:t:`menon2024geometry`, figure 9.5, (14.1)-(14.4)).

**What it shows.** The gradient flow of a deep linear network from small random starts takes many
paths to the hyperbola, near :math:`a = 1` or :math:`a = -1`.  **What it does not show.** That all
end there: some end at full rank, well off it.  :doc:`plot_low_rank_limits` counts them.
"""

import matplotlib.pyplot as plt
import numpy as np
from mpl_toolkits.mplot3d.art3d import Line3DCollection

from dlngeom import DeepLinearNetwork
from dlngeom.flow import gradient_flow

STARTS, DEPTH, SCALE, SEED = 40, 3, 0.03, 0  # the scale is that of the entries
space = DeepLinearNetwork((2,) * (DEPTH + 1))
rng = np.random.default_rng(SEED)
starts = SCALE * rng.standard_normal((STARTS, 2, 2))


def slope(W):
    """Gradient of the energy."""
    return np.eye(2) * (W - 1)


# %%
# Limits are compared with the nearest point of the hyperbola, on a grid.  The second picture has
# the smaller singular value as height: the grey surface is the zero set, and touches zero on the
# hyperbola (black).
t = np.concatenate([[0.0], np.geomspace(0.3, 300, 400)])
run = gradient_flow(space, starts, slope, t, rtol=1e-6)
W, s, rank = run.points, run.observed["singular_values"], run.observed["effective_rank"]
end, a = W[:, -1], np.outer([1, -1], np.geomspace(0.05, 20, 4000)).ravel()
off = np.hypot(end[:, 0, 1, None] - a, end[:, 1, 0, None] - 1 / a).min(axis=1)
print(f"{len(W)} starts of scale {SCALE:g}, depth {DEPTH}, seed {SEED}")
print(f"largest |W11 - 1| or |W22 - 1| at the end: {np.abs(slope(end)).max():.1e}")
print(f"share with sigma_2 < sigma_1 / 1000: {np.mean(s[:, -1, 1] < 1e-3 * s[:, -1, 0]):.2f}")
for name, x in (("distance to the hyperbola", off), ("|W12|", np.abs(end[:, 0, 1]))):
    print(f"{name}, 10%, median, 90%:", *np.round(np.quantile(x, (0.1, 0.5, 0.9)), 4))
axes = [
    plt.figure(figsize=(5, 4), layout="constrained").add_subplot(projection="3d") for _ in range(2)
]
colours = plt.cm.ScalarMappable(plt.Normalize(1, 2), "plasma")
x, y = np.meshgrid(np.linspace(-1.6, 1.6, 81), np.linspace(-1.6, 1.6, 81))
plane = np.stack([1 + 0 * x, x, y, 1 + 0 * x], axis=-1).reshape(81, 81, 2, 2)
h = np.geomspace(0.625, 1.6, 100)
heights = (
    (W.trace(0, -2, -1) / 2, 1.0, 1 + 0 * x),
    (s[..., 1], 0.0, np.linalg.svd(plane)[1][..., 1]),
)
for axis, (height, level, surface) in zip(axes, heights, strict=True):
    points = np.stack([W[..., 0, 1], W[..., 1, 0], height], axis=-1)
    for line, ranks in zip(points, rank, strict=True):
        pieces = np.stack([line[:-1], line[1:]], axis=1)
        axis.add_collection(Line3DCollection(pieces, colors=colours.to_rgba(ranks), linewidths=1.3))
    axis.plot_surface(x, y, surface, color="0.5", alpha=0.15)
    for sign in (1, -1):
        axis.plot(sign * h, sign / h, level, "k", linewidth=2)
    for side in (axis.xaxis, axis.yaxis, axis.zaxis):
        side.set_pane_color((0.97, 0.97, 0.97, 1))
    axis.locator_params(nbins=5)
    axis.set(xlabel="$W_{12}$", ylabel="$W_{21}$")
axes[0].set(title="flow lines to the zero set", zlabel="mean of $W_{11}$, $W_{22}$")
axes[1].set(title="over the smaller singular value", zlabel=r"$\sigma_2$")
for axis in axes:
    axis.figure.colorbar(colours, ax=axis, shrink=0.6, pad=0.17, label="effective rank")
plt.show()
