r"""
Noise in the null directions of a nonlinear network
===================================================

A network with many weights :math:`\theta` and few outputs :math:`\phi(\theta) = (f(x_1), \dots,
f(x_k))` can be moved along the fibre of weights with the same outputs.  To first order noise in
these *null directions* changes no output.  To second order it does: with the projection
:math:`P_v = 1 - J^T (J J^T)^{-1} J` onto the null directions, :math:`J = \mathrm{d}\phi`,

.. math::

   \mathrm{d}\theta = \sqrt{2/\beta}\; P_v\, \mathrm{d}B
   \quad\Longrightarrow\quad
   \mathrm{d}\phi = \tfrac1\beta \operatorname{tr}(P_v \operatorname{Hess} \phi)\, \mathrm{d}t
   = -\tfrac1\beta\, \mathrm{d}\phi(H)\, \mathrm{d}t ,

where :math:`H` is the mean curvature of the fibre.  This is the Riemannian Langevin equation with
:math:`\kappa = 0` and no energy (:cite:t:`menon2024geometry`, sections 2, 12.1 and 13.3).  Here it
is tried on a network of one hidden layer, :math:`f(x) = \sum_j a_j \tanh(w_j x + b_j)`, known to
the library by its map alone.

**What it shows.** The noise carries the outputs along, path by path as the curvature says, with the
sign and the size of the formula.  For 88% of 200 networks with Gaussian weights the push points
against the outputs: it makes them smaller.  **What it does not show.** The fibres of this map are
no orbits of isometries: the push hangs on the weights and not on the outputs alone, paths with the
same outputs part, and there is no entropy of a function.  Nothing is trained, and the networks are
of one shape.
"""

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from dlngeom import from_map, submersion
from dlngeom.langevin import riemannian_langevin

HIDDEN, PATHS, TIME, STEPS, NETWORKS, SEED = 5, 128, 0.2, 400, 200, 0
BETA, SAVED = 2.0, 20
x = np.linspace(-2.0, 2.0, 4)
rng = np.random.default_rng(SEED)
start = tuple(rng.standard_normal((3, HIDDEN)))


def outputs(theta):
    """Values of the network at the points: that is all the library is told."""
    w, b, a = theta
    return jnp.tanh(jnp.outer(x, w) + b) @ a


space = from_map(outputs, start)
push = submersion.entropy_gradient(space, start) / BETA
run = riemannian_langevin(
    space, start, beta=BETA, kappa=0.0, duration=TIME, n_steps=STEPS,
    n_chains=PATHS, save_every=STEPS // SAVED, rng=SEED,
)  # fmt: skip

# %%
# The same by hand, for comparison: Euler's method with the projected noise, and nothing else.


def values(theta, x):
    """Compute the outputs of many networks, and their derivatives by the weights."""
    w, b, a = np.split(theta[..., None, :], 3, axis=-1)
    h = np.tanh(x[:, None] * w + b)
    return np.sum(a * h, axis=-1), np.concatenate(
        [x[:, None] * a * (1 - h * h), a * (1 - h * h), h], axis=-1
    )


theta, paths = np.tile(np.concatenate(start), (PATHS, 1)), []
for k in range(STEPS + 1):
    f, J = values(theta, x)
    if k % (STEPS // SAVED) == 0:
        paths.append(theta)
    noise = np.sqrt(2 * TIME / STEPS / BETA) * rng.standard_normal(theta.shape)
    along = np.linalg.solve(J @ J.mT, (J @ noise[..., None]))
    theta = theta + noise - (J.mT @ along)[..., 0]


# %%
# Each path has a prediction of its own, the push integrated along it.
def compare(name, paths):
    """Displacements of the outputs and their predictions; prints means with standard errors."""
    moved = values(paths[:, -1], x)[0] - values(paths[:, 0], x)[0]
    drift = [[submersion.entropy_gradient(space, tuple(np.split(p, 3))) for p in q] for q in paths]
    predicted = np.trapezoid(np.array(drift) / BETA, dx=TIME / SAVED, axis=1)
    gaps = moved, moved - predicted, moved + predicted
    means, errors = zip(*((y.mean(axis=0), y.std(axis=0) / PATHS**0.5) for y in gaps), strict=True)
    off, flipped = (m / e for m, e in zip(means[1:], errors[1:], strict=True))
    for i in range(len(x)):
        print(f"{name:9} {x[i]:5.2f} {means[0][i]:9.4f} ({errors[0][i]:.4f})", end=" ")
        print(f"{predicted.mean(axis=0)[i]:10.4f} {off[i]:11.1f} {flipped[i]:17.1f}")
    return moved, predicted


print(f"{PATHS} paths to t = {TIME:g}, {space.dim_orbit} null directions of {space.dim}")
print("by            x  moved  (error)  predicted  off, errors  off, other sign")
library = np.concatenate(run.points, axis=-1)
shown = {
    name: compare(name, q) for name, q in (("library", library), ("by hand", np.stack(paths, 1)))
}

# %%
# Networks with random weights: does the push enlarge the outputs or shrink them?
along = []
for theta in rng.standard_normal((NETWORKS, 3, HIDDEN)):
    drift, f = submersion.entropy_gradient(space, tuple(theta)), space.project(tuple(theta))
    along.append(drift @ f / np.linalg.norm(drift) / np.linalg.norm(f))
print(f"cosine of push and outputs, {NETWORKS} networks: median {np.median(along):.2f},", end=" ")
print(f"negative for {np.mean(np.array(along) < 0):.0%}")

# %%
# The inputs are pinned to first order, the rest of the function is not: paths (blue) fan out
# between the points, and at the points move together, along the arrows of the prediction.
grid, end = np.linspace(-3.0, 3.0, 200), np.stack(paths, 1)[:, -1]
plt.figure(figsize=(5, 3.6), layout="constrained")
plt.plot(grid, values(end, grid)[0].T, "C0", linewidth=0.4, alpha=0.5)
plt.plot(grid, values(np.concatenate(start), grid)[0], "k", linewidth=2.5, label="start")
plt.plot(x, values(np.concatenate(start), x)[0], "ko", markersize=7)
plt.quiver(
    x, values(np.concatenate(start), x)[0], 0 * x, push * TIME, color="C1", zorder=3,
    angles="xy", scale_units="xy", scale=0.5, width=0.015,
)  # fmt: skip
plt.title("pushed by noise that they do not see")
plt.xlabel("input $x$")
plt.ylabel("$f(x)$; arrows twice the push")
plt.legend()

# %%
# Path by path: dots on the diagonal obey the curvature of the fibres.  Their spread along it is
# real; it is the part of the push that the outputs do not know.
plt.figure(figsize=(5, 3.8), layout="constrained")
for i in range(len(x)):
    plt.plot(shown["by hand"][1][:, i], shown["by hand"][0][:, i], ".", label=f"$x = {x[i]:.2f}$")
plt.axline((0, 0), slope=1, color="k", linewidth=1)
plt.axline((0, 0), slope=-1, color="0.6", linestyle="--", linewidth=1)
plt.title("each path: moved against predicted")
plt.xlabel("predicted (dashed: the other sign)")
plt.ylabel("moved")
plt.legend(fontsize=8)
plt.show()
