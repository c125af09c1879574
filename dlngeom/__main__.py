"""The command, as ``python -m dlngeom``."""

from __future__ import annotations

import sys

from dlngeom.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
