"""Completion of matrices from some of their entries.

Begin with :class:`DLNCompletion`; :func:`complete` is the function behind ``dlngeom complete``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlngeom._lib.lazy import lazy_face as _lazy_face

# For type checkers alone, which do not see what loads on first use.
if TYPE_CHECKING:
    from dlngeom.completion._complete import Completion, complete
    from dlngeom.completion._estimator import DLNCompletion

__all__ = ["Completion", "DLNCompletion", "complete"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = _lazy_face(
        __name__,
        {"Completion": "_complete", "complete": "_complete", "DLNCompletion": "_estimator"},
    )
