"""Fixtures of the command's tests."""

import pytest
from matplotlib.figure import Figure

from dlngeom import plotting


@pytest.fixture
def blank_figures(monkeypatch):
    """Files of figures with nothing in them, since drawing takes longer than the work."""
    for name in ("completion_figure", "sample_figure"):
        assert callable(getattr(plotting, name))
        monkeypatch.setattr(plotting, name, lambda *data: Figure())
