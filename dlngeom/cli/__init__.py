"""The command ``dlngeom``: one module for each subcommand."""

from __future__ import annotations

from dlngeom.cli._start import main

__all__ = ["main"]
