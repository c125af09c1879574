"""Checkpoints of runs: after a kill at any moment, the same call gives the same result to the bit.

A folder holds ``run.json`` and ``start.npz``, which identify the call, one state file for each
group of chains, replaced atomically, and ``draws.zarr`` with the draws.  A chunk of draws counts
only once a state file has its digest; draws that do not fill a chunk are kept in the state file.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from dlngeom._lib.arrays import Array
from dlngeom._lib.vectors import parts, rebuild, stack
from dlngeom.langevin._engine._files import opened, read_sealed, write_sealed
from dlngeom.langevin._engine._groups import Snapshot
from dlngeom.langevin._engine._same_call import Call

__all__ = ["DiskSink", "digest", "open_checkpoint"]

# Seconds of work that a kill may cost.
_INTERVAL = 1.0

# Bytes of draws that one group buffers before it writes a chunk.
_CHUNK = 2**24


def open_checkpoint(
    path: str | os.PathLike[str],
    call: Call,
    draw: Sequence[Array],
    n_draws: int,
    together: int,
    held: ExitStack,
) -> Callable[[int], DiskSink]:
    """Make or reopen a checkpoint; return a function from a first chain to the sink of its group.

    Parameters
    ----------
    path : path
        Folder.
    call : Call
        What must agree for a run to be resumed.
    draw : sequence of arrays (chain, ...)
        The first draw.
    n_draws : int
        Number of draws.
    together : int
        Chains in a group.
    held : contextlib.ExitStack
        Receives the lock that keeps other processes away until it is closed.

    Raises
    ------
    ValueError
        If the folder holds something else, or the checkpoint of another call.
    ImportError
        If zarr is not installed.
    """
    # Workers of a pool may run in other folders.
    folder = Path(path).expanduser().resolve()
    arrays = [x for x in draw if isinstance(x, np.ndarray)]
    if len(arrays) < len(draw):
        kinds = sorted({type(x).__module__ for x in draw})
        raise ValueError(f"checkpoint={folder}: it needs numpy arrays, not those of {kinds}")
    chains = arrays[0].shape[0]
    size = sum(x.nbytes for x in arrays) * min(together, chains) // chains
    length = max(1, min(n_draws, _CHUNK // max(size, 1)))
    sizes = {"draws": n_draws, "chunk": [together, length]}
    call = replace(call, arguments={**call.arguments, **sizes})
    _require_checkpoint(folder, call)
    # Two processes may start the same checkpoint: whoever has the lock makes it.
    held.enter_context(_lock(folder))
    _open(folder, call, arrays, n_draws)
    return lambda first: DiskSink(folder, first, length)


def digest(arrays: Sequence[Array]) -> str:
    """Fingerprint of the values of arrays."""
    total = hashlib.sha256()
    for x in arrays:
        total.update(f"{x.dtype}{x.shape}".encode())
        total.update(np.ascontiguousarray(x).tobytes())
    return total.hexdigest()


def _zarr() -> Any:
    try:
        import zarr
    except ImportError as error:
        raise ImportError("checkpoint needs zarr: pip install 'dlngeom[xarray]'") from error
    return zarr


def _require_checkpoint(folder: Path, call: Call) -> None:
    """Require that a folder is the checkpoint of a call, or may become it, before it is touched."""
    if folder.is_dir() and (folder / "run.json").is_file():
        call.compare(folder)
    # A kill while the folder is made leaves at most the start, and arrays without values.
    elif folder.exists() and not (
        folder.is_dir() and _names(folder) <= {"draws.zarr", "start.npz"}
    ):
        raise ValueError(f"checkpoint={folder}: it exists and is no checkpoint, give a new path")


def _open(folder: Path, call: Call, draw: Sequence[np.ndarray], n_draws: int) -> None:
    if (folder / "run.json").is_file():
        call.compare(folder)
        return
    zarr = _zarr()
    group = zarr.open_group(folder / "draws.zarr", mode="w")
    together, length = call.arguments["chunk"]
    for i, x in enumerate(draw):
        shape = (x.shape[0], n_draws, *x.shape[1:])
        chunks = (min(together, x.shape[0]), length, *x.shape[1:])
        group.create_array(f"array_{i}", shape=shape, chunks=chunks, dtype=x.dtype)
    call.store(folder)


def _lock(folder: Path) -> IO[bytes]:
    """Return an open file that keeps other processes away."""
    if not folder.exists():
        _zarr()
        folder.mkdir(parents=True, exist_ok=True)
    try:
        stream = opened(folder / "lock")
    except OSError as error:
        if error.errno in {errno.EROFS, errno.EACCES} and (folder / "run.json").is_file():
            # Nobody can write here, and a finished run only needs to be read.
            return (folder / "run.json").open("rb")
        raise
    try:
        import fcntl
    except ImportError:
        # Other systems have no locks that a kill releases.
        return stream
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        raise ValueError(f"checkpoint={folder}: another process is running it") from None
    return stream


def _names(folder: Path) -> set[str]:
    return {x.name for x in folder.iterdir()} - {"run.json.writing", "start.npz.writing", "lock"}


class DiskSink:
    """Draws of one group in a checkpoint; see :class:`dlngeom.langevin._engine._groups.Sink`.

    Parameters
    ----------
    folder : Path
    first : int
        Number of the first chain of the group.
    length : int
        Draws in a chunk.
    """

    def __init__(self, folder: Path, first: int, length: int) -> None:
        self.folder, self.first, self.length = folder, first, length
        self._buffer: list[list[Array]] = []
        self._digests: list[str] = []
        self._written = 0.0
        self._ended = False

    @property
    def path(self) -> Path:
        """State file."""
        return self.folder / f"chains-{self.first:08d}.state"

    def begin(self, snapshot: Snapshot, draw: Callable[[], list[Array]]) -> Snapshot:
        """Resume, or take the first draw, if the start is one."""
        if self.path.is_file():
            return self._load(snapshot)
        first = draw()
        self._buffer = [first] if first else []
        self._full()
        self._store(snapshot)
        return snapshot

    def save(self, snapshot: Snapshot, draw: list[Array]) -> None:
        """Buffer a draw; write a full chunk, and the state then and every second."""
        if draw:
            self._buffer.append(draw)
        if (draw and self._full()) or time.monotonic() > self._written + _INTERVAL:
            self._store(snapshot)

    def end(self, snapshot: Snapshot) -> None:
        """Write all draws, those of the last chunk too; a finished run is only read."""
        if not self._ended:
            self._ended = True
            self._write_chunk()
            self._store(snapshot)

    def draws(self) -> list[Array]:
        """Arrays ``(chain, draw, ...)``, after a check of every chunk.

        Raises
        ------
        ValueError
            If a chunk is not what was written.
        """
        chunks = [self._read_chunk(k, value) for k, value in enumerate(self._digests)]
        if self._buffer:
            chunks.append(_stacked(self._buffer))
        return [np.concatenate(column, axis=1) for column in zip(*chunks, strict=True)]

    def last(self, snapshot: Snapshot) -> Snapshot:
        """Read the state file of a group whose worker died."""
        return self._load(snapshot) if self.path.is_file() else snapshot

    def _full(self) -> bool:
        if len(self._buffer) < self.length:
            return False
        self._digests.append(self._write_chunk())
        self._buffer = []
        return True

    def _group(self, mode: str) -> Any:
        path = self.folder / "draws.zarr"
        try:
            return _zarr().open_group(path, mode=mode)
        except ImportError:
            raise
        except Exception as error:
            # zarr has many errors for metadata that is not what it wrote.
            raise ValueError(f"{path} is damaged: {error}") from error

    def _write_chunk(self) -> str:
        if not self._buffer:
            return ""
        arrays, group = _stacked(self._buffer), self._group("r+")
        for i, x in enumerate(arrays):
            self._array(group, i)[self._region(len(self._digests), x.shape)] = x
        return digest(arrays)

    def _array(self, group: Any, i: int) -> Any:
        try:
            return group[f"array_{i}"]
        except Exception as error:
            path = self.folder / "draws.zarr" / f"array_{i}"
            raise ValueError(f"{path} is damaged: {error}") from error

    def _region(self, chunk: int, shape: tuple[int, ...]) -> tuple[slice, slice]:
        start = chunk * self.length
        return slice(self.first, self.first + shape[0]), slice(start, start + shape[1])

    def _read_chunk(self, chunk: int, expected: str) -> list[np.ndarray]:
        group, chains = self._group("r"), self._chains
        region = self._region(chunk, (chains, self.length))
        try:
            count = len(list(group.array_keys()))
            arrays = [np.asarray(group[f"array_{i}"][region]) for i in range(count)]
        except Exception as error:
            raise ValueError(f"{self._place(chunk)} cannot be read: {error}") from error
        if digest(arrays) != expected:
            raise ValueError(f"{self._place(chunk)} is damaged: its digest does not fit")
        return arrays

    def _place(self, chunk: int) -> str:
        start = chunk * self.length
        last = self.first + self._chains - 1
        return (
            f"{self.folder / 'draws.zarr'}: the chunk of chains {self.first} to {last}, draws "
            f"{start} to {start + self.length - 1},"
        )

    def _store(self, snapshot: Snapshot) -> None:
        """Replace the state file."""
        self._chains = int(parts(snapshot.state)[0].shape[0])
        generators = [g.bit_generator.state for g in snapshot.streams.generators]
        about = {
            "step": snapshot.step,
            "digests": self._digests,
            "generators": generators,
            "ended": self._ended,
        }
        buffered = _stacked(self._buffer) if self._buffer else []
        arrays: dict[str, Any] = {f"state_{i}": x for i, x in enumerate(parts(snapshot.state))}
        arrays |= {f"draws_{i}": x for i, x in enumerate(buffered)}
        text = json.dumps(about, default=lambda x: x.tolist())
        write_sealed(self.path, {"about": np.frombuffer(text.encode(), dtype=np.uint8), **arrays})
        self._written = time.monotonic()

    def _load(self, start: Snapshot) -> Snapshot:
        """Restore a group from its state file."""
        stored = read_sealed(self.path)
        about = json.loads(stored["about"].tobytes().decode())
        state = [x for name, x in stored.items() if name.startswith("state_")]
        kept = [x for name, x in stored.items() if name.startswith("draws_")]
        for generator, value in zip(start.streams.generators, about["generators"], strict=True):
            generator.bit_generator.state = value
        self._ended = bool(about.get("ended", False))
        draws = range(kept[0].shape[1] if kept else 0)
        self._buffer = [[x[:, k] for x in kept] for k in draws]
        self._digests, self._chains = about["digests"], int(state[0].shape[0])
        self._written = time.monotonic()
        return Snapshot(about["step"], rebuild(start.state, state), start.streams)


def _stacked(draws: list[list[Array]]) -> list[np.ndarray]:
    return list(stack([tuple(draw) for draw in draws]))
