r"""
Training a real torch network
=============================

What do the numbers of a training run mean in the geometry?  For layers of ``nn.Linear``, learning
rate :math:`\eta`, batches of :math:`B` and fresh noise of deviation :math:`s` on the labels:

* **Learning rate: time.**  After :math:`k` steps descent is at :math:`t = k \eta` of the gradient
  flow :math:`\dot W = -\mathcal{A}_W(E'(W))` of :math:`W = W_N \cdots W_1`, with an error linear in
  :math:`\eta`.
* **Initialisation: the start.**  Balanced layers with singular values :math:`c` begin at
  :math:`\sigma = c^N`.  The default of torch is not balanced: it follows the flow of its own
  layers, and that of the nearest balanced ones only roughly.
* **Batch and label noise: a temperature, but not one.**  With the weights :math:`w_{kl}` of the
  metric, the entry :math:`(k, l)` of :math:`W - Y` in the singular frames of the target obeys

.. math::

   \begin{aligned}
   \text{SGD:}&& \mathrm{d}x &= -w_{kl} x\, \mathrm{d}t + \sqrt{\eta s^2/B}\; w_{kl}\, \mathrm{d}b,
   & \operatorname{Var} x &= w_{kl}\, \eta s^2 / 2B, \\
   \text{RLE:}&& \mathrm{d}x &= -w_{kl} x\, \mathrm{d}t + \sqrt{2\kappa w_{kl}/\beta}\; \mathrm{d}b,
   & \operatorname{Var} x &= \kappa / \beta .
   \end{aligned}

The Riemannian Langevin equation (RLE; :cite:t:`menon2024geometry`, section 12) heats all entries
alike, SGD those of large weights more: :math:`\kappa/\beta = w_{kl}\, \eta s^2/2B` is one number
only where all weights are equal.  The gradient of every batch is horizontal, so SGD has no noise in
the gauge (:math:`\kappa = \infty`) and feels no entropy.  And the RLE keeps layers balanced, label
noise does not: at depth two and width :math:`d` it makes :math:`G = W_1 W_1^T - W_2^T W_2` decay at
the rate :math:`\eta s^2 d / B`, at depth three it drives layers apart.

**What it shows.** Each of these statements, in numbers.  **What it does not show.** Other targets
than one of width three, inputs that are not whitened, noise that is not small, momentum and Adam.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

from dlngeom import DeepLinearNetwork, balanced, frames, spectral
from dlngeom.flow import gradient_flow, network_flow
from dlngeom.langevin import riemannian_langevin
from dlngeom.torch import Recorder, balanced_init_, factors

RATES, TIME, LONG, CHAINS, SEED = (0.04, 0.02, 0.01), 12.0, 200.0, 256, 4
rng, s = np.random.default_rng(SEED), np.array([2.0, 1.0, 0.5])
U, V = np.linalg.qr(rng.standard_normal((2, 3, 3)))[0]
Y, X = (U * s) @ V.T, np.linalg.qr(rng.standard_normal((32, 3)))[0] * 32**0.5
inputs, labels = torch.from_numpy(X), torch.from_numpy(X @ Y.T)


def layers(depth, scale=None):
    """Balanced layers of that size, with positive determinant at this seed, or torch's default."""
    torch.manual_seed(SEED)
    model = nn.Sequential(*(nn.Linear(3, 3, bias=False) for _ in range(depth))).double()
    return balanced_init_(model, scale=scale, rng=SEED) if scale else model


def train(model, rate, time, batch=32, noise=0.0):
    """Gradient descent, stochastic if the batch is smaller; returns what a recorder saw."""
    generator = torch.Generator().manual_seed(SEED)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    recorder = Recorder(model, every=round(0.2 / rate))
    for _ in range(round(time / rate)):
        rows = torch.randperm(32, generator=generator)[:batch]
        target = labels[rows] + noise * torch.randn(batch, 3, generator=generator)
        optimizer.zero_grad()
        (torch.sum((model(inputs[rows]) - target) ** 2) / (2 * batch)).backward()
        optimizer.step()
        recorder.step(optimizer)
    return recorder.trajectory()


def slope(W):
    """Differentiate half the squared distance to the target."""
    return W - Y


# %%
# **Descent and flow.**  Three layers from small balanced ones, at several rates, and from torch's
# default.  Halving the rate halves the distance to the flow.
off, space = [], DeepLinearNetwork((3, 3, 3, 3))
for rate in RATES:
    run = train(layers(3, 0.5), rate, TIME)
    W = run.observed["end_to_end"]
    flow = gradient_flow(space, W[0, 0], slope, run.times, rtol=1e-8, atol=1e-10)
    off.append(np.max(np.abs(W - flow.points)))
    print(f"rate {rate:g}: off the flow by {off[-1]:.4f}, {off[-1] / rate:.2f} times the rate")
plain, noisy = train(layers(3), rate, TIME), train(layers(3, 0.5), 0.02, TIME, 4, 0.5)
W = plain.observed["end_to_end"]
own = network_flow([x[0, 0] for x in plain.points], slope, plain.times).observed["end_to_end"]
near = gradient_flow(space, W[0, 0], slope, plain.times).points
own, near = (np.max(np.abs(W - x)) for x in (own, near))
print(f"torch's default: off its own flow by {own:.4f}, off the balanced one by {near:.4f}")

plt.figure(figsize=(5, 3.6), layout="constrained")
for x, style, name in ((flow, "k", "flow"), (noisy, "C1", "label noise"), (run, "C0.", "descent")):
    plt.plot(x.times, x.observed["singular_values"][0], style, label=[name, None, None])
plt.gca().set(title="singular values during training", xlabel=r"time $t = k\eta$")
plt.legend()

# %%
# **Noise at the minimum.**  Label noise (dots) makes variances proportional to the weights (line);
# the RLE makes them equal (crosses).  The noise of a batch has no part along the gauge.
plt.figure(figsize=(5, 3.6), layout="constrained")
shares, heat = {}, 0.02 * 0.5**2 / (2 * 8)
for depth, hue in ((2, "C0"), (3, "C1")):
    space, w = DeepLinearNetwork((3,) * (depth + 1)), spectral.weights(s[:, None], s, depth)
    run = train(layers(depth, 1.0), 0.02, LONG, batch=8, noise=0.5)
    rle = riemannian_langevin(
        space, space.orbit_point(Y, SEED), energy_gradient=slope, beta=100 / heat, kappa=100.0,
        duration=4.0, n_steps=400, n_chains=CHAINS, save_every=400, rng=SEED,
    )  # fmt: skip
    pair = run.observed["end_to_end"][0, len(run.times) // 6 :], rle.observed["end_to_end"][:, -1]
    sgd, rle = (np.var(U.T @ (x - Y) @ V, axis=0) / heat for x in pair)
    shares[depth] = sgd / w, rle
    for name, x in zip(("SGD over weight", "RLE"), shares[depth], strict=True):
        print(f"depth {depth}, {name}: {x.min():.2f} to {x.max():.2f}, mean {x.mean():.2f}")
    plt.plot(w.ravel(), sgd.ravel(), hue + "o", label=f"SGD, depth {depth}")
    plt.plot(w.ravel(), rle.ravel(), hue + "x", label=f"RLE, depth {depth}")
model = layers(3, 0.5)
torch.sum((model(inputs[:4]) - labels[:4] - 1) ** 2).backward()
kick, point = [x.weight.grad.numpy() for x in model], [x.numpy() for x in factors(model)]
gauge = np.linalg.norm(balanced.vertical_projection(frames(point), kick)) / np.linalg.norm(kick)
print(f"share of a batch's gradient along the gauge: {gauge:.0e}")
plt.plot([0, 8], [0, 8], "k", [0, 8], [1, 1], "k:", linewidth=1)
plt.gca().set(xlabel="weight $w_{kl}$ of the entry", title=r"variance over $\eta s^2/2B$")
plt.legend()

# %%
# **Invariants.**  Without label noise (dashed) they change by 0.1.  Under it the layers of torch's
# default become balanced at depth two, at the rate of the formula (dotted), and layers that were
# balanced become unbalanced at depth three.
plt.figure(figsize=(5, 3.6), layout="constrained")
rate, sizes = 0.04 * 1.0**2 * 3 / 4, {}
for depth, scale, noise in ((2, None, 0.0), (2, None, 1.0), (3, 1.0, 0.0), (3, 1.0, 1.0)):
    run = train(layers(depth, scale), 0.04, LONG / 3, batch=4, noise=noise)
    G = np.sqrt(sum(np.sum(x[0] ** 2, axis=(1, 2)) for x in run.observed["invariants"]))
    sizes[depth, noise] = G
    print(f"depth {depth}, label noise {noise:g}: |G| from {G[0]:.3f} to {G[-1]:.3f}")
    style, label = f"C{depth - 2}" + "-" * (2 - int(noise)), f"depth {depth}, $s = {noise:g}$"
    plt.semilogy(run.times[1:], G[1:], style, label=label)
plt.semilogy(run.times, sizes[2, 1.0][0] * np.exp(-rate * run.times), "k:", label="formula")
plt.gca().set(title="label noise balances or not", xlabel=r"time $t = k\eta$", ylabel="$|G|$")
plt.legend()
plt.show()
