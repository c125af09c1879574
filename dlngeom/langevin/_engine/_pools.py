"""Pools of workers: results in the order of the tasks, and an error if a worker dies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError
from multiprocessing import TimeoutError as NotYetError
from multiprocessing.pool import Pool, ThreadPool
from typing import Any

__all__ = ["DEAD", "DeadPoolError", "mapped"]

# Seconds between two checks of the processes of a pool that does not watch them itself.
_PATIENCE = 0.5

# Names of what dask raises where a task has killed several workers, or the cluster is gone; dask
# need not be installed.
_DASK = {"KilledWorker", "CommClosedError", "FutureCancelledError", "LostWorker"}


class DeadPoolError(BrokenExecutor):
    """Workers died, and their results with them."""


# What an executor raises when its workers are gone.
DEAD = (BrokenExecutor, CancelledError, EOFError, ConnectionError)


def mapped(pool: Any, function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
    """Results of all tasks in their order, from anything with a ``map``.

    Raises
    ------
    BrokenExecutor, CancelledError, EOFError, ConnectionError
        If the workers are gone; a dask cluster first tries the tasks of a dead worker again.
    """
    if isinstance(pool, Pool) and not isinstance(pool, ThreadPool):
        yield from _watched(pool, function, tasks)
        return
    try:
        yield from pool.map(function, tasks)
    except Exception as error:
        if type(error).__name__ in _DASK:
            raise DeadPoolError(str(error)) from error
        raise


def _watched(pool: Any, function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
    """Results from a ``multiprocessing`` pool, which would wait for ever for a dead process."""
    results = pool.imap(function, tasks)
    processes: list[Any] = []
    for _ in tasks:
        while True:
            # A pool forgets processes that it replaces; these objects keep their exit codes.
            processes = list({*processes, *pool._pool})
            try:
                yield results.next(_PATIENCE)
                break
            except NotYetError:
                dead = [x for x in processes if x.exitcode not in (None, 0)]
                if dead:
                    raise DeadPoolError(
                        f"process {dead[0].pid} ended with exit code {dead[0].exitcode}"
                    ) from None
