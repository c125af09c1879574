"""Arrays in files of numpy, scipy and Matlab, whose headers are read before anything else."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from scipy import io, sparse

from dlngeom._lib.arrays import NumpyArray
from dlngeom.cli._reading._source import (
    LARGEST_MATRIX,
    ReadingOptions,
    Source,
    parsing,
    require_size,
)
from dlngeom.completion import _door

__all__ = ["read_mat", "read_npy", "read_npz"]

# numpy gives its readers of headers no types.
_npy: Any = np.lib.format

# Parts of a sparse matrix in a file of scipy.
_PARTS = {"format", "shape", "data"}

_NUMERIC = {"double", "single", "logical", "sparse"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}


def read_npy(path: Path, options: ReadingOptions) -> Source:
    """Read a numpy array."""
    with parsing(path, "numpy array"), path.open("rb") as stream:
        _require_matrix(path, *_header(stream), options)
        stream.seek(0)
        values = np.load(stream, allow_pickle=False)
    return Source(_floats(values), ".npy", np.save)


def read_npz(path: Path, options: ReadingOptions) -> Source:
    """Read an array of numpy's archives, or a sparse matrix of scipy's."""
    with parsing(path, "numpy arrays"), zipfile.ZipFile(path) as archive:
        headers = {}
        for member in archive.namelist():
            with archive.open(member) as stream:
                headers[member.removesuffix(".npy")] = _header(stream)
        if set(headers) >= _PARTS:
            return _read_sparse(path, headers)
        matrices = [
            name for name, (shape, dtype) in headers.items() if _is_matrix(shape, dtype, options)
        ]
        contents = {name: shape for name, (shape, _) in headers.items()}
        name = _variable(path, matrices, contents, options)
        require_size(path, headers[name][0])
        with archive.open(f"{name}.npy") as stream:
            values = _npy.read_array(stream, allow_pickle=False)
    return Source(_floats(values), ".npz", _saver(name), (f"{path.name}: array {name!r}",))


def _read_sparse(path: Path, headers: dict[str, Any]) -> Source:
    if any(8 * math.prod(shape) > LARGEST_MATRIX for shape, _ in headers.values()):
        raise ValueError(f"{path} has parts of more than {LARGEST_MATRIX / 2**30:g} GiB")
    with np.load(path, allow_pickle=False) as parts:
        require_size(path, tuple(int(x) for x in parts["shape"].ravel()))
    values = _door.as_dense(sparse.load_npz(path))
    return Source(values, ".npz", _saver("completed"), (_stored(path, values),))


def read_mat(path: Path, options: ReadingOptions) -> Source:
    """Read a matrix of Matlab; of a sparse one what is stored is observed."""
    with parsing(path, "matrix of Matlab"):
        contents = {name: (shape, kind) for name, shape, kind in _matlab(path)}
        matrices = [name for name, x in contents.items() if len(x[0]) == 2 and x[1] in _NUMERIC]
        shapes = {name: shape for name, (shape, _) in contents.items()}
        name = _variable(path, matrices, shapes, options)
        require_size(path, contents[name][0])
        found = io.loadmat(str(path), variable_names=[name])[name]
        values = _door.as_dense(found) if sparse.issparse(found) else _floats(found)

    def write(target: Path, completed: NumpyArray) -> None:
        io.savemat(str(target), {name: completed})

    return Source(values, ".mat", write, (f"{path.name}: variable {name!r}",))


def _matlab(path: Path) -> list[tuple[str, tuple[int, ...], str]]:
    """Names, shapes and kinds of the variables in a file."""
    try:
        return list(io.whosmat(str(path)))
    except NotImplementedError:
        raise ValueError(
            f"{path} is a file of Matlab 7.3, which is one of HDF5: save it with -v7"
        ) from None


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the array in a file, which numpy would allocate first and read then."""
    readers = {(1, 0): _npy.read_array_header_1_0, (2, 0): _npy.read_array_header_2_0}
    version = _npy.read_magic(stream)
    if version not in readers:
        raise ValueError(f"its format has version {version}, that of matrices is (1, 0)")
    shape, _, dtype = readers[version](stream)
    return shape, dtype


def _is_matrix(shape: tuple[int, ...], dtype: np.dtype[Any], options: ReadingOptions) -> bool:
    return len(shape) == 2 and dtype.kind in ("fiub" if options.is_mask else "fiu")


def _require_matrix(
    path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], options: ReadingOptions
) -> None:
    if not _is_matrix(shape, dtype, options):
        kind = f"{dtype} of shape {shape}"
        raise ValueError(f"{path} holds {kind}: it must be a matrix of real numbers")
    require_size(path, shape)


def _variable(
    path: Path,
    matrices: Sequence[str],
    contents: dict[str, tuple[int, ...]],
    options: ReadingOptions,
) -> str:
    """Choose one of the arrays of a file: the one that is named, or the only matrix."""
    large = [name for name in matrices if min(contents[name]) > 1]
    chosen = [options.variable] if options.variable is not None else large
    if len(chosen) == 1 and chosen[0] in matrices:
        return chosen[0]
    found = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in contents.items())
    cure = "--variable NAME takes one" if matrices else "none is a matrix of numbers"
    raise ValueError(f"{path} holds {found or 'no array'}: {cure}")


def _floats(values: NumpyArray) -> NumpyArray:
    return np.asarray(values, dtype=np.float64)


def _stored(path: Path, values: NumpyArray) -> str:
    count = int(np.sum(~np.isnan(values)))
    return f"{path.name}: {count} stored entries are observed, zeros among them, the others missing"


def _saver(name: str) -> Callable[[Path, NumpyArray], None]:
    def write(path: Path, completed: NumpyArray) -> None:
        arrays: dict[str, Any] = {name: completed}
        np.savez(path, **arrays)

    return write
