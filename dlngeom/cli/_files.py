"""Writing results all at once or not at all, and never over the input."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

__all__ = ["open_folder", "require_other_file", "write_all"]


@contextlib.contextmanager
def open_folder(folder: Path) -> Iterator[None]:
    """Make sure that files can be written to a folder, before the work that makes them.

    Folders that had to be created are removed again if the work fails.

    Raises
    ------
    OSError
        If nothing can be written there.
    """
    created = [part for part in (folder, *folder.parents) if not part.exists()]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise OSError(f"{folder}: cannot write there ({error.strerror})") from None
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for part in created:
                part.rmdir()
        raise


def require_other_file(source: Path | None, folder: Path, names: Iterable[str]) -> None:
    """Refuse results that would overwrite the input.

    Raises
    ------
    ValueError
        If a file of one of the names in the folder is the input.
    """
    for name in names:
        target = folder / name
        if source is not None and target.exists() and target.samefile(source):
            raise ValueError(
                f"{source} is the input, and {target} would overwrite it: choose another --output"
            )


def write_all(folder: Path, writers: dict[str, Callable[[Path], None]]) -> None:
    """Write several files, all or none: what was there comes back if one cannot be moved."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as temporary:
        new, old = Path(temporary) / "new", Path(temporary) / "old"
        new.mkdir()
        old.mkdir()
        for name, write in writers.items():
            write(new / name)
        moved: list[str] = []
        try:
            for name in writers:
                if (folder / name).is_dir():
                    raise IsADirectoryError(
                        f"{folder / name} is a folder: move it, or choose another --output"
                    )
                if (folder / name).exists():
                    os.replace(folder / name, old / name)
                moved.append(name)
                os.replace(new / name, folder / name)
        except BaseException:
            for name in moved:
                (folder / name).unlink(missing_ok=True)
                if (old / name).exists():
                    os.replace(old / name, folder / name)
            raise
