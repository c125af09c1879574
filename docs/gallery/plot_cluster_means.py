r"""
Mean covariances at several depths
==================================

Each image of a digit 0, 1 or 7 is summarised by the covariance of the coordinates of its pixels,
weighted by their ink.  At every depth the deep linear network gives such matrices a distance and a
mean: at depth one the arithmetic mean, at two the barycentre of Wasserstein.  A new image goes to
the class of the nearest mean.  The right share rises from 0.840 at depth one to 0.870 at four: of
300 images 15 are gained and 6 lost, a hint only (p = 0.08, McNemar).  The covariances lose much:
class means of all pixels reach 0.987.  Depth moves the means little, determinants by 1 to 4%.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np
from geomstats.geometry.spd_matrices import SPDMatrices
from geomstats.learning.frechet_mean import FrechetMean
from sklearn.datasets import load_digits

from dlngeom.geomstats import DeepLinearMetric

parser = argparse.ArgumentParser(description="Nearest class mean of digits at several depths")
parser.add_argument("--train", type=int, default=40, help="images of each class for the means")
parser.add_argument("--test", type=int, default=100, help="images of each class to classify")
parser.add_argument("--output", help="file for the figure")
arguments = parser.parse_args()
CLASSES = (0, 1, 7)


def covariances(images):
    """Second moments of the ink about its centre, in pixels, ``(image, 2, 2)``."""
    pixels = np.stack(np.meshgrid(np.arange(8.0), np.arange(8.0, 0.0, -1.0))).reshape(2, 64)
    ink = images.reshape(-1, 1, 64) / np.sum(images, axis=-1)[:, None, None]
    offsets = pixels - np.sum(pixels * ink, axis=-1, keepdims=True)
    return (ink * offsets) @ offsets.mT


def class_mean(space, points):
    """Mean by gradient descent from the arithmetic mean."""
    start = np.mean(points, axis=0)
    return FrechetMean(space).set(init_point=start, epsilon=1e-10).fit(points).estimate_


# %%
# Depths share the new images: "gains" are right here and wrong at depth one, "losses" the reverse.
images, target = load_digits(return_X_y=True)
rows = [np.flatnonzero(target == k) for k in CLASSES]
first = np.concatenate([i[: arguments.train] for i in rows])
last = np.concatenate([i[-arguments.test :] for i in rows])
known, new, depths = covariances(images[first]), covariances(images[last]), (1, 2, 3, 4)
means, right = [], []
print(f"digits {CLASSES}, {arguments.train} + {arguments.test} images of each")
print("depth  accuracy  gains  losses   det of the mean of each class")
for depth in depths:
    space = SPDMatrices(2, equip=False)
    space.equip_with_metric(DeepLinearMetric, depth=depth)
    means.append([class_mean(space, known[target[first] == k]) for k in CLASSES])
    nearest = np.argmin([space.metric.squared_dist(S, new) for S in means[-1]], axis=0)
    right.append(np.array(CLASSES)[nearest] == target[last])
    gains, losses = np.sum(right[-1] & ~right[0]), np.sum(right[0] & ~right[-1])
    print(f"{depth:5} {np.mean(right[-1]):9.3f} {gains:6} {losses:7}  ", end="")
    print(*(f"{np.linalg.det(S):8.4f}" for S in means[-1]))
figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
circle = np.stack([f(np.linspace(0, 2 * np.pi, 200)) for f in (np.cos, np.sin)])
sizes = np.linalg.det(np.array(means))
for i, k in enumerate(CLASSES):
    for S in known[target[first] == k][:20]:
        axes[0].plot(*np.linalg.cholesky(S) @ circle, f"C{i}", linewidth=0.5, alpha=0.3)
    axes[0].plot(*np.linalg.cholesky(means[-1][i]) @ circle, f"C{i}", linewidth=2.5, label=k)
    axes[1].plot(depths, sizes[:, i] / sizes[0, i], f"C{i}o-", label=k)
axes[0].set(title="images and means, $N = 4$", xlabel="x, in pixels", ylabel="y", aspect="equal")
axes[0].legend(title="digit", loc="center")
axes[1].set(title="determinants of means over those at $N = 1$", xlabel="depth $N$", xticks=depths)
rate = np.mean(right, axis=1)
axes[2].errorbar(depths, rate, np.sqrt(rate * (1 - rate) / len(new)), fmt="ko-", capsize=4)
axes[2].set(title="right share of the new images", xlabel="depth $N$", xticks=depths)
if arguments.output:
    figure.savefig(arguments.output, dpi=120)
