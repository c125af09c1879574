"""Files of checkpoints: replaced atomically, sealed by a digest, never written through a link."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

__all__ = ["opened", "read_sealed", "replace", "write_sealed"]


def opened(path: Path) -> IO[bytes]:
    """Open a file of a checkpoint to write it anew, but not what a link points to."""
    if path.is_symlink():
        raise ValueError(f"{path} is a link, which a checkpoint would overwrite: remove it")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
    return os.fdopen(os.open(path, flags, 0o666), "wb")


def replace(path: Path, content: bytes) -> None:
    """Write a file atomically: beside its place, then moved there."""
    temporary = path.with_name(f"{path.name}.writing")
    try:
        with opened(temporary) as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise OSError(
                error.errno,
                f"the disk of {path.parent} is full: what was saved is intact, make room and "
                "repeat the call, which resumes",
            ) from error
        raise


def write_sealed(path: Path, arrays: Mapping[str, Any]) -> None:
    """Replace a file of named arrays, whose first line is the digest of the rest."""
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    content = stream.getvalue()
    replace(path, hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


def read_sealed(path: Path) -> dict[str, np.ndarray]:
    """Arrays of a sealed file, in their order.

    Raises
    ------
    ValueError
        If the file is missing or is not what was written.
    """
    try:
        head, _, content = path.read_bytes().partition(b"\n")
    except OSError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if hashlib.sha256(content).hexdigest().encode() != head:
        raise ValueError(f"{path} is damaged: its digest does not fit")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
