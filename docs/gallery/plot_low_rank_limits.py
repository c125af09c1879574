r"""
Where small random starts end
=============================

Of a :math:`2 \times 2` matrix only the diagonal is given, and the energy is

.. math:: E(W) = \tfrac12 \big( (W_{11} - 1)^2 + (W_{22} - 1)^2 \big) .

It vanishes for every choice of :math:`W_{12}` and :math:`W_{21}`.  Which one does the gradient flow
of a deep linear network pick from small Gaussian starts, and is it of rank one,
:math:`W_{12} = a, \; W_{21} = 1/a` (:cite:t:`menon2024geometry`, section 14.1)?

No limit is *exactly* of rank one, and the share that counts as such hangs on the cut: of 200 limits
at infinite depth from starts of 0.01, 22% have :math:`\sigma_2 < 10^{-3} \sigma_1` and 92% have
:math:`\sigma_2 < 10^{-2} \sigma_1`.  What does not hang on a cut is how the median of
:math:`\sigma_2/\sigma_1` falls with the size of the start:

==================  =========  =========  =========
starts of           0.1        0.01       0.001
==================  =========  =========  =========
depth 3             0.012      0.00093    0.000087
depth 4             0.015      0.0014     0.00014
infinite depth      0.018      0.0020     0.00020
==================  =========  =========  =========

In proportion: from deep networks rank one is the limit of vanishing starts.  At depth two it is for
half of them.  Two layers keep the sign of :math:`\det W`: where it is negative,
:math:`\sigma_2/\sigma_1` falls like the square of the start (medians of 0.00055, 0.0000055 and
0.000000055); where it is positive its median is 0.45 for starts of every size.  All 105 limits that
pass the cut of :math:`10^{-3}` at starts of 0.01 have :math:`\det W < 0`.

For starts of a special form :cite:t:`shin2026implicit` prove that networks of depth three and more
converge to rank one unless they start from a diagonal matrix.

**What it shows.** Limits from Gaussian starts, and how near to rank one they are; the numbers above
are those of ``--starts 200 --scales 0.1 0.01 0.001``, the table below is of fewer starts.  **What
it does not show.** A proof, or larger matrices.
"""

import matplotlib.pyplot as plt
import numpy as np

from dlngeom import DeepLinearNetwork, InfinitelyDeepNetwork
from dlngeom.flow import gradient_flow

STARTS, SCALES, TIME, SEED = 100, (0.1, 0.01), 3e3, 0
depths = (2, 3, 4, np.inf)
draws = np.random.default_rng(SEED).standard_normal((STARTS, 2, 2))
positive = np.linalg.det(draws) > 0


def energy_gradient(W):
    """Differentiate the energy."""
    return np.eye(2) * (W - 1)


def converged(t, W):
    """Stop the flow where this is zero."""
    return np.max(np.abs(energy_gradient(W))) - 1e-8


converged.terminal = True


def limits(depth, scale):
    """End points of the flow, ``(start, 2, 2)``; those that have not converged are NaN."""
    deep = depth == np.inf
    space = InfinitelyDeepNetwork(2) if deep else DeepLinearNetwork((2,) * (depth + 1))
    options = {"rtol": 1e-8, "events": converged, "observe": {}}
    if deep:  # Without the bound on speeds that layers give, the flow is stiff.
        options |= {"rtol": 1e-6, "method": "BDF"}
    run = gradient_flow(space, scale * draws, energy_gradient, [0, TIME / scale**0.5], **options)
    times, points = run.events[0]
    W = points[:, -1] if len(times) else run.points[:, -1]
    error = np.max(np.abs(energy_gradient(W)), axis=(1, 2), keepdims=True)
    return np.where(error < 1e-6, W, np.nan)


# %%
# Medians over all starts, and over those of either sign of the determinant.
found, ratios = {}, {}
print(
    "depth   start  converged  median s2/s1   det > 0   det < 0   below 1e-3   1e-2   |a| 5%   95%"
)
for depth in depths:
    for scale in SCALES:
        W = found[depth, scale] = limits(depth, scale)
        ends = np.isfinite(W[:, 0, 0])
        s = np.linalg.svd(np.where(np.isfinite(W), W, 1.0), compute_uv=False)
        x = ratios[depth, scale] = np.where(ends, s[:, 1] / s[:, 0], np.nan)
        middle = (np.nanmedian(x[side]) for side in (positive | ~positive, positive, ~positive))
        print(
            f"{depth:5} {scale:7g} {np.mean(ends):10.2f}  ", *(f"{y:10.2g}" for y in middle), end=""
        )
        print(f"{np.mean(x < 1e-3):11.0%}   {np.mean(x < 1e-2):5.0%}", end="")
        print("".join(f"{y:8.3f}" for y in np.nanquantile(np.abs(W[x < 1e-2, 0, 1]), (0.05, 0.95))))

# %%
# Limits at depth three from the smallest starts.  The hyperbola (grey) is the variety of rank one.
W, x = found[3, SCALES[-1]], ratios[3, SCALES[-1]]
plt.figure(figsize=(4.8, 3.8), layout="constrained")
for sign in (1, -1):
    b = sign * np.geomspace(0.3, 3, 200)
    plt.plot(b, 1 / b, color="0.7", linewidth=3, zorder=0)
plt.scatter(W[:, 0, 1], W[:, 1, 0], s=22, c=np.log10(x), vmin=-4, vmax=0, cmap="plasma")
plt.colorbar(label=r"$\log_{10}\, \sigma_2/\sigma_1$")
plt.gca().set(title="limits near rank one", xlim=(-2.5, 2.5), ylim=(-2.5, 2.5))
plt.gca().set(xlabel="$W_{12}$", ylabel="$W_{21}$", aspect="equal")

# %%
# The share that counts as rank one, for every cut: a step would be a clear answer.
plt.figure(figsize=(4.8, 3.6), layout="constrained")
for k, depth in enumerate(depths):
    for scale, style in zip(SCALES, ("--", "-", ":"), strict=False):
        name = r"\infty" if depth == np.inf else depth
        label = f"$N = {name}$, starts of {scale:g}"
        plt.ecdf(np.nan_to_num(ratios[depth, scale], nan=1.0), color=f"C{k}", ls=style, label=label)
plt.gca().set(xscale="log", xlim=(1e-6, 1), xlabel=r"cut of $\sigma_2/\sigma_1$", ylabel="share")
plt.title("what counts as rank one")
plt.legend(fontsize=7)
plt.show()
