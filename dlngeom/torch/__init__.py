"""Deep linear networks of torch: their layers as points here, and points here as their layers.

Begin with :func:`balanced_init_` and :class:`Recorder`.  A model is an ``nn.Sequential``, or any
iterable, of ``nn.Linear`` without biases; functions whose name ends in an underscore change it.
"""

from __future__ import annotations

from dlngeom.torch._layers import balance_, balanced_init_, factors, load_
from dlngeom.torch._recorder import Recorder

__all__ = ["Recorder", "balance_", "balanced_init_", "factors", "load_"]
