r"""
The landscape of the free energy
================================

A deep linear network with noise in its gauge descends a *free energy* (:doc:`plot_submersion`),

.. math::

   F_\beta(W) = E(W) - \tfrac1\beta S(W), \qquad
   E(W) = \tfrac12 \big( (W_{11} - 1)^2 + (W_{22} - 1)^2 \big) ,

where :math:`\beta` is an inverse temperature and the entropy :math:`S(W)` the logarithm of the
volume of all balanced networks whose product is :math:`W`.  Of a :math:`2 \times 2` matrix the
energy sees only the diagonal; does the entropy settle the rest, that is, has :math:`F_\beta` a
minimum (:cite:t:`menon2024geometry`, section 14.2)?

**No, without help.**  For two or more layers take :math:`W_{12} = x = -W_{21}` and a unit diagonal.
There :math:`E = 0` and the entropy is :math:`\tfrac12 (1 - \tfrac1N) \log(1 + x^2)` plus a
constant: it grows without bound, so :math:`F_\beta` has no lower bound.  Every critical point is a
saddle.  All 40 searches below run away, slowly, and the critical points found at :math:`\beta = 10`
have index one (one direction downhill).

**With a ridge** :math:`\tfrac\alpha2 |W|^2` there are minima.  The lowest have :math:`W_{12} = x =
-W_{21}` and a unit diagonal, with

.. math:: x^2 = \frac{1 - 1/N}{2 \alpha \beta} - 1 ,

as long as this is positive; at :math:`\alpha\beta = \tfrac12 (1 - \tfrac1N)` the two of them
(:math:`\pm x`) merge into a multiple of the identity, which tends to :math:`I/(1 + \alpha)` as
:math:`\beta` grows.  With :math:`\det W < 0` there is a second pair, which tends to rank one.

**What it shows.** The minima that 40 searches find at each temperature.  **What it does not show.**
Minima that no start leads to.
"""

import matplotlib.pyplot as plt
import numpy as np

from dlngeom.thermodynamics import entropy
from dlngeom.thermodynamics.landscape import critical_points, local_minima

STARTS, BETAS, RIDGE, SEED = 40, 13, 0.1, 0  # searches, and temperatures from 1 to 1000
unit, x = np.eye(2), np.linspace(-3, 3, 201)
starts = 2 * np.random.default_rng(SEED).standard_normal((STARTS, 2, 2))
square = np.stack(np.broadcast_arrays(1.0, x, x[:, None], 1.0), axis=-1).reshape(-1, 2, 2)


def search(function, depth, beta, ridge):
    """Minima or critical points of ``E + ridge / 2 |W|^2 - S / beta``."""
    energy = (
        lambda W: np.sum(unit * (W - 1) ** 2 + ridge * W**2, axis=(-2, -1)) / 2,
        lambda W: unit * (W - 1) + ridge * W,
        lambda W, Z: unit * Z + ridge * Z,
    )
    return function(*energy, *networks[depth][:1], beta, starts=starts, **networks[depth][1])


# %%
# Each row of the table has a minimum with :math:`\det W > 0` and one with :math:`\det W < 0`; the
# rate is the smallest eigenvalue of the Hessian.  Curves are levels of the entropy where the energy
# vanishes: minima (red for :math:`\det W > 0`, blue for :math:`\det W < 0`) move inwards as it
# cools.
networks = {2: ((2, 2, 2), {}), 3: ((2, 2, 2, 2), {}), np.inf: ((2, 2), {"depth": np.inf})}
axes = [plt.figure(figsize=(4.8, 4), layout="constrained").gca() for _ in range(4)]
print("depth   beta   W11   |W12|  rate      W11   |W12|  rate    lost rank   of", STARTS)
for k, (depth, (widths, options)) in enumerate(networks.items()):
    low, saddles = (search(f, depth, 10.0, 0.0) for f in (local_minima, critical_points))
    print(f"{depth:5}  no ridge: {len(low.points)} minima, {low.escaped} escaped,", end=" ")
    print(f"{len(saddles.points)} critical points of index", *np.unique(saddles.indices))
    top, bottom, name = axes[k], axes[3], ("2", "3", r"\infty")[k]
    top.contour(x, x, entropy(square, widths, **options).reshape(201, 201), 20, linewidths=0.7)
    for i, beta in enumerate(np.geomspace(1, 1000, BETAS)):
        found, line = search(local_minima, depth, beta, RIDGE), f"{depth:5} {beta:6.0f}"
        for colour, sign in (("tab:red", 1), ("tab:blue", -1)):
            side = np.linalg.det(found.points) * sign > 0
            W, rates = found.points[side], found.eigenvalues[side, 0]
            top.plot(W[:, 0, 1], W[:, 1, 0], "o", color=colour, markersize=4)
            bottom.plot([beta] * len(W), np.abs(W[:, 0, 1]), "os^"[k], color=colour, markersize=4)
            cells = (W[0, 0, 0], abs(W[0, 0, 1]), rates[0]) if len(W) else ()
            line += "".join(f"{c:7.4f}" for c in cells) + "   " if cells else 24 * " "
        if i % 4 == 0:
            print(line, f"{found.collapsed:7d}")
    top.set(title=f"entropy and minima, $N = {name}$", aspect="equal")
    top.set(xlabel="$W_{12}$", ylabel="$W_{21}$")
axes[3].set(title=r"minima; circles $N = 2$, squares 3, triangles $\infty$", xscale="log")
axes[3].set(xlabel=r"inverse temperature $\beta$", ylabel="$|W_{12}|$")
plt.show()
