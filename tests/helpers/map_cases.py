"""Maps in jax whose submersions are known."""

from functools import cache
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

from dlngeom import DeepLinearNetwork, factors, from_map


def hopf(x):
    """Unit vectors of ``C^2`` to the unit sphere of ``R^3``."""
    a, b = x[0] + 1j * x[1], x[2] + 1j * x[3]
    z = 2 * a * b.conj()
    return jnp.stack([z.real, z.imag, abs(a) ** 2 - abs(b) ** 2])


def on_sphere(x):
    return x @ x - 1


@cache
def projective_line():
    return from_map(hopf, [0.6, 0.0, 0.0, 0.8], constraint=on_sphere)


def unit():
    return np.array([1.0, 0.0, 0.0])


def height(x):
    """Last coordinate of points with any batch axes."""
    return x[..., 2]


def on_ellipsoid(x):
    return x[0] ** 2 + x[1] ** 2 + x[2] ** 2 / 4 - 1


@cache
def ellipsoid():
    """Ellipsoid over its heights."""
    return from_map(height, np.array([0.6, 0.0, 1.6]), constraint=on_ellipsoid)


def ellipsoid_drift(z):
    """``K dS/dz`` with the length of the circle at height ``z``."""
    radius = np.sqrt(1 - z**2 / 4)
    normal = (z / 4) ** 2 / (radius**2 + (z / 4) ** 2)
    return (1 - normal) * (-z / (4 * radius**2))


def distance_to_ellipse(x):
    """Distance to the ellipse with half axes 2 and 1, from outside, by Newton's method."""
    t = jnp.arctan2(2 * x[1], x[0])

    def step(_, t):
        c, s = jnp.cos(t), jnp.sin(t)
        slope = -2 * s * (x[0] - 2 * c) + c * (x[1] - s)
        bend = -4 * s**2 - c**2 - 2 * c * (x[0] - 2 * c) - s * (x[1] - s)
        return t - slope / bend

    t = jax.lax.fori_loop(0, 12, step, t)
    return jnp.hypot(x[0] - 2 * jnp.cos(t), x[1] - jnp.sin(t))


def length(x):
    return jnp.sqrt(x @ x)


def gram(x):
    return x @ x.T


def eigenvalues(x):
    return jnp.linalg.eigvalsh((x + x.conj().T) / 2)


def product(layers):
    """End-to-end matrix of layers, input layer first."""
    W = layers[0]
    for V in layers[1:]:
        W = V @ W
    return W


def balanced_equations(layers):
    """Upper triangles of ``W_p W_p^T - W_{p+1}^T W_{p+1}``."""
    gaps = [A @ A.T - B.T @ B for A, B in pairwise(layers)]
    return [gap[jnp.triu_indices(len(gap))] for gap in gaps]


def network_map(inputs, width, layers, rng):
    """Outputs of a random tanh network on random points, and its weights."""
    data = rng.standard_normal((inputs, 12))
    sizes = (12, *(width,) * layers, 1)
    weights = tuple(rng.standard_normal((m, n)) / np.sqrt(m) for m, n in pairwise(sizes))

    def outputs(weights):
        x = data
        for W in weights[:-1]:
            x = jnp.tanh(x @ W)
        return (x @ weights[-1])[:, 0]

    return from_map(outputs, weights), weights


def _layers(widths):
    return factors(DeepLinearNetwork(widths).random_point(0))


# What makes each space, and whether its fibres are orbits of isometries.
EXAMPLES = {
    "projective line": (projective_line, True),
    "ellipsoid": (ellipsoid, True),
    "sphere": (lambda: from_map(length, np.ones(3)), True),
    "Bures-Wasserstein": (
        lambda: from_map(gram, np.random.default_rng(0).standard_normal((3, 2))),
        True,
    ),
    "Dyson": (lambda: from_map(eigenvalues, np.diag([-1.0, 0, 1]).astype(complex)), True),
    "two layers": (
        lambda: from_map(product, _layers((2, 2, 2)), constraint=balanced_equations),
        True,
    ),
    "tanh": (lambda: network_map(4, 3, 1, np.random.default_rng(0))[0], False),
}
