"""Every public function on every array library, dtype and batch shape."""

from itertools import pairwise

import numpy as np
import pytest

import dlngeom
from dlngeom import Frames, LowRank, balanced, endtoend, network, spectral
from dlngeom._lib.arrays import namespace
from tests.helpers import reference as ref
from tests.helpers.namespaces import NAMESPACES, Namespace
from tests.helpers.parameters import slow
from tests.helpers.trees import leaves, pick

# One shape for all, since jax compiles every operation anew for each shape it meets.
WIDTHS, RANK = (3, 3, 3), 2
BATCH = (2, 3)


def inputs(rng, batch=()):
    """One of everything that the public functions take."""
    point = ref.random_frames(WIDTHS, RANK, rng, batch=batch)
    W = ref.random_svd(3, 3, RANK, rng, batch=batch)
    X = rng.standard_normal((*batch, 3, 3))
    return {
        "s": W.s,
        "t": W.s[..., ::-1],
        "point": point,
        "factors": balanced_layers(point),
        "X": ref.random_layers(WIDTHS, rng, batch),
        "Y": ref.random_layers(WIDTHS, rng, batch),
        "W": W,
        "other": ref.random_svd(3, 3, RANK, rng, batch=batch),
        "Z": ref.random_tangent(W, rng),
        "Z2": ref.random_tangent(W, rng),
        "G": rng.standard_normal((*batch, 3, 3)),
        "H": rng.standard_normal((*batch, 3, 3)),
        "low": LowRank(*(rng.standard_normal((*batch, *x)) for x in [(3, 2), (2, 2), (3, 2)])),
        "square": X @ X.mT + np.eye(3),
        "step": 0.1 * rng.standard_normal((*batch, 3, 3)),
        "Q": rng.standard_normal((*batch, 3, 3)),
    }


def balanced_layers(point):
    return tuple((up * point.lam[..., None, :]) @ low.mT for low, up in pairwise(point.q))


def signless(point):
    """Frames and SVDs are compared through what does not depend on signs."""
    if isinstance(point, Frames):
        return (point.lam, *dlngeom.factors(point))
    return (point.s, dlngeom.dense(point))


FUNCTIONS = {
    "weights": lambda x: spectral.weights(x["s"], x["t"], 3),
    "weights tie": lambda x: spectral.weights(x["s"], x["s"], 3),
    "weights inf": lambda x: spectral.weights(x["s"], x["t"], ref.INF),
    "log_weights": lambda x: spectral._log_weights(x["s"], x["t"], 3),
    "root": lambda x: spectral._root(x["s"], 3),
    "svd": lambda x: signless(dlngeom.svd(x["G"], 2)),
    "dense svd": lambda x: dlngeom.dense(x["W"]),
    "dense tangent": lambda x: dlngeom.dense((x["W"], x["Z"])),
    "dense low rank": lambda x: dlngeom.dense(x["low"]),
    "dense frames": lambda x: dlngeom.dense(x["point"]),
    "factors": lambda x: dlngeom.factors(x["point"]),
    "frames": lambda x: signless(dlngeom.frames(x["factors"], RANK)),
    "end_to_end": lambda x: network.end_to_end(x["X"]),
    "invariants": lambda x: network.invariants(x["X"]),
    "lifted_gradient": lambda x: network.lifted_gradient(x["X"], x["G"]),
    "lifted_gradient low": lambda x: network.lifted_gradient(x["X"], x["low"]),
    "tangent": lambda x: balanced.tangent_projection(x["point"], x["X"]),
    "vertical": lambda x: balanced.vertical_projection(x["point"], x["X"]),
    "horizontal": lambda x: balanced.horizontal_projection(x["point"], x["X"]),
    "projector": lambda x: gram(balanced.orthonormal_frame(x["point"])),
    "retraction up": lambda x: signless(balanced.retraction(x["point"], x["X"])),
    "retraction up 1": lambda x: signless(balanced.retraction(x["point"], x["X"], order=1)),
    "weingarten": lambda x: balanced.weingarten(x["point"], x["X"], x["Y"]),
    "cometric": lambda x: endtoend.cometric(x["W"], x["G"], 3),
    "cometric dense": lambda x: endtoend.cometric(x["G"], x["H"], 3),
    "cometric inf": lambda x: endtoend.cometric(x["square"], x["Q"], ref.INF),
    "inverse_cometric": lambda x: endtoend.inverse_cometric(x["W"], x["Z"], 3),
    "inner": lambda x: endtoend.inner(x["W"], x["Z"], x["Z2"], 3),
    "gradient": lambda x: endtoend.gradient(x["W"], x["low"], 1),
    "hessian": lambda x: endtoend.hessian(x["W"], x["G"], x["H"], x["Z"], 3),
    "hessian low": lambda x: endtoend.hessian(x["W"], x["low"], x["H"], x["Z"], 1),
    "hessian inf": lambda x: endtoend.hessian(x["square"], x["Q"], x["Q"], x["step"], ref.INF),
    "retraction": lambda x: signless(endtoend.retraction(x["W"], x["Z"], 3)),
    "retraction 1": lambda x: signless(endtoend.retraction(x["W"], x["Z"], 2, order=1)),
    "retraction inf": lambda x: endtoend.retraction(x["square"], x["step"], ref.INF),
    "projection": lambda x: signless(endtoend.projection_retraction(x["W"], x["Z"])),
    "transport": lambda x: endtoend.transport(x["W"], x["other"], x["Z"], 3),
    "volume": lambda x: endtoend.log_volume_density(x["square"], 3),
    "volume wide": lambda x: endtoend.log_volume_density(x["G"], 3),
    "volume inf": lambda x: endtoend.log_volume_density(x["square"], ref.INF),
}


# jax compiles each for seconds: it gets one variant of each function, and a few in float32.
NOT_COMPILED = {
    "weights tie",
    "retraction up 1",
    "cometric dense",
    "cometric inf",
    "hessian low",
    "hessian inf",
    "retraction 1",
    "retraction inf",
    "volume wide",
    "volume inf",
}
COMPILED = {
    "float64": set(FUNCTIONS) - NOT_COMPILED,
    "float32": {"weights", "end_to_end", "vertical", "cometric", "inner"},
}
# In the fast suite one function or two of each kind.
COMPILED_FAST = {
    "float64": {"weights", "frames", "invariants", "cometric", "inner", "volume"},
    "float32": {"end_to_end"},
}


def gram(frame):
    """Sum of squares over a basis: it does not depend on the basis of the complements."""
    return tuple(e.mT @ e for e in (_flat(x) for x in frame))


def _flat(x):
    xp = namespace(x)
    return xp.reshape(x, (*x.shape[:-2], x.shape[-2] * x.shape[-1]))


def compare(actual, expected, tolerance):
    for x, y in zip(leaves(actual), leaves(expected), strict=True):
        ref.close(x, y, tolerance)


PARAMETERS = [
    (slow if library == "jax" and name not in COMPILED_FAST[dtype] else pytest.param)(
        library, name, dtype, tolerance
    )
    for library in NAMESPACES
    for dtype, tolerance in [("float64", 1e-12), ("float32", 1e-4)]
    for name in FUNCTIONS
    if library != "jax" or name in COMPILED[dtype]
]


@pytest.mark.parametrize(("xp", "name", "dtype", "tolerance"), PARAMETERS, indirect=["xp"])
def test_same_numbers_and_dtype_in_every_library(xp, name, dtype, tolerance, rng):
    plain = inputs(rng)
    arguments = {key: xp.array(value, dtype) for key, value in plain.items()}
    result = FUNCTIONS[name](arguments)
    assert xp.dtypes(result) == {dtype}
    compare(xp.numpy(result), FUNCTIONS[name](plain), tolerance)
    for key, value in plain.items():
        compare(xp.numpy(arguments[key]), Namespace("numpy").array(value, dtype), 0.0)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_batched_equals_looped(name, rng):
    batch = inputs(rng, BATCH)
    result = FUNCTIONS[name](batch)
    for index in np.ndindex(BATCH):
        one = FUNCTIONS[name]({key: pick(value, index) for key, value in batch.items()})
        compare(pick(result, index), one, 10 * np.finfo(float).eps)


def test_unchecked_calls_compile(rng):
    pytest.importorskip("jax")
    xp = Namespace("jax")
    jit = pytest.importorskip("jax").jit
    plain = inputs(rng)
    functions = {
        "gradient": lambda W, G: endtoend.gradient(W, G, 3, check_finite=False),
        "retraction": lambda W, Z: signless(endtoend.retraction(W, Z, 3, check_finite=False)),
        "tangent": lambda x, X: balanced.tangent_projection(x, X, check_finite=False),
    }
    arguments = {"gradient": ("W", "G"), "retraction": ("W", "Z"), "tangent": ("point", "X")}
    for name, function in functions.items():
        taken = tuple(plain[key] for key in arguments[name])
        compare(xp.numpy(jit(function)(*xp.array(taken))), function(*taken), 1e-12)
