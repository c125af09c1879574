"""Completion of matrices from some of their entries.

Begin with :class:`DLNCompletion`; :func:`complete` is the function behind ``dlngeom complete``.
"""

from __future__ import annotations

from dlngeom._lib.lazy import lazy_face as _lazy_face

__all__ = ["Completion", "DLNCompletion", "complete"]

__getattr__, __dir__ = _lazy_face(
    __name__, {"Completion": "_complete", "complete": "_complete", "DLNCompletion": "_estimator"}
)
