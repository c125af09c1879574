"""Fixtures of the whole suite: array namespaces, a seeded generator, a derandomized profile."""

import numpy as np
import pytest
from hypothesis import settings

from tests.helpers.downstairs import CASES, DENSE, build, name
from tests.helpers.namespaces import NAMESPACES, Namespace

settings.register_profile("derandomized", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("derandomized")


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
