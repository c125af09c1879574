r"""
The orbits above a curve of matrices
====================================

All balanced networks over one invertible matrix are an orbit of the gauge group.  For two layers
of width two the group is ``O_2`` and the orbit ``(Q W_1, W_2 Q^T)`` two circles, one for each sign
of ``det Q``; their length is the exponential of the entropy (Menon, *The geometry of the deep
linear network*, figure 9.2 and Theorem 10).  This script slices the balanced manifold along curves
of end-to-end matrices, and measures the orbits above them.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np

import dlngeom
from dlngeom import DeepLinearNetwork, geodesics
from dlngeom.thermodynamics import entropy

parser = argparse.ArgumentParser(description="Gauge orbits of two layers of width two")
parser.add_argument("--slices", type=int, default=13, help="orbits on each curve")
parser.add_argument("--points", type=int, default=2000, help="points on each circle")
parser.add_argument("--output", help="file for the figure")
arguments = parser.parse_args()
space = DeepLinearNetwork((2, 2, 2))
angle = np.linspace(0, 2 * np.pi, arguments.points + 1)
turns = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
turns = np.moveaxis(turns, -1, 0)


def orbit(W_1, W_2):
    """Coordinates ``(sign of det Q, point, 8)`` of the two circles through a network."""
    Q = np.stack([turns, turns * [1, -1]])
    return np.concatenate([Q @ W_1, W_2 @ Q.swapaxes(-1, -2)], axis=-1).reshape(2, -1, 8)


def length(curve):
    """Length of a closed curve by its chords, extrapolated to zero spacing."""
    fine, coarse = (np.linalg.norm(np.diff(curve[:, ::k], axis=1), axis=-1).sum() for k in (1, 2))
    return (4 * fine - coarse) / 3


def draw(axis, curves, S):
    """Draw closed curves in three dimensions, coloured by entropy."""
    for curve, value in zip(curves, (S - S.min()) / np.ptp(S), strict=True):
        axis.plot(*curve.T, color=plt.cm.viridis(0.9 * value), linewidth=1.5)
    for side in (axis.xaxis, axis.yaxis, axis.zaxis):
        side.set_pane_color((0.97, 0.97, 0.97, 1))


# %%
# First a horizontal geodesic, which crosses the orbits at right angles; of each one circle is
# drawn, in the three principal axes of all points.  Then ``W = diag(1, t)``, balanced networks with
# entries ``1`` and ``sqrt(t)``: both circles are drawn, and become one at ``t = 0``.
start = dlngeom.frames([np.array([[1.0, 0.3], [-0.2, 0.5]])] * 2) if False else space.random_point(4)
velocity = space.codifferential(start, np.array([[1.0, 0.4], [-0.3, -0.6]]))
t = np.linspace(0, 1.0, arguments.slices)
path = [dlngeom.factors(geodesics.exp(space, start, tuple(s * x for x in velocity), upstairs=True)) for s in t]
circles = np.array([orbit(*x) for x in path])
S = entropy(np.array([np.linalg.svd(x[1] @ x[0])[1] for x in path]), space.widths)
figure = plt.figure(figsize=(12, 4.3))
axis = figure.add_subplot(131, projection="3d")
_, s, axes = np.linalg.svd(circles[:, 0].reshape(-1, 8), full_matrices=False)
print(s)
draw(axis, circles[:, 0] @ axes[:3].T, S)
print(np.exp(S), [length(x) for x in circles])
axis.plot(*(circles[:, 0, 0] @ axes[:3].T).T, "k.-")
axis = figure.add_subplot(132, projection="3d")
t = np.linspace(0, 1, arguments.slices)**2
path = [(np.diag([1, x**0.5]), np.diag([1, x**0.5])) for x in t]
circles = np.array([orbit(*x) for x in path])
S = entropy(np.stack([t**0+1e-9, t+1e-9],-1), space.widths)
print(np.exp(S), [length(x) for x in circles])
for k in (0,1):
    draw(axis, circles[:, k][..., [0,4,5]], S)
figure.savefig(arguments.output, dpi=120)
