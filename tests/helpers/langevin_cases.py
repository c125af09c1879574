"""Functions at the top of a module, since workers of a pool must be able to find them."""

import os
import signal
import time

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


def raising(W):
    """Fail in a way of its own."""
    raise KeyError("mine")


class Quadratic:
    """:func:`quadratic` as an object."""

    def __call__(self, W):
        return quadratic(W)


class Leisurely(Quadratic):
    """:func:`quadratic`, so slow that whatever happens to its worker happens meanwhile."""

    def __call__(self, W):
        time.sleep(0.05)
        return quadratic(W)


class DeadlyOnce(Quadratic):
    """:func:`quadratic`, but the first worker that asks it often enough is killed.

    Parameters
    ----------
    mark : path
        File that says that a worker was killed.
    after : int
        Calls in one process that it takes.
    """

    def __init__(self, mark, after):
        self.mark, self.left, self.spared = mark, after, os.getpid()

    def __call__(self, W):
        self.left -= 1
        if self.left < 0 and os.getpid() != self.spared and not self.mark.exists():
            try:
                self.mark.touch(exist_ok=False)
            except FileExistsError:
                return quadratic(W)
            os.kill(os.getpid(), signal.SIGKILL)
        return quadratic(W)


def layer_norms(point):
    """Squared norm of all layers of Frames."""
    return (len(point.q) - 1) * np.sum(point.lam**2, axis=-1)
