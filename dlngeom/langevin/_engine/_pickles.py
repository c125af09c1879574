"""What cannot be sent to the processes of a pool, and what to do about it."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

from dlngeom.langevin._engine._groups import Group

__all__ = ["is_of_pickle", "unsendable"]


def is_of_pickle(error: BaseException) -> bool:
    """Whether an error may be that of an object that does not pickle; its types are many."""
    # Of a function inside another, Python 3.13 only says that it cannot be got.
    named = isinstance(error, (TypeError, AttributeError)) and any(
        sign in str(error) for sign in ("pickle", "local object")
    )
    return named or isinstance(error, pickle.PicklingError)


def unsendable(group: Group) -> str | None:
    """Say which part of a task does not pickle and the cure, None if all do."""
    for name, value in _parts(group):
        try:
            pickle.dumps(value)
        except Exception as error:
            return (
                f"{name}={value!r} cannot be sent to the processes of a pool ({error}): define it "
                "by def or class at the top of a module and without locks, files or lambdas in "
                "it, or use a pool of threads"
            )
    return None


def _parts(group: Group) -> Iterator[tuple[str, Any]]:
    """All that comes from the caller: functions first, since spaces seldom fail."""
    plan, walk = group.plan, group.plan.walk
    yield "energy_gradient", plan.energy_gradient or getattr(walk, "energy_gradient", None)
    yield "energy", getattr(walk, "energy", None)
    for name, function in plan.observe.items():
        yield f"observe[{name!r}]", function
    yield "space", getattr(walk, "space", getattr(walk, "base", walk))
    yield "point", group.state
