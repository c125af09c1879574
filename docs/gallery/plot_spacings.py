r"""
Spacings of singular values at equilibrium
==========================================

Are the fluctuations of a large deep linear network at equilibrium universal?  In the energy
``1/2 tr W^T W`` the global law depends on the depth (see the page on its semicircle law).  Here it
is taken out: positions become ``d F(sigma)``, with the limit law ``F``, and the largest value
``(d A)^(2/3) (sigma - sigma_max)``, where the density is ``A/pi sqrt(sigma_max - sigma)``.  What is
left is compared with Gaussian orthogonal matrices (GOE) in the bulk, with Tracy-Widom at the soft
edge, and at zero with one layer, Gaussian matrices; at infinite depth the next one above zero.

At ``d = 100``, seed 0, the bulk cannot be told from GOE at any depth: mean ratios are 0.531, with
errors of 0.002.  The scaled largest value has the mean -1.49 with an error of 0.04 at depths 2, 3,
and -1.41 for one layer.  ``--width 1000 --chains 4 --draws 20 --warm 25`` gives ratios of 0.528 to
0.530 (error 0.0016), but is too short for the largest value (-0.9 to -1.3, errors of 0.3).
At zero the laws differ: ``d F(smallest)`` has the mean 0.41, 0.31 and 0.24 at depths 1, 2 and 3.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np

from dlngeom.thermodynamics.equilibrium import ClosedLaw, sample

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
        s = [np.linalg.svd(W, compute_uv=False)[::-1] for W in noise]
        return np.reshape(s, (chains, draws, d))
    counts = {"n_chains": chains, "n_draws": draws, "n_warm": arguments.warm}
    sigma = sample(d, depth, beta=d, rng=arguments.seed, **counts).sigma
    return sigma[..., ::-1][..., int(depth == np.inf) :]


def cell(values):
    """Mean and its standard error, from chains that are independent."""
    means = values.reshape(chains, -1).mean(axis=1)
    return f"{means.mean():.4f}({means.std(ddof=1) / chains**0.5:.4f})"


# %%
# The bulk is the middle three fifths of all values.  The known numbers are those of large GOE.
print(f"d = {d}, {chains} chains of {draws} draws; standard errors in brackets")
print("depth  spacing ratio   (spacing-1)^2   largest          its deviation   d F(smallest)")
figure, axes = plt.subplots(2, 2, figsize=(8.5, 6.5), layout="constrained")
for depth, colour in ((1, "k"), (2, "C0"), (3, "C1"), (np.inf, "C3")):
    law, s = ClosedLaw(depth), draw(depth)
    gaps = np.diff(d * law.cdf(s[..., d // 5 : 4 * d // 5]))
    ratios = np.exp(-np.abs(np.diff(np.log(gaps))))
    largest = (4 * d * np.sqrt(1 + 1 / depth)) ** (2 / 3) * (s[..., -1] / law.edge - 1)
    smallest = d * law.cdf(s[..., 0])
    print(f"{depth:5}  {cell(ratios):15} {cell((gaps - 1) ** 2):15} {cell(largest):17}", end=" ")
    print(f"{largest.std():12.4f}   {cell(smallest)}")
    for axis, values, top in ((axes[0, 0], ratios, 1), (axes[0, 1], gaps, 3.5)):
        axis.hist(values.ravel(), 40, range=(0, top), density=True, histtype="step", color=colour)
    for axis, values in ((axes[1, 0], largest), (axes[1, 1], smallest)):
        axis.ecdf(values.ravel(), color=colour, label=f"depth {depth:g}")
print("known  0.5307          0.286           -1.2065                 1.2680")
x = np.linspace(0, 1, 200)
axes[0, 0].plot(x, 27 / 4 * (x + x * x) / (1 + x + x * x) ** 2.5, "k:")
axes[0, 1].plot(3 * x, 3 * np.pi / 2 * x * np.exp(-9 * np.pi / 4 * x * x), "k:")
axes[0, 0].set(title="ratio of neighbouring spacings", xlabel="smaller / larger", ylabel="density")
axes[0, 1].set(title="spacings (dotted: surmises for GOE)", xlabel=r"$d\,\Delta F$")
axes[1, 0].set(title="largest value, scaled", xlabel=r"$(dA)^{2/3}(\sigma - \sigma_{max})$")
axes[1, 1].set(title="smallest value above zero", xlabel=r"$d\,F(\sigma)$", xlim=(0, 2))
axes[1, 0].legend(loc="lower right", fontsize=8)
if arguments.output:
    figure.savefig(arguments.output, dpi=120)
