"""Thermodynamics of a deep linear network: entropy, free energy, volume forms.

Begin with :func:`entropy` and :func:`free_energy`; :mod:`~dlngeom.thermodynamics.landscape` finds
minima and saddles, :mod:`~dlngeom.thermodynamics.equilibrium` the laws of many singular values.

Torch and jax differentiate the entropy and the free energy rightly at equal singular values too; at
a zero singular value there is no derivative, which is an error, in compiled code NaN.  The results
of landscape and equilibrium are arrays of numpy and carry none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlngeom._lib.lazy import lazy_face as _lazy_face
from dlngeom.thermodynamics._entropy import entropy, entropy_of_singular_values
from dlngeom.thermodynamics._entropy_derivatives import (
    entropy_egrad,
    entropy_ehess,
    entropy_gradient,
)
from dlngeom.thermodynamics._free_energy import (
    free_energy,
    free_energy_gradient,
    free_energy_hessian,
)
from dlngeom.thermodynamics._root_chart import from_root, log_gibbs_density, to_root
from dlngeom.thermodynamics._volume_forms import (
    log_network_density,
    log_singular_value_density,
    log_svd_density,
)

# For type checkers alone, which do not see what loads on first use.
if TYPE_CHECKING:
    from dlngeom.thermodynamics import equilibrium, landscape

__all__ = [
    "entropy",
    "entropy_egrad",
    "entropy_ehess",
    "entropy_gradient",
    "entropy_of_singular_values",
    "equilibrium",
    "free_energy",
    "free_energy_gradient",
    "free_energy_hessian",
    "from_root",
    "landscape",
    "log_gibbs_density",
    "log_network_density",
    "log_singular_value_density",
    "log_svd_density",
    "to_root",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = _lazy_face(
        __name__, dict.fromkeys(["equilibrium", "landscape"]), __all__
    )
