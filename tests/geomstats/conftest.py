"""Skips the room where geomstats, which holds numpy back, is not installed."""

import pytest

pytest.importorskip("geomstats.backend", exc_type=ImportError)
