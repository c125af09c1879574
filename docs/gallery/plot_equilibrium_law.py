r"""
The semicircle law of the deep linear network
=============================================

At inverse temperature :math:`\beta` in the energy :math:`\frac12 \operatorname{tr} W^T W`, what are
the singular values of a large matrix?  For one layer it is Gaussian, and they fill a quarter
circle. Deeper, the volume of :math:`g^N` and the entropy repel the values :math:`\sigma_k =
\lambda_k^N` twice, as (:cite:t:`menon2024geometry`, section 14.3, with :math:`\kappa = 1`)

.. math:: |\lambda_k^2 - \lambda_l^2|^{1/2} \quad\text{and}\quad |\sigma_k^2 - \sigma_l^2|^{1/2} .

Samples of the exact equilibrium law are compared with the measure that minimises the functional of
large :math:`d`, in units of :math:`\sqrt{d/\beta}`.  It has a closed form, from the law of Fuss and
Catalan for :math:`(N \sigma^2)^{1/N}`: it ends at :math:`(1 + 1/N)^{(N+1)/2}` and behaves like
:math:`\sigma^{-(N-1)/(N+1)}` near zero.  At infinite depth the smallest value runs to zero and has
no equilibrium; the others have one, with edge :math:`\sqrt{e}`.

**What it shows.** The sup distance of samples and minimiser falls nearly like :math:`1/d`: times
:math:`d` it is 0.2 to 0.7 at :math:`d = 10` and 0.3 to 0.8 at 100; with ``--widths 1000 --chains 4
--draws 25 --warm 30`` it is 0.4 to 1.2, partly the noise of ten effective draws.  **What it does
not show.** Finer corrections, which are beyond these chains.
"""

import matplotlib.pyplot as plt
import numpy as np

from dlngeom.thermodynamics import equilibrium

WIDTHS, CHAINS, DRAWS, WARM, SEED = (10, 30, 100), 4, 50, 40, 0


def draw(d, depth):
    """Draw at ``beta = d``, with the effective size of the virial."""
    if depth == 1:
        rng, size = np.random.default_rng(SEED), CHAINS * DRAWS
        noise = (rng.standard_normal((d, d)) / d**0.5 for _ in range(size))
        return np.array([np.linalg.svd(W, compute_uv=False) for W in noise]), size
    counts = {"n_chains": CHAINS, "n_draws": DRAWS, "n_warm": WARM}
    run = equilibrium.sample(d, depth, beta=d, rng=SEED, **counts)
    return run.sigma.reshape(-1, d), run.effective["virial"]


def distance(s, law):
    """Largest distance between the mean distribution function of the samples and a law."""
    s, steps = np.sort(s, axis=None), np.arange(s.size) / s.size
    return np.max(np.abs(law.cdf(s) - steps)[s > 0])


# %%
# One layer is sampled as Gaussian matrices, the others by Markov chains.  The mean of
# :math:`\operatorname{tr} W^T W` is known exactly, and a z-score measures the chains against it.
points = np.linspace(1e-3, 2.1, 4000)
axes = [plt.figure(figsize=(4.8, 3.6), layout="constrained").gca() for _ in range(2)]
print("depth    d  sup distance  times d   z of tr W^T W   effective draws")
for depth, colour in ((1, "C0"), (2, "C1"), (3, "C2"), (np.inf, "C3")):
    law, minimiser, falls = equilibrium.ClosedLaw(depth), equilibrium.limit_law(depth), []
    for d in WIDTHS:
        s, effective = draw(d, depth)
        excess = np.sum(s**2, axis=-1) - equilibrium.mean_virial(d, depth, d)
        z = excess.mean() / excess.std() * effective**0.5
        falls.append(distance(s, minimiser))
        print(f"{depth:5} {d:4} {falls[-1]:13.5f} {d * falls[-1]:8.2f} {z:15.1f} {effective:17.0f}")
    error = np.max(np.abs(minimiser.cdf(points) - law.cdf(points)))
    print(f"{depth:5} minimiser against closed law {error:.1e}, edge {minimiser.edge:.4f}", end=" ")
    print(f"({law.edge:.4f}), exponent at zero {equilibrium.hard_edge_exponent(depth):.3f}")
    axes[0].hist(s.ravel(), 60, range=(0, 2.1), density=True, color=colour, alpha=0.35)
    axes[0].plot(points, minimiser.density(points), color=colour, linewidth=2, zorder=3)
    name = r"depth $\infty$" if depth == np.inf else f"depth {depth:g}"
    axes[1].loglog(WIDTHS, falls, "o-", color=colour, label=name)
axes[0].set(title=f"samples at $d = {d}$ and their laws", xlabel=r"$\sigma\sqrt{\beta/d}$")
axes[0].set(ylim=(0, 1.6), ylabel="density")
axes[1].set(title="distance of the two laws", xlabel="width $d$", ylabel="sup distance")
axes[1].legend(fontsize=8)
plt.show()
