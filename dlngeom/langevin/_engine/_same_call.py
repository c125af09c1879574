"""Whether a checkpoint belongs to a call: by its arguments, and by what its functions compute.

Values are compared up to rounding, which differs from one kind of processor to another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dlngeom._lib.arrays import Array
from dlngeom.langevin._engine._files import read_sealed, replace, write_sealed

__all__ = ["Call"]

_FORMAT = "dlngeom checkpoint 3"

# Values agree if they differ by less than this power of the precision, 4e-11 for doubles, times
# their largest: rounding errors grow in decompositions, and functions differ by more.
_POWER = 2 / 3


@dataclass(frozen=True)
class Call:
    """What must agree for a run to be resumed.

    Attributes
    ----------
    arguments : dict
        Plain values, which must be equal.
    functions : dict
        Names of functions, which may differ where their values do not.
    values : dict
        Name to arrays, which must be equal up to rounding.
    """

    arguments: Mapping[str, Any]
    functions: Mapping[str, str]
    values: Mapping[str, Sequence[Array]]

    def store(self, folder: Path) -> None:
        """Write the call into a folder; ``run.json`` comes last and makes it a checkpoint."""
        arrays = {f"{name}/{i}": x for name, xs in self.values.items() for i, x in enumerate(xs)}
        write_sealed(folder / "start.npz", arrays)
        replace(folder / "run.json", json.dumps(self._plain(), indent=1).encode())

    def compare(self, folder: Path) -> None:
        """Require that the checkpoint in a folder was made by the same call.

        Raises
        ------
        ValueError
            If it was not, with the first difference, or if a file is damaged.
        """
        path, given = folder / "run.json", json.loads(json.dumps(self._plain()))
        stored = _read(path)
        for name in {**given, **stored}:
            if name != "functions" and stored.get(name) != given.get(name):
                raise ValueError(_another(path, name, stored.get(name), given.get(name)))
        found = read_sealed(folder / "start.npz")
        for name, arrays in self.values.items():
            kept = [x for key, x in found.items() if key.rpartition("/")[0] == name]
            difference = _difference(kept, [np.asarray(x) for x in arrays])
            if difference is not None:
                renamed = self._renamed(stored.get("functions"))
                message = _another(path, *(renamed or (name, *difference)))
                raise ValueError(message + f"; the {name} is not the same" * bool(renamed))

    def _plain(self) -> dict[str, Any]:
        return {"format": _FORMAT, **self.arguments, "functions": dict(self.functions)}

    def _renamed(self, stored: Any) -> tuple[str, Any, Any] | None:
        """First function with another name than the stored one, which explains a difference."""
        for name, value in self.functions.items():
            if isinstance(stored, dict) and stored.get(name) != value:
                return name, stored.get(name), value
        return None


def _read(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    if not isinstance(stored, dict) or stored.get("format") != _FORMAT:
        raise ValueError(f"{path} is no checkpoint of this version of dlngeom")
    return stored


def _another(path: Path, name: str, stored: Any, given: Any) -> str:
    return (
        f"{path} belongs to a call with {name}={stored!r}, this one has {given!r}: give another "
        "path"
    )


def _difference(
    stored: Sequence[np.ndarray], given: Sequence[np.ndarray]
) -> tuple[Any, Any] | None:
    """First two values that differ by more than rounding, or two kinds of arrays."""
    kinds = [[f"{x.dtype}{x.shape}" for x in arrays] for arrays in (stored, given)]
    if kinds[0] != kinds[1]:
        return kinds[0], kinds[1]
    for x, y in zip(stored, given, strict=True):
        bad = np.argwhere(~_agree(x, y))
        if len(bad):
            place = tuple(bad[0])
            return x[place].item(), y[place].item()
    return None


def _agree(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Entries that are equal up to rounding; what is not finite must be the same."""
    if x.dtype.kind not in "fc":
        return np.asarray(x == y)
    with np.errstate(all="ignore"):
        size = np.max(np.abs(x), initial=0.0, where=np.isfinite(x))
        near = np.abs(x - y) <= np.finfo(x.dtype).eps ** _POWER * size
    return np.asarray(near | (x == y) | (np.isnan(x) & np.isnan(y)))
