"""Rooms whose host library may be missing: what needs them is skipped, and says so."""

import importlib

import pytest


def imported(name):
    """Import a module, or skip where its room says what to install."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if "pip install 'dlngeom[" not in str(error):
            raise
        pytest.skip(str(error))


def present(names):
    """Those of the modules that can be imported."""
    return [name for name in names if _here(name)]


def _here(name):
    try:
        importlib.import_module(name)
    except ImportError as error:
        if "pip install 'dlngeom[" not in str(error):
            raise
        return False
    return True
