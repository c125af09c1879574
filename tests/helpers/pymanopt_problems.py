"""Problems for the pymanopt adapter, with derivatives by autodiff and by hand."""

import autograd.numpy as anp
import jax.numpy as jnp
import numpy as np
import pymanopt
import torch
from scipy import sparse
from scipy.sparse.linalg import aslinearoperator

from dlngeom import SVD, LowRank, Tangent, dense
from dlngeom.pymanopt import EndToEnd, Point, ambient_direction

AUTODIFF = {
    "autograd": (pymanopt.function.autograd, anp),
    "torch": (pymanopt.function.pytorch, torch),
    "jax": (pymanopt.function.jax, jnp),
}
AMBIENT = {
    "dense": np.asarray,
    "sparse": sparse.csr_array,
    "operator": aslinearoperator,
    "low rank": lambda G: LowRank(G, np.eye(G.shape[1]), np.eye(G.shape[1])),
    "plain tuple": lambda G: (np.eye(G.shape[0]), np.eye(G.shape[0]), G.T),
}
FORMS = [*AUTODIFF, *AMBIENT]


class Quartic:
    """``sum(mask * ((W - A)**2 / 2 + W**4 / 12))``: not quadratic, with sparse derivatives."""

    def __init__(self, m, n, rng):
        self.mask = (rng.uniform(size=(m, n)) < 0.6) * rng.uniform(0.5, 2, size=(m, n))
        self.target = rng.standard_normal((m, n))

    def cost(self, xp):
        mask, target = (xp.asarray(x) for x in (self.mask, self.target))

        def value(u, s, vt):
            W = (u * s) @ vt
            return xp.sum(mask * ((W - target) ** 2 / 2 + W**4 / 12))

        return value

    def gradient(self, W):
        return self.mask * (W - self.target + W**3 / 3)

    def hessian(self, W, Z):
        return self.mask * (1 + W**2) * Z

    def problem(self, manifold, form):
        """Pymanopt problem whose derivatives come in the given form."""
        if form in AUTODIFF:
            decorate, xp = AUTODIFF[form]
            return pymanopt.Problem(manifold, decorate(manifold)(self.cost(xp)))
        decorate, convert = pymanopt.function.numpy(manifold), AMBIENT[form]

        def gradient(*x):
            return convert(self.gradient(dense(SVD(*x))))

        def hessian(*args):
            x, direction = args[:3], args[3:]
            Z = dense(ambient_direction(x, direction))
            return convert(self.hessian(dense(SVD(*x)), Z))

        return pymanopt.Problem(
            manifold,
            decorate(self.cost(np)),
            euclidean_gradient=decorate(gradient),
            euclidean_hessian=decorate(hessian),
        )


def manifold_of(depth, **options):
    """7 x 6 of rank 3, or 4 x 4 of full rank where the depth needs it."""
    sizes = (4, 4, 4) if depth == np.inf else (7, 6, 3)
    return EndToEnd(*sizes, depth, rng=1, **options)


def point_of(manifold, rng, s=None):
    """Well-conditioned point, or one of given singular values."""
    x = manifold.random_point()
    s = np.sort(rng.uniform(0.7, 2, size=len(x.s)))[::-1].copy() if s is None else np.array(s)
    return Point(x.u, s, x.vt)


def matrix(x):
    """Dense matrix of a point."""
    return dense(SVD(*x))


def ambient(x, Z):
    """Dense matrix of a tangent vector."""
    return dense((SVD(*x), Tangent(*Z)))


def error(actual, desired):
    """Relative error of arrays, or of tuples of arrays."""
    if isinstance(actual, tuple):
        actual, desired = (np.concatenate([x.ravel() for x in xs]) for xs in (actual, desired))
    return np.linalg.norm(actual - desired) / np.linalg.norm(desired)


def taylor_slopes(problem, x, Z):
    """Observed orders of the remainders after the gradient and after the Hessian."""
    manifold = problem.manifold
    steps = np.geomspace(1e-3, 1e-2, 7)
    start = problem.cost(x)
    first = manifold.inner_product(x, problem.riemannian_gradient(x), Z)
    second = manifold.inner_product(x, problem.riemannian_hessian(x, Z), Z)
    values = np.array([float(problem.cost(manifold.retraction(x, t * Z))) for t in steps])
    linear = values - start - steps * first
    return slope(steps, linear), slope(steps, linear - steps**2 / 2 * second)


def slope(steps, errors):
    """Slope of a line through ``log |error|`` over ``log step``."""
    return np.polyfit(np.log(steps), np.log(np.abs(errors)), 1)[0]
