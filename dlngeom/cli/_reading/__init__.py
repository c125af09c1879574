"""Matrices as people have them: tables, triples, pictures and arrays, with what was understood.

Begin with :func:`read`.  What a file leaves open is in :class:`ReadingOptions`.
"""

from __future__ import annotations

from dlngeom.cli._reading._read import read, sample_picture
from dlngeom.cli._reading._source import ReadingOptions, Source

__all__ = ["ReadingOptions", "Source", "read", "sample_picture"]
