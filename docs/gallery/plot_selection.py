r"""
Does small noise select the limit?
==================================

Of a :math:`2 \times 2` matrix the energy :math:`E = \frac12 ((W_{11} - 1)^2 + (W_{22} - 1)^2)`
fixes the diagonal alone: every choice of :math:`W_{12}, W_{21}` is a minimum.  Training with a
little noise in the gauge descends instead the free energy

.. math:: F_\beta(W) = E(W) - \tfrac1\beta S(W)

with the entropy :math:`S` (:doc:`plot_free_energy_landscape`).  The idea to be tried: its
minimiser, as the noise vanishes (:math:`\beta \to \infty`), is the limit that training picks
(:cite:t:`menon2024geometry`, sections 6.3 and 14.2).

*The minimisers.*  There are none without a ridge :math:`\frac\alpha2 |W|^2`.  With :math:`\alpha =
\beta^{-1/2}` the one with :math:`\det W > 0` tends to the identity, and searches with :math:`\det W
< 0` end at rank one.  Two layers keep that sign, so there are two questions.

*The runs.*  Small Gaussian starts fit the diagonal fast, until :math:`t = 20`; then the noise moves
them slowly, over times like :math:`\beta`.  At :math:`\beta = 100`, under noise of the gauge alone
(:math:`\kappa = 0`), starts with :math:`\det W < 0` are at a distance of 0.006 from the matrix of
ones at time 20 (medians, up to signs), and of 0.018 at time 400: **there the two agree.**  Those
with :math:`\det W > 0` have :math:`|W_{12}|` of 0.36 and 0.42 and are 0.51 from the identity, 0.92
from the ones: **there they do not.**  Noise of the observable (:math:`\kappa = 1`) leaves both:
medians of :math:`|W_{12}|` reach 1.4 and 2.3.

**What it does not show.** Other ridges, for which minimisers are elsewhere, and longer times.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np

from dlngeom import DeepLinearNetwork
from dlngeom.langevin import riemannian_langevin
from dlngeom.thermodynamics.landscape import local_minima

STARTS, DEPTH, SEED = 60, 2, 0
BETAS, SCALE, SLOW = (10.0, 100.0), 0.01, 4.0  # the slow time is in units of beta
space, unit = DeepLinearNetwork((2,) * (DEPTH + 1)), np.eye(2)
# Under noise of the observable some chains wander far along the valley, where steps are coarse.
warnings.filterwarnings("ignore", "a step of .* times the largest curvature")
draws = np.random.default_rng(SEED).standard_normal((STARTS, 2, 2))
starts, sides = SCALE * draws, np.linalg.det(draws) > 0


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
# Where the runs are (circles, crosses) and the minimisers (stars).
axes = [plt.figure(figsize=(5, 3.8), layout="constrained").gca() for _ in BETAS]
print(f"{STARTS} starts of {SCALE:g}, depth {DEPTH}")
print("  beta kappa   time   det W  |W12| 25%  median    75%   distance to: ones    I")
for axis, beta in zip(axes, BETAS, strict=True):
    for kappa, marker in ((0.0, "o"), (1.0, "x")):
        for W, time in ((run(beta, kappa, t), t) for t in (20.0, SLOW * beta)):
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
    axis.set(title=rf"runs and minimisers, $\beta = {beta:g}$", xlim=(-4, 4), ylim=(-4, 4))
    axis.set(xlabel="$W_{12}$", ylabel="$W_{21}$")
    axis.legend(fontsize=7)
plt.show()
