r"""
Does small noise select the limit?
==================================

Given only ``W11 = W22 = 1``, do minimisers of the free energy tend to where training with small
noise ends (Menon, *The geometry of the deep linear network*, sections 6.3 and 14.2)?  There are
none without a ridge.  With ridge ``beta^(-1/2)`` the one with ``det W > 0`` tends to the identity,
and searches with ``det W < 0`` end at rank one.  Two layers conserve that sign.  At ``beta = 100``,
under noise of the gauge alone, starts with ``det W < 0`` are 0.006 from the ones at time 20
(medians, up to signs), 0.018 at 400.  Those with ``det W > 0`` have ``|W12|`` of 0.36 and 0.42,
0.51 from the identity and 0.92 from the ones: there the two do not agree.  Noise of the observable
(``kappa = 1``) leaves both: medians of ``|W12|`` reach 1.4 and 2.3.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np

from dlngeom import DeepLinearNetwork
from dlngeom.langevin import riemannian_langevin
from dlngeom.thermodynamics.landscape import local_minima

parser = argparse.ArgumentParser(description="Limits of training, and minima of the free energy")
for name, default in (("--starts", 60), ("--depth", 2), ("--seed", 0)):
    parser.add_argument(name, type=int, default=default)
parser.add_argument("--betas", type=float, nargs="+", default=[10.0, 100.0])
parser.add_argument("--scale", type=float, default=1e-2, help="standard deviation of the entries")
parser.add_argument("--slow", type=float, default=4.0, help="end of the runs, in units of beta")
parser.add_argument("--output", help="file for the figure")
arguments = parser.parse_args()
space, unit = DeepLinearNetwork((2,) * (arguments.depth + 1)), np.eye(2)
draws = np.random.default_rng(arguments.seed).standard_normal((arguments.starts, 2, 2))
starts, sides = arguments.scale * draws, np.linalg.det(draws) > 0


def run(beta, kappa, time):
    """End-to-end matrices after steps of time of 0.1."""
    steps = {"duration": time, "n_steps": round(10 * time), "save_every": round(10 * time)}
    begin, options = space.orbit_point(starts, 1), {"beta": beta, "kappa": kappa, "rng": 2}
    options["energy_gradient"] = lambda W: unit * (W - 1)
    return riemannian_langevin(space, begin, **options, **steps).observed["end_to_end"][:, -1]


def minima(beta, ridge):
    """Local minima with a ridge."""
    energy = (
        lambda W: np.sum(unit * (W - 1) ** 2 + ridge * W**2, axis=(-2, -1)) / 2,
        lambda W: unit * (W - 1) + ridge * W,
        lambda W, Z: unit * Z + ridge * Z,
    )
    return local_minima(*energy, space.widths, beta, starts=draws)


# %%
# The fast time is 20, the slow one is proportional to ``beta``.
figure, axes = plt.subplots(1, len(arguments.betas), figsize=(11, 3.9), layout="constrained")
print(f"{arguments.starts} starts of {arguments.scale:g}, depth {arguments.depth}")
print("  beta kappa   time   det W  |W12| 25%  median    75%   distance to: ones    I")
for axis, beta in zip(np.atleast_1d(axes), arguments.betas, strict=True):
    for kappa, marker in ((0.0, "o"), (1.0, "x")):
        for W, time in ((run(beta, kappa, t), t) for t in (20.0, arguments.slow * beta)):
            for side, word in ((sides, "> 0"), (~sides, "< 0")):
                quarters = np.quantile(np.abs(W[side, 0, 1]), (0.25, 0.5, 0.75))
                gaps = (np.abs(W[side]) - target for target in (np.ones((2, 2)), unit))
                ones, identity = (np.median(np.linalg.norm(x, axis=(1, 2))) for x in gaps)
                print(f"{beta:6g} {kappa:5g} {time:6g}   {word:8}", end="")
                print("".join(f"{x:8.3f}" for x in (*quarters, ones, identity)))
            name = rf"$\kappa = {kappa:g}$, $t = {time:g}$"
            axis.plot(W[:, 0, 1], W[:, 1, 0], marker, markersize=4, label=name)
    found, A = (x := minima(beta, beta**-0.5)), x.points
    axis.plot(A[:, 0, 1], A[:, 1, 0], "k*", markersize=10, label="minima")
    print(f"{beta:6g} minima, ridge {beta**-0.5:.3g}, {found.collapsed} lose rank:", end=" ")
    print("  ".join(" ".join(f"{x + 0:.3f}" for x in point.ravel().round(3)) for point in A))
    axis.set(title=rf"$\beta = {beta:g}$", xlim=(-6, 6), ylim=(-6, 6))
    axis.set(xlabel="$W_{12}$", ylabel="$W_{21}$")
    axis.legend(fontsize=7)
if arguments.output:
    figure.savefig(arguments.output, dpi=120)
