"""Fixtures of the samplers' tests."""

import pytest

from dlngeom.langevin._engine import _groups


@pytest.fixture
def small_groups(monkeypatch):
    """Cut few small networks into groups of one block, as wide networks are."""
    monkeypatch.setattr(_groups, "_FEW_NUMBERS", 1)
