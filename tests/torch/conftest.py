"""Skips the room where torch is not installed."""

import pytest

pytest.importorskip("torch", exc_type=ImportError)
