r"""
The orbits above a curve of matrices
====================================

All balanced networks over one invertible matrix are an orbit of the gauge group.  For two layers of
width two the group is :math:`O_2` and the orbit consists of two circles,

.. math:: (Q W_1,\; W_2 Q^T), \qquad \det Q = 1 \text{ or } \det Q = -1 ,

whose length is the exponential of the entropy of :math:`W = W_2 W_1`
(:cite:t:`menon2024geometry`, figure 9.2, Theorem 10).

**What it shows.** Orbits along two curves of matrices, and that their lengths, measured by chords,
agree with the formula.  **What it does not show.** Wider networks, whose orbits are no curves.
"""

import matplotlib.pyplot as plt
import numpy as np

import dlngeom
from dlngeom import DeepLinearNetwork, geodesics, network
from dlngeom.thermodynamics import entropy

SLICES, POINTS, SEED = 13, 4000, 0  # orbits on each curve, chords of each circle
angle = np.linspace(0, 2 * np.pi, POINTS + 1)
turns = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def orbit(W_1, W_2):
    """Circles ``(network, sign of det Q, point, 8)`` through networks."""
    Q = np.moveaxis([turns, turns * [[[1]], [[-1]]]], -1, 1)
    first, second = Q @ W_1[:, None, None], W_2[:, None, None] @ Q.mT
    return np.concatenate([first, second], axis=-1).reshape(*first.shape[:3], 8)


def measure(name, layers):
    """Orbits along a curve of networks and the exponential of their entropy; prints lengths."""
    orbits = orbit(*layers)
    volume = np.exp(entropy(network.end_to_end(layers), (2, 2, 2)))
    lengths = np.linalg.norm(np.diff(orbits, axis=2), axis=-1).sum(axis=(1, 2))
    values, error = (*volume[[0, -1]], *lengths[[0, -1]]), np.abs(lengths / volume - 1).max()
    print(name, " ".join(f"{x:12.7f}" for x in values), f"{error:18.1e}")
    return orbits, volume


def draw(axis, curves, volume):
    """Draw closed curves in three dimensions, coloured by the volume of their orbit."""
    for curve, shade in zip(curves, colours.to_rgba(volume), strict=True):
        axis.plot(*curve.T, color=shade, linewidth=1.8)
    for side in (axis.xaxis, axis.yaxis, axis.zaxis):
        side.set_pane_color((0.97, 0.97, 0.97, 1))


# %%
# Above a horizontal geodesic (black, at right angles to the orbits) one circle of each is drawn, in
# principal axes.  Over the line :math:`\operatorname{diag}(1, t)` both are; they become one where
# the rank falls.
t, space = np.linspace(0, 1, SLICES), DeepLinearNetwork((2, 2, 2))
W, X = np.random.default_rng(SEED).standard_normal((2, 2, 2))
start = dlngeom.frames([W, W.T])
lifted = geodesics.geodesic(space, start, space.codifferential(start, X), t, upstairs=True)
line = np.array([np.diag([1, s]) for s in np.maximum(t, 1e-4)]) ** 0.5
print("curve    exp(entropy): first, last      chords: first, last    relative difference")
orbits, volume = measure("geodesic", dlngeom.factors(lifted))
others, volumes = measure("line    ", [line] * 2)
colours = plt.cm.ScalarMappable(plt.Normalize(8, 26), "viridis")
axes = [
    plt.figure(figsize=(5, 4), layout="constrained").add_subplot(projection="3d") for _ in range(2)
]
main = np.linalg.svd(orbits[:, 0].reshape(-1, 8), full_matrices=False)[2][:3].T
draw(axes[0], orbits[:, 0] @ main, volume)
axes[0].plot(*(orbits[:, 0, 0] @ main).T, "k.-")
axes[0].set(title="above a geodesic", xlabel="axis 1", ylabel="axis 2", zlabel="axis 3")
for k in range(2):
    draw(axes[1], others[:, k][..., [0, 4, 5]], volumes)
    axes[k].locator_params(nbins=5)
axes[1].set(title="above diag(1, t)", xlabel="$W_{1,11}$", ylabel="$W_{1,21}$", zlabel="$W_{1,22}$")
for axis in axes:
    axis.figure.colorbar(colours, ax=axis, shrink=0.6, pad=0.17, label="length of the orbit")
plt.show()
