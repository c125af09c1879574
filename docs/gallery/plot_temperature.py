r"""
What beta and kappa do
======================

The Riemannian Langevin equation has two temperatures, :math:`1/\beta` for the gauge and
:math:`\kappa/\beta` for what is observed. Its law downstairs is

.. math:: \exp\Big( -\frac{\beta}{\kappa} F_\beta \Big)\, \mathrm{d}\mathrm{vol}_{g^N}, \qquad
          F_\beta = E - \frac1\beta S .

Here :math:`E = \frac12 |W - I|^2` on :math:`2 \times 2` matrices of two layers, where the entropy
is :math:`S = \frac12 \log \mathrm{tr} (W^T W)^{1/2}` for :math:`\det W > 0`, up to a constant, and
the free energy has its minimum at a multiple of the identity that is known exactly: dotted lines.

**What it shows.** As :math:`\beta` grows, the minimum goes to that of the energy, and the law with
it.  :math:`\kappa` moves no minimum; it makes the law narrow around it, and at :math:`\kappa = 0`
the matrix follows the gradient flow of the free energy.  **What it does not show.** That the mean
is the minimum: the volume counts small matrices for more than Lebesgue measure does, which pulls
the law to the left as long as it is wide.
"""

import matplotlib.pyplot as plt
import numpy as np

import dlngeom
from dlngeom import DeepLinearNetwork
from dlngeom.langevin import riemannian_langevin

BETAS, KAPPAS, AT = (2.0, 8.0, 64.0), (3.0, 1.0, 0.1), 8.0
CHAINS, TIME, SEED = 128, 12.0, 0


def traces(beta, kappa):
    """Traces of end-to-end matrices along a run, without its first quarter."""
    space = DeepLinearNetwork((2, 2, 2))
    start = space.orbit_point(np.broadcast_to(np.eye(2), (CHAINS, 2, 2)), SEED)
    run = riemannian_langevin(
        space, start, energy_gradient=lambda W: W - np.eye(2), beta=beta, kappa=kappa,
        duration=TIME, n_steps="auto", save_every=10, rng=SEED,
        observe={"trace": lambda x: np.trace(dlngeom.dense(x), axis1=-2, axis2=-1)},
    )  # fmt: skip
    return run.observed["trace"][:, len(run.times) // 4 :].ravel()


def minimum(beta):
    """Trace at the minimum ``s I`` of the free energy ``(s - 1)^2 - log(2 s) / (2 beta)``."""
    return 1 + np.sqrt(1 + 1 / beta)


def panel(title, cases):
    """Histograms of the traces of some cases."""
    _, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    for (label, beta, kappa), colour in zip(cases, ("C0", "C1", "C2"), strict=False):
        found = traces(beta, kappa)
        axes.hist(
            found, 60, range=(-1, 5), density=True, histtype="step", color=colour, label=label
        )
        axes.axvline(minimum(beta), color=colour, linestyle=":")
        name = f"beta {beta:g}, kappa {kappa:g}"
        print(f"{name}: mean {found.mean():.2f}, spread {found.std():.2f},", end=" ")
        print(f"minimum of the free energy {minimum(beta):.2f}")
    axes.set(title=title, xlabel=r"$\mathrm{tr}\, W$", ylabel="density")
    axes.legend(fontsize=8)


# %%
# The weight of the energy against the entropy, and against the noise.
panel(r"$\kappa = 1$", [(rf"$\beta = {beta:g}$", beta, 1.0) for beta in BETAS])

# %%
# The noise of the observable alone.
panel(rf"$\beta = {AT:g}$", [(rf"$\kappa = {kappa:g}$", AT, kappa) for kappa in KAPPAS])
plt.show()
