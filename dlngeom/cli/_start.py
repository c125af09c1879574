"""Start of the command, which an interruption may end at any time."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any, NoReturn

__all__ = ["main"]

# pymanopt imports these if they are there; the command computes with numpy alone.
BACKENDS = ("autograd", "jax", "tensorflow", "torch")

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command line without the program's name; that of the process by default.

    Returns
    -------
    int
        0 on success, 2 on bad input, 130 if interrupted.

    See Also
    --------
    dlngeom.completion.complete : The function behind ``dlngeom complete``.
    dlngeom.langevin.riemannian_langevin : The sampler behind ``dlngeom sample``.
    dlngeom.thermodynamics.landscape.local_minima : The search behind ``dlngeom landscape``.
    """
    # Python lets the main thread alone decide about signals.
    in_main_thread = threading.current_thread() is threading.main_thread()
    name, is_own_process = "dlngeom", arguments is None and in_main_thread
    try:
        with _ended_by_interrupts() if is_own_process else contextlib.nullcontext():
            options = _parsed(arguments)
            name = f"dlngeom {options.command}"
            command = _loaded(options.command, is_own_process)
        command.run(options)
    except KeyboardInterrupt:
        if is_own_process:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # One more would be a traceback at exit.
        print(f"{name}: interrupted, nothing was written", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, OSError) as error:
        print(f"{name}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(f"{name}: error: the memory does not suffice: {error}", file=sys.stderr)
        return 2
    return 0


def _parsed(arguments: Sequence[str] | None) -> Any:
    from dlngeom.cli import _parser

    return _parser.parse(arguments)


def _loaded(command: str, is_own_process: bool) -> ModuleType:
    """Load a subcommand, which takes a second that --help need not wait for."""
    if is_own_process:
        # Others may want the backends in their process, where pymanopt looks for them only once.
        with _without(BACKENDS):
            importlib.import_module("pymanopt")
    return importlib.import_module(f"dlngeom.cli._{command}")


@contextlib.contextmanager
def _without(names: Sequence[str]) -> Iterator[None]:
    """Keep libraries that are not loaded yet from being found."""
    absent = [name for name in names if name not in sys.modules]
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    modules.update(dict.fromkeys(absent))
    try:
        yield
    finally:
        for name in absent:
            modules.pop(name, None)


@contextlib.contextmanager
def _ended_by_interrupts() -> Iterator[None]:
    """End the process at once when it is interrupted, before there is anything to clean up.

    An exception would be lost where it meets an import that may fail, or be printed by one that
    has to go on.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # Somebody else has a say, or the shell wants interruptions to be ignored.
        return
    signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: Any) -> NoReturn:
    os.write(2, b"dlngeom: interrupted, nothing was written\n")
    os._exit(INTERRUPTED)
