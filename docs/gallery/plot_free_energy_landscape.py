r"""
The landscape of the free energy
================================

Has ``F = E - S / beta`` a minimum, if ``E = ((W11 - 1)^2 + (W22 - 1)^2) / 2``?  (Menon, *The
geometry of the deep linear network*, section 14.2.)  With two or more layers, no: where ``W12 = x
= -W21`` the entropy is ``(1 - 1/N) log(1 + x^2) / 2`` and a constant, so ``F`` has no lower bound,
and every critical point is a saddle, since ``S`` is convex where off-diagonal entries turn ``W``.
The flow of ``F`` escapes slowly: along that line ``s^(2/N)`` grows, in the end, at the rate ``(1 -
1/N) / beta`` (at infinite depth ``2 log s`` at ``1 / beta``).  All 40 searches escape, and the
critical points found at ``beta = 10`` have index one.

A ridge ``alpha |W|^2 / 2`` makes minima.  The lowest are ``W12 = -W21 = x`` with a unit diagonal
and ``x^2 = (1 - 1/N) / (2 alpha beta) - 1``; they merge at ``alpha beta = (1 - 1/N) / 2`` into a
multiple of the identity, which tends to ``I / (1 + alpha)``.  With ``det W < 0`` there is a second
pair, which tends to rank one.  At ``N = 2`` and ``beta >= 10`` it is of rank one: 25 searches end
there.  Of minima that no start leads to this says nothing.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np

from dlngeom.thermodynamics import entropy
from dlngeom.thermodynamics.landscape import critical_points, local_minima

parser = argparse.ArgumentParser(description="Minima of the free energy of a 2 x 2 matrix")
parser.add_argument("--starts", type=int, default=40, help="searches at each temperature")
parser.add_argument("--betas", type=int, default=13, help="inverse temperatures, from 1 to 1000")
parser.add_argument("--ridge", type=float, default=0.1)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--output", help="file for the figure")
arguments = parser.parse_args()
unit, x = np.eye(2), np.linspace(-3, 3, 201)
starts = 2 * np.random.default_rng(arguments.seed).standard_normal((arguments.starts, 2, 2))
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
# Each row of the table has a minimum with ``det W > 0`` and one with ``det W < 0``; the rate is the
# smallest eigenvalue of the Hessian.
networks = {2: ((2, 2, 2), {}), 3: ((2, 2, 2, 2), {}), np.inf: ((2, 2), {"depth": np.inf})}
figure, axes = plt.subplots(2, 3, figsize=(10.5, 6.6), layout="constrained")
print("depth   beta   W11   |W12|  rate      W11   |W12|  rate    lost rank   of", arguments.starts)
for k, (depth, (widths, options)) in enumerate(networks.items()):
    low, saddles = (search(f, depth, 10.0, 0.0) for f in (local_minima, critical_points))
    print(f"{depth:5}  no ridge: {len(low.points)} minima, {low.escaped} escaped,", end=" ")
    print(f"{len(saddles.points)} critical points of index", *np.unique(saddles.indices))
    (top, bottom), name = axes[:, k], ("2", "3", r"\infty")[k]
    top.contour(x, x, entropy(square, widths, **options).reshape(201, 201), 20, linewidths=0.7)
    for i, beta in enumerate(np.geomspace(1, 1000, arguments.betas)):
        found, line = search(local_minima, depth, beta, arguments.ridge), f"{depth:5} {beta:6.0f}"
        for colour, sign in (("tab:red", 1), ("tab:blue", -1)):
            side = np.linalg.det(found.points) * sign > 0
            W, rates = found.points[side], found.eigenvalues[side, 0]
            top.plot(W[:, 0, 1], W[:, 1, 0], "o", color=colour, markersize=4)
            bottom.plot([beta] * len(W), np.abs(W[:, 0, 1]), "o", color=colour, markersize=4)
            cells = (W[0, 0, 0], abs(W[0, 0, 1]), rates[0]) if len(W) else ()
            line += "".join(f"{c:7.4f}" for c in cells) + "   " if cells else 24 * " "
        if i % 4 == 0:
            print(line, f"{found.collapsed:7d}")
    top.set(title=f"$S$ if $E = 0$, and minima, $N = {name}$", xlabel="$W_{12}$", aspect="equal")
    bottom.set(title=f"minima, ridge {arguments.ridge:g}", xscale="log", xlabel=r"$\beta$")
axes[0, 0].set_ylabel("$W_{21}$")
axes[1, 0].set_ylabel(r"$|W_{12}|$; red: $\det W > 0$")
if arguments.output:
    figure.savefig(arguments.output, dpi=120)
