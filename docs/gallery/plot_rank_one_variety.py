r"""
Paths to the rank-one variety
=============================

Matrices with ``W11 = W22 = 1`` are the zeros of the energy ``((W11 - 1)^2 + (W22 - 1)^2) / 2``, a
plane with coordinates ``(W12, W21)``.  In it the matrices of rank one are the hyperbola ``(a,
1/a)`` (Menon, *The geometry of the deep linear network*, figure 9.5, (14.1)-(14.4)).  The script
follows the gradient flow of a deep linear network to this plane from small random starts.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np
from mpl_toolkits.mplot3d.art3d import Line3DCollection

from dlngeom import DeepLinearNetwork
from dlngeom.flow import gradient_flow

parser = argparse.ArgumentParser(description="Flow lines to the rank-one variety")
parser.add_argument("--starts", type=int, default=40)
parser.add_argument("--depth", type=int, default=3)
parser.add_argument("--scale", type=float, default=0.03, help="standard deviation of the entries")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--output", help="file for the figure")
arguments = parser.parse_args()
space = DeepLinearNetwork((2,) * (arguments.depth + 1))
rng = np.random.default_rng(arguments.seed)
starts = arguments.scale * rng.standard_normal((arguments.starts, 2, 2))


def slope(W):
    """Gradient of the energy."""
    return np.eye(2) * (W - 1)


# %%
# Limits are compared with the nearest point of the hyperbola, on a grid.  The picture on the right
# has the smaller singular value as height: the grey surface is the zero set, and touches zero on
# the hyperbola (black).  Many paths end near ``a = 1`` or ``-1``, some at full rank, well off it.
t = np.concatenate([[0.0], np.geomspace(0.3, 300, 400)])
run = gradient_flow(space, starts, slope, t, rtol=1e-6)
W, s, rank = run.points, run.observed["singular_values"], run.observed["effective_rank"]
end, a = W[:, -1], np.outer([1, -1], np.geomspace(0.05, 20, 4000)).ravel()
off = np.hypot(end[:, 0, 1, None] - a, end[:, 1, 0, None] - 1 / a).min(axis=1)
print(
    f"{len(W)} starts of scale {arguments.scale:g}, depth {arguments.depth}, seed {arguments.seed}"
)
print(f"largest |W11 - 1| or |W22 - 1| at the end: {np.abs(slope(end)).max():.1e}")
print(f"share with sigma_2 < sigma_1 / 1000: {np.mean(s[:, -1, 1] < 1e-3 * s[:, -1, 0]):.2f}")
for name, x in (("distance to the hyperbola", off), ("|W12|", np.abs(end[:, 0, 1]))):
    print(f"{name}, 10%, median, 90%:", *np.round(np.quantile(x, (0.1, 0.5, 0.9)), 4))
figure = plt.figure(figsize=(11.5, 4.8))
axes = [figure.add_axes((x, 0.08, 0.4, 0.84), projection="3d", fc="none") for x in (0.0, 0.45)]
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
axes[1].set(title="the same over the smaller singular value", zlabel=r"$\sigma_2$")
figure.colorbar(colours, cax=figure.add_axes((0.93, 0.2, 0.015, 0.6)), label="effective rank")
if arguments.output:
    figure.savefig(arguments.output, dpi=120)
