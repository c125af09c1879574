"""Skips the room where geoopt is not installed."""

import pytest

pytest.importorskip("geoopt", exc_type=ImportError)
