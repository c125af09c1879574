r"""
Spacings of singular values at equilibrium
==========================================

Are the fluctuations of a large deep linear network at equilibrium universal?  In the energy
``1/2 tr W^T W`` the global law depends on the depth (see the page on its semicircle law).  Here it
is taken out: positions become ``d F(sigma)``, with the limit law ``F``, and the largest value
``(d A)^(2/3) (sigma - sigma_max)``, where the density is ``A/pi sqrt(sigma_max - sigma)``.  What is
left is compared with Gaussian orthogonal matrices (GOE) in the bulk, with the law of Tracy and
Widom at the soft edge, and at zero with one layer, whose matrices are Gaussian (Laguerre).  At
infinite depth the smallest value is zero, and the next one is taken.

At ``d = 100``, seed 0, the bulk cannot be told from GOE at any depth: mean ratios are 0.531 with
errors of 0.002.  The largest value has the mean -1.50 with an error of 0.04 at depths 2 and 3, like
the -1.41 of one layer, all on their way to -1.21.  LARGE  At zero the laws differ:
the mean of ``d F`` at the smallest value is 0.41, 0.31 and 0.24 at depths 1, 2 and 3.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np

from dlngeom.equilibrium import ClosedLaw, sample

parser = argparse.ArgumentParser(description="Spacings at equilibrium")
for name, default in {"width": 100, "chains": 16, "draws": 60, "warm": 40, "seed": 0}.items():
    parser.add_argument(f"--{name}", type=int, default=default)
parser.add_argument("--output", help="file for the figure")
arguments = parser.parse_args()
d, chains, draws = arguments.width, arguments.chains, arguments.draws


def draw(depth):
    """Ascending singular values at ``beta = d``, ``(chain, draw, d)``, without those at zero."""
    if depth == 1:
        rng = np.random.default_rng(arguments.seed)
        noise = (rng.standard_normal((d, d)) / d**0.5 for _ in range(chains * draws))
        s = np.array([np.linalg.svd(W, compute_uv=False) for W in noise])
        return s.reshape(chains, draws, d)[..., ::-1]
    counts = {"n_chains": chains, "n_draws": draws, "n_warm": arguments.warm}
    run = sample(d, depth, beta=d, rng=arguments.seed, **counts)
    return run.sigma[..., ::-1][..., int(depth == np.inf) :]


def cell(values):
    """Mean and its standard error, from chains that are independent."""
    means = np.mean(values.reshape(chains, -1), axis=1)
    return f"{means.mean():.4f}({means.std(ddof=1) / chains**0.5:.4f})"


# %%
# The bulk is the middle three fifths of all values.
print(f"d = {d}, {chains} chains of {draws} draws; standard errors in brackets")
print("depth  spacing ratio   (spacing-1)^2   largest          its deviation   d F(smallest)")
figure, axes = plt.subplots(2, 2, figsize=(8.5, 6.5), layout="constrained")
axes = axes.ravel()
for depth, colour in ((1, "k"), (2, "C0"), (3, "C1"), (np.inf, "C3")):
    law, s = ClosedLaw(depth), draw(depth)
    gaps = np.diff(d * law.cdf(s[..., d // 5 : 4 * d // 5]))
    ratios = np.exp(-np.abs(np.diff(np.log(gaps))))
    largest = (4 * d * np.sqrt(1 + 1 / depth)) ** (2 / 3) * (s[..., -1] / law.edge - 1)
    smallest = d * law.cdf(s[..., 0])
    print(f"{depth:5}  {cell(ratios):15} {cell((gaps - 1) ** 2):15} {cell(largest):17}", end="")
    print(f"{largest.std():13.4f}   {cell(smallest)}")
    name = r"depth $\infty$" if depth == np.inf else f"depth {depth:g}"
    for axis, values, top in ((axes[0], ratios, 1), (axes[1], gaps, 3.5)):
        axis.hist(values.ravel(), 40, range=(0, top), density=True, histtype="step", color=colour)
    for axis, values in ((axes[2], largest), (axes[3], smallest)):
        axis.ecdf(values.ravel(), color=colour, label=name)
print("known  0.5307          0.286           -1.2065                 1.2680")
x, y = np.linspace(0, 1, 200), np.linspace(0, 3.5, 200)
axes[0].plot(x, 27 / 4 * (x + x * x) / (1 + x + x * x) ** 2.5, "k:")
axes[1].plot(y, np.pi / 2 * y * np.exp(-np.pi / 4 * y * y), "k:")
axes[0].set(title="ratio of neighbouring spacings", xlabel="smaller / larger", ylabel="density")
axes[1].set(title="spacings (dotted: surmises for GOE)", xlabel=r"$d\,\Delta F$", ylabel="density")
axes[2].set(title="largest value, scaled", xlabel=r"$(dA)^{2/3}(\sigma - \sigma_{max})$")
axes[3].set(title="smallest value above zero", xlabel=r"$d\,F(\sigma)$", xlim=(0, 2))
axes[2].legend(fontsize=8)
if arguments.output:
    figure.savefig(arguments.output, dpi=120)
