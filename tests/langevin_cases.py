"""Functions at the top of a module, since workers of a pool must be able to find them."""

import os
import signal

import numpy as np

TARGET = np.array([[1.0, 0.2], [-0.3, 0.5]])


def quadratic(W):
    """Gradient of ``|W - TARGET|^2 / 2``."""
    return W - TARGET


def quadratic_energy(W):
    """``|W - TARGET|^2 / 2``."""
    return np.sum((W - TARGET) ** 2, axis=(-2, -1)) / 2


def half_squared(W):
    """Energy ``|W|^2 / 2``, whose gradient is :func:`identity`."""
    return np.sum(W * W, axis=(-2, -1)) / 2


def identity(W):
    """Gradient of ``|W|^2 / 2``."""
    return W


def quartic(W):
    """A gradient that explicit steps cannot follow far out."""
    return W * np.sum(W * W, axis=(-2, -1), keepdims=True)


def deadly(W):
    """Kill the process that asks."""
    os.kill(os.getpid(), signal.SIGKILL)


def layer_norms(point):
    """Squared norm of all layers of Frames."""
    return (len(point.q) - 1) * np.sum(point.lam**2, axis=-1)
