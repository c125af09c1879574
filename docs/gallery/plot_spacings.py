r"""
Spacings of singular values at equilibrium
==========================================

Are the fluctuations of a large deep linear network at equilibrium universal?  In the energy
:math:`\frac12 \operatorname{tr} W^T W` the global law of the singular values depends on the depth
(:doc:`plot_equilibrium_law`).  Here it is taken out: with the limit law :math:`F`, whose density is
:math:`\frac{A}{\pi} \sqrt{\sigma_{\max} - \sigma}` at its end, positions become

.. math:: d\, F(\sigma) \quad\text{and, for the largest,}\quad
          (d A)^{2/3} (\sigma - \sigma_{\max}) .

What is left is compared with Gaussian orthogonal matrices (GOE) in the bulk, with the law of Tracy
and Widom at the soft edge, and at zero with one layer; at infinite depth the next one above zero.

**What it shows.** At :math:`d = 100` the bulk cannot be told from GOE at any depth: mean ratios of
spacings are 0.531, with errors of 0.002.  The scaled largest value has the mean -1.49 with an error
of 0.04 at depths 2 and 3, and -1.41 for one layer.  At zero the laws differ: :math:`d\, F` of the
smallest has the mean 0.41, 0.31 and 0.24 at depths 1, 2 and 3.  **What it does not show.** Much
larger sizes: with ``--width 1000 --chains 4 --draws 20 --warm 25`` ratios are 0.528 to 0.530 (error
0.0016), but the chains are too short for the largest value (-0.9 to -1.3, errors of 0.3).
"""

import matplotlib.pyplot as plt
import numpy as np

from dlngeom.thermodynamics.equilibrium import ClosedLaw, sample

WIDTH, CHAINS, DRAWS, WARM, SEED = 100, 16, 60, 40, 0
d, chains, draws = WIDTH, CHAINS, DRAWS


def draw(depth):
    """Ascending singular values at ``beta = d``, ``(chain, draw, d)``, without those at zero."""
    if depth == 1:
        rng = np.random.default_rng(SEED)
        noise = (rng.standard_normal((d, d)) / d**0.5 for _ in range(chains * draws))
        s = [np.linalg.svd(W, compute_uv=False)[::-1] for W in noise]
        return np.reshape(s, (chains, draws, d))
    counts = {"n_chains": chains, "n_draws": draws, "n_warm": WARM}
    sigma = sample(d, depth, beta=d, rng=SEED, **counts).sigma
    return sigma[..., ::-1][..., int(depth == np.inf) :]


def cell(values):
    """Mean and its standard error, from chains that are independent."""
    means = values.reshape(chains, -1).mean(axis=1)
    return f"{means.mean():.4f}({means.std(ddof=1) / chains**0.5:.4f})"


# %%
# The bulk is the middle three fifths of all values.  The known numbers are those of large GOE.
print(f"d = {d}, {chains} chains of {draws} draws; standard errors in brackets")
print("depth  spacing ratio   (spacing-1)^2   largest          its deviation   d F(smallest)")
axes = [plt.figure(figsize=(4.8, 3.6), layout="constrained").gca() for _ in range(4)]
axes = np.reshape(axes, (2, 2))
for depth, colour in ((1, "k"), (2, "C0"), (3, "C1"), (np.inf, "C3")):
    law, s = ClosedLaw(depth), draw(depth)
    gaps = np.diff(d * law.cdf(s[..., d // 5 : 4 * d // 5]))
    ratios = np.exp(-np.abs(np.diff(np.log(gaps))))
    largest = (4 * d * np.sqrt(1 + 1 / depth)) ** (2 / 3) * (s[..., -1] / law.edge - 1)
    smallest = d * law.cdf(s[..., 0])
    print(f"{depth:5}  {cell(ratios):15} {cell((gaps - 1) ** 2):15} {cell(largest):17}", end=" ")
    print(f"{largest.std():12.4f}   {cell(smallest)}")
    for axis, values, top in ((axes[0, 0], ratios, 1), (axes[0, 1], gaps, 3.5)):
        label, options = f"depth {depth:g}", {"histtype": "step", "color": colour, "density": True}
        axis.hist(values.ravel(), 40, range=(0, top), label=label, linewidth=1.5, **options)
    for axis, values in ((axes[1, 0], largest), (axes[1, 1], smallest)):
        axis.ecdf(values.ravel(), color=colour, label=f"depth {depth:g}")
print("known  0.5307          0.286           -1.2065                 1.2680")
x = np.linspace(0, 1, 200)
axes[0, 0].plot(x, 27 / 4 * (x + x * x) / (1 + x + x * x) ** 2.5, "k:")
axes[0, 1].plot(3 * x, 3 * np.pi / 2 * x * np.exp(-9 * np.pi / 4 * x * x), "k:")
axes[0, 0].legend(loc="lower center")
axes[0, 0].set(title="ratio of neighbouring spacings", xlabel="smaller / larger", ylabel="density")
axes[0, 1].set(title="spacings (dotted: GOE)", xlabel=r"$d\,\Delta F$")
axes[1, 0].set(title="largest value, scaled", xlabel=r"$(dA)^{2/3}(\sigma - \sigma_{max})$")
axes[1, 1].set(title="smallest value above zero", xlabel=r"$d\,F(\sigma)$", xlim=(0, 2))
axes[1, 0].legend(loc="lower right", fontsize=8)
plt.show()
