r"""
Tangential noise pushes outwards
================================

A step tangent to a sphere leaves it, always outwards.  With the projection :math:`P` onto the
tangent space, the limit of small steps is the equation of Ito

.. math:: \mathrm{d}x = P(x)\, \mathrm{d}B , \qquad r^2(t) = r_0^2 + (d - 1)\, t :

the direction is random, the radius is not, and the sphere moves by minus half its mean curvature
(:cite:t:`menon2024geometry`, figure 9.3, (11.10), (11.11)).  Radial noise of variance
:math:`\kappa` makes the radius a Bessel process, whose law is known too.

**What it shows.** The radius becomes sharp as steps become small, at the rate that is expected, and
the laws for :math:`\kappa > 0` hold.  **What it does not show.** Fibres other than spheres.
"""

from itertools import product

import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

from dlngeom.langevin import riemannian_langevin
from dlngeom.laws import sphere_law
from dlngeom.quotients import Sphere

CHAINS, SEED = 4000, 0
rng, TIME = np.random.default_rng(SEED), 4.0


def walk(size, kappa, steps):
    """Follow paths from the unit sphere at ``beta = 2``: times, paths and squared radii."""
    run = riemannian_langevin(
        Sphere(size), np.eye(size)[0], beta=2.0, kappa=kappa, duration=TIME,
        n_steps=steps, n_chains=CHAINS, save_every=max(1, steps // 500), rng=rng,
    )  # fmt: skip
    return run.times, run.points, np.sum(run.points**2, axis=-1)


# %%
# Steps are straight.  One of duration :math:`h` adds :math:`h` times a chi-squared number to
# :math:`r^2`, so at time :math:`t` the error has the exact size :math:`\sqrt{2 (d - 1) t h}`.
print("kappa   d  steps   mean r^2   exact   r.m.s. error   expected   p of the law")
hues, shapes = ("tab:orange", "tab:green", "C0"), (None, "3d", None, None)
axes = [
    plt.figure(figsize=(4.6, 4), layout="constrained").add_subplot(projection=shape)
    for shape in shapes
]
for d, (steps, hue) in product((2, 3), zip((20, 200, 2000), hues, strict=True)):
    (times, x, square), exact = walk(d, 0.0, steps), 1 + (d - 1) * TIME
    error = np.mean((square[:, -1] - exact) ** 2) ** 0.5
    size, mean = TIME * (2 * (d - 1) / steps) ** 0.5, square[:, -1].mean()
    print(f"{0:5g} {d:3d} {steps:6d} {mean:10.4f} {exact:7g} {error:14.4f} {size:10.4f}")
    if d == 2:
        labels = [f"{steps} steps"] + [None] * 5
        axes[2].plot(times, square[:6].T, color=hue, linewidth=0.8, label=labels)
    for path in x[:4] if steps == 2000 else ():
        axes[d - 2].plot(*path.T, linewidth=0.9)
a, b = np.meshgrid(np.linspace(0, np.pi, 31), np.linspace(0, 2 * np.pi, 61))
ball = np.array([np.sin(a) * np.cos(b), np.sin(a) * np.sin(b), np.cos(a)])
for t, alpha in ((0.0, 1.0), (TIME, 0.3)):
    axes[0].plot(*((1 + t) ** 0.5 * ball[:2, :, 15]), color="k", alpha=alpha)
    axes[1].plot_surface(*((1 + 2 * t) ** 0.5 * ball), color="0.5", alpha=alpha / 4, linewidth=0)
for kappa, hue in zip((2.0, 0.5, 0.1), hues, strict=True):
    times, x, square = walk(2, kappa, 1000)
    laws = [sphere_law(2, 1.0, t, 2.0, kappa) for t in times[10::10]]
    end, band = square[:, -1], np.quantile(square, (0.1, 0.9), axis=0)
    p, mean = stats.kstest(end, laws[-1].cdf).pvalue, laws[-1].mean()
    print(f"{kappa:5g}   2   1000 {end.mean():10.4f} {mean:7g} {p:40.3f}")
    axes[3].fill_between(times, *band, color=hue, alpha=0.3, label=rf"$\kappa = {kappa:g}$")
    axes[3].plot(times[10::10], [law.ppf((0.1, 0.9)) for law in laws], "--", color=hue)
names = r"$r^2$ in the plane, $\kappa = 0$", "80% of all paths, and of the law (dashed)"
for axis, name in zip(axes[2:], names, strict=True):
    axis.plot(times, 1 + times, "k", label=r"$1 + t$, exact for $\kappa = 0$")
    axis.set(title=name, xlabel="t", ylabel="$r^2$")
    axis.legend(fontsize=9)
for axis, name in zip(axes, ("the plane", "space"), strict=False):
    axis.set(title=f"four paths in {name}", aspect="equal", xlabel="$x_1$", ylabel="$x_2$")
for side in (axes[1].xaxis, axes[1].yaxis, axes[1].zaxis):
    side.set_pane_color((0.97, 0.97, 0.97, 1))
plt.show()
