r"""
Noise upstairs, descent of free energy downstairs
=================================================

If noise moves a balanced network only along its gauge orbit (:math:`\kappa = 0`), the network
wanders and its end-to-end matrix does not: in the limit of small steps it descends the free energy,

.. math:: \dot W = -\operatorname{grad} F_\beta(W), \qquad F_\beta = E - S / \beta ,

with the entropy :math:`S`, the logarithm of the volume of the orbit (:cite:t:`menon2024geometry`,
figure 9.4, (12.6), (12.7)).

**What it shows.** The distance of this shadow from the flow downstairs falls like the square root
of the step.  **What it does not show.** Other starts and energies, and wider layers.
"""

import matplotlib.pyplot as plt
import numpy as np

from dlngeom import DeepLinearNetwork, factors
from dlngeom.flow import gradient_flow
from dlngeom.langevin import riemannian_langevin
from dlngeom.thermodynamics import entropy_egrad

CHAINS, STEPS, SEED = 100, (32, 128, 512, 2048), 0
space, beta, duration = DeepLinearNetwork((2, 2, 2)), 2.0, 4.0
start = space.random_point(SEED)
angle = np.linspace(0, 2 * np.pi, 101)
turns = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]).T


def slope(W):
    """Gradient of the energy ``|W - target|^2 / 2`` in the entries of the matrix."""
    return W - np.array([[1.0, 0.4], [-0.6, 0.3]])


def join(layers):
    """Coordinates ``(..., 8)`` of layers."""
    return np.concatenate(layers, axis=-1).reshape(*layers[0].shape[:-2], 8)


# %%
# A path upstairs (coloured by time) and the orbits that it meets (grey); the singular values of its
# shadow (coloured) and of the flow (dashed); their distance, the largest over time.
print("steps  distance to the flow (r.m.s.)  times sqrt(steps)")
t, shapes = np.linspace(0, duration, 33), ("3d", None, None)
axes = [
    plt.figure(figsize=(4.8, 4), layout="constrained").add_subplot(projection=shape)
    for shape in shapes
]
W, distances = space.project(start), []
W = gradient_flow(space, W, lambda W: slope(W) - entropy_egrad(W, space.widths) / beta, t)
for n in STEPS:
    run = riemannian_langevin(
        space, start, energy_gradient=slope, beta=beta, kappa=0.0, duration=duration,
        n_steps=n, n_chains=CHAINS, rng=SEED,
    )  # fmt: skip
    off = run.observed["end_to_end"][:, :: n // 32] - W.points
    distances.append(np.mean(np.max(np.sum(off**2, axis=(2, 3)), axis=1)) ** 0.5)
    print(f"{n:5d} {distances[-1]:20.4f} {distances[-1] * n**0.5:26.3f}")
    if n == STEPS[1]:
        s = np.linalg.svd(run.observed["end_to_end"][:4])[1]
        axes[1].plot(run.times, s[..., 0].T, "C0", run.times, s[..., 1].T, "C1", linewidth=0.8)
first, second = (x[0] for x in factors(run.points))
circles = [join([turns @ first[k], second[k] @ turns.mT]) for k in range(0, n + 1, n // 8)]
main, path = np.linalg.svd(np.concatenate(circles))[2][:3].T, join([first, second])
for k, circle in enumerate(circles):
    axes[0].plot(*(circle @ main).T, color="0.75", linewidth=1)
    piece = path[k * n // 8 : (k + 1) * n // 8 + 1] @ main
    axes[0].plot(*piece.T, color=plt.cm.viridis(k / 8), linewidth=1.5)
for side in (axes[0].xaxis, axes[0].yaxis, axes[0].zaxis):
    side.set_pane_color((0.97, 0.97, 0.97, 1))
axes[0].locator_params(nbins=5)
axes[0].set(title="a path upstairs and orbits", xlabel="axis 1", ylabel="axis 2", zlabel="axis 3")
axes[1].plot(t, W.observed["singular_values"][0], "k--", linewidth=2)
axes[1].set(title=f"shadow, {STEPS[1]} steps", xlabel="t", ylabel="singular values")
axes[2].loglog(STEPS, distances, "o-", base=2)
axes[2].set(title="shadow less flow", xlabel="steps", ylabel="distance, r.m.s.")
plt.show()
