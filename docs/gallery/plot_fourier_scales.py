r"""
Scale by scale
==============

Networks are said to fit a function scale by scale, with jumps like those of the rank in a deep
linear network (:cite:t:`menon2024geometry`, sections 2 and 13.3).  Tried here: a network with three
hidden layers of :math:`\tanh` learns random Fourier series on a line, with phases :math:`\phi_k`,

.. math::

   f(x) = \sum_{k = 1, 2, 4, 8} c_k \cos(\pi k x + \phi_k), \qquad
   c_k \propto k^{-1} \quad\text{or}\quad c_k \text{ equal},

and a deep linear network of three layers learns a matrix whose singular values are the same
:math:`c_k`.  What share of each scale, or of each singular value, is learnt at which time?

To tell a jump from a slow rise, look at the factor of time between a tenth and nine tenths.  What
a *linear* model learns, like :math:`1 - e^{-\lambda t}`, has the factor 22.

**What it shows.** The network learns the scales in the order of their frequency, also where all are
of one size.  The linear network learns in the order of size, and all at once where there is none.
Its jumps are sharp, with factors of 2 to 9; those of the network have factors of 10 to 64, about a
linear model's, and overlap: in order, but hardly jumps.
**What it does not show.** Other widths, units, optimizers and decay rates; why the order is that of
frequency; two dimensions.
"""

from itertools import pairwise

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from dlngeom import DeepLinearNetwork
from dlngeom.flow import gradient_flow

FUNCTIONS, WIDTH, STEPS, RATE, POINTS, SEED = 12, 32, 30000, 0.05, 64, 0
SCALES, DECAYS = (1, 2, 4, 8), (1, 0)
scales, x = np.array(SCALES), (np.arange(POINTS) + 0.5) / POINTS * 2 - 1
rng = np.random.default_rng(SEED)
phases = rng.uniform(0, 2 * np.pi, (FUNCTIONS, len(scales)))
saved = np.unique(np.geomspace(1, STEPS, 120).astype(int))


def network(layers):
    """Values at the points."""
    h = x[:, None].astype(np.float32)
    for k, (W, b) in enumerate(layers):
        h = (jnp.tanh(h) if k else h) @ W + b
    return h[:, 0]


def train(layers, values):
    """Follow gradient descent, compiled, and return the outputs along it."""

    def step(_, layers):
        slope = jax.grad(lambda p: jnp.mean((network(p) - values) ** 2) / 2)(layers)
        return jax.tree.map(lambda p, g: p - RATE * g, layers, slope)

    def move(layers, steps):
        layers = jax.lax.fori_loop(0, steps, step, layers)
        return layers, network(layers)

    return jax.lax.scan(move, layers, jnp.asarray(np.diff(saved, prepend=0)))[1]


def draw(inside, outside):
    """Random weights of a layer, for each function."""
    size = 1.5 * rng.standard_normal((FUNCTIONS, inside + 1, outside))
    return tuple(jnp.asarray(w, jnp.float32) for w in (size[:, 1:] / inside**0.5, size[:, 0]))


def crossing(times, share, level):
    """First times at which shares ``(function, time, scale)`` reach a level; inf if never."""
    hit = share >= level
    return np.where(hit.any(axis=1), times[np.argmax(hit, axis=1)], np.inf)


# %%
# Medians over all functions: the time when a half is learnt and, in brackets, the factor of time
# from a tenth to nine tenths, which is infinite where the end of the run comes first.
sizes, found = (1, WIDTH, WIDTH, WIDTH, 1), {}
waves = np.exp(-1j * np.pi * scales[:, None] * x)
left, right = np.linalg.qr(rng.standard_normal((2, FUNCTIONS, 4, 4)))[0]
start = 0.03 * rng.standard_normal((FUNCTIONS, 4, 4))
# The flow keeps the sign of the determinant: the target has that of the start.
left[..., 0] *= np.sign(np.linalg.det(left @ right @ start))[:, None]
print("c_k    learner" + "".join(f"{f'scale {k}':>15}" for k in SCALES))
for decay in DECAYS:
    c = 2 * scales ** -float(decay) / np.linalg.norm(scales ** -float(decay))
    values = np.sum(c[:, None] * np.cos(np.pi * scales[:, None] * x + phases[..., None]), axis=1)
    layers = [draw(a, b) for a, b in pairwise(sizes)]
    out = np.asarray(jax.jit(jax.vmap(train))(layers, jnp.asarray(values, jnp.float32)))
    share = (out @ waves.T * np.exp(-1j * phases)[:, None]).real * 2 / POINTS / c
    found[decay, "network"] = saved * RATE, share, out, values
    t, target = np.r_[0, np.geomspace(1e-2, 1e3, 500)], (left * c) @ right.mT
    run = gradient_flow(DeepLinearNetwork((4,) * 4), start, lambda W, Y=target: W - Y, t)
    share = np.einsum("fik,ftij,fjk->ftk", left, run.points, right) / c
    found[decay, "linear"] = t[1:], share[:, 1:]
    for name in ("network", "linear"):
        early, half, late = (crossing(*found[decay, name][:2], y) for y in (0.1, 0.5, 0.9))
        middle = np.median(half, axis=0), np.median(late / early, axis=0)
        found[decay, name] += middle
        print(
            f"k^-{decay:<3} {name:8}",
            *(f"{h:7.1f} ({f:4.1f})" for h, f in zip(*middle, strict=True)),
        )

# %%
# One function of the first kind (grey), and the network (blue) when it has learnt a scale more.
times, _, out, values, half, _ = found[DECAYS[0], "network"]
figure = plt.figure(figsize=(5, 4.2), layout="constrained")
for row, time in enumerate((0.5, *np.minimum(half * 3, times[-1])[1:])):
    plt.plot(x, values[0] - 5 * row, color="0.7", linewidth=4)
    plt.plot(x, out[0, np.argmin(np.abs(times - time))] - 5 * row, "C0", linewidth=2)
    plt.text(1.05, -5 * row, f"t = {time:.0f}" if row else f"t = {time:g}")
plt.title("a network learns a function")
plt.xlim(-1.05, 1.5)
plt.xticks([-1, 0, 1])
plt.yticks([])
plt.xlabel("x")

# %%
# Shares learnt, medians.  Above: sizes fall as :math:`1/k`, and both learn one after the other.
# Below: sizes are equal, and only the nonlinear network does.
figure, axes = plt.subplots(2, 2, figsize=(6, 4.8), layout="constrained", sharey=True)
for (decay, name), axis in zip(found, axes.flat, strict=True):
    times, share = found[decay, name][:2]
    for i, k in enumerate(SCALES):
        axis.semilogx(
            times, np.median(share[..., i], axis=0), color=plt.cm.viridis(i / 4), label=f"k = {k}"
        )
    title = "network" if name == "network" else "linear network"
    axis.set(title=title + (", equal" if decay == 0 else ", falling"), ylim=(-0.2, 1.3))
for axis in axes[1]:
    axis.set_xlabel("time")
for axis in axes[:, 0]:
    axis.set_ylabel("share learnt")
axes[0, 0].legend(fontsize=8)
plt.show()
