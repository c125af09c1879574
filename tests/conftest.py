"""Fixtures of the whole suite: array namespaces, a seeded generator, a derandomized profile."""

import gc
import importlib.metadata
import importlib.util
import os

import numpy as np
import pytest
from hypothesis import settings

from tests.helpers.downstairs import CASES, DENSE, build, name
from tests.helpers.namespaces import NAMESPACES, Namespace

# Tests of jax compile for most of their time, so that XLA optimizes little here; an empty XLA_FLAGS
# leaves it as users have it.  A jax of another version may end at flags that it does not know.
if importlib.util.find_spec("jaxlib") and importlib.metadata.version("jaxlib").startswith("0.10."):
    few = "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=1"
    os.environ.setdefault("XLA_FLAGS", few)

settings.register_profile("derandomized", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("derandomized")


def pytest_collection_finish():
    """Leave the modules of all libraries out of later searches for garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=NAMESPACES)
def xp(request):
    """One array library after the other."""
    pytest.importorskip(request.param)
    return Namespace(request.param)


@pytest.fixture
def rng():
    """Return a generator with a fixed seed, new in every test."""
    return np.random.default_rng(20240213)


@pytest.fixture(params=CASES, ids=name)
def at(request, rng):
    return build(request.param, rng)


@pytest.fixture(params=DENSE, ids=name)
def dense_at(request, rng):
    return build(request.param, rng)
