"""Whatever callers pass to a public function, it gives the right value or one clear error."""

from __future__ import annotations

import copy
import re
import traceback
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import data, integers, permutations, sampled_from

import dlngeom
from dlngeom.flow import Trajectory
from tests.helpers.mutations import REFUSED, SAME, mutations
from tests.helpers.public_calls import public_calls

ROOT = str(Path(dlngeom.__file__).parent)
CALLS = public_calls()
# They check no values: what is not finite, or complex, passes through.
TRANSPARENT = {
    "dense",
    "dense of frames",
    "dense of a low-rank matrix",
    "factors",
    "weights",
    "end_to_end of frames",
    "step",
}
# None means none.
OPTIONAL = {("riemannian_langevin", "energy_gradient"), ("network_langevin", "energy_gradient")}
PASSED = re.compile("holds|complex|nan|inf")
# Powers of such numbers do not fit into the dtype.
EXTREME = re.compile(r"1e[-+]?(150|300)|inf|nan")
# Two mutations of such a call may take seconds.
LONG = {"log gas", "gradient_flow", "network_flow", "log", "dist"}


def arrays(value):
    """All numbers in a result."""
    if isinstance(value, Trajectory):
        return arrays(value.points)
    if isinstance(value, (tuple, list)):
        return [x for part in value for x in arrays(part)]
    return [np.asarray(value)] if isinstance(value, (np.ndarray, float, np.number)) else []


def clear(error):
    """Whether an error was raised on purpose, by us, and says something."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    if last.name == "_force":
        return True  # A caller's function failed, with an error that is the caller's.
    deliberate = last.filename.startswith(ROOT) and last.line.startswith("raise")
    return deliberate and len(str(error)) > 15


def close(one, two):
    pairs = zip(arrays(one), arrays(two), strict=True)
    return all(np.allclose(x, y, rtol=1e-9, atol=1e-12) for x, y in pairs)


def fresh(name):
    """Return a public call with arguments that nobody has touched."""
    call, arguments = CALLS[name]
    return call, copy.deepcopy(arguments)


def outcome(name, changes, expected=None, errors=None):
    """Empty if all is well, else what went wrong; an error is appended to ``errors``."""
    call, given_arguments = fresh(name)
    arguments = given_arguments | {argument: m.value for argument, m in changes.items()}
    before = [x.copy() for x in arrays(tuple(arguments.values()))]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = call(**arguments)
    except Exception as error:
        if errors is not None:
            errors.append(error)
        return refusal(error, changes)
    after = arrays(tuple(arguments.values()))
    if not all(same_bits(x, y) for x, y in zip(before, after, strict=True)):
        return "changed its input"
    return judged(name, found, changes, expected)


def same_bits(x, y):
    return np.array_equal(x, y, equal_nan=x.dtype.kind in "fc")


def refusal(error, changes):
    if not clear(error):
        return f"raw {type(error).__name__}: {error}"
    good = all(mutation.kind == SAME for mutation in changes.values())
    return f"refused: {error}" if good else ""


def judged(name, found, changes, expected):
    kinds = {mutation.kind for mutation in changes.values()}
    if kinds == {SAME}:
        return "" if expected is None or close(found, expected) else "another value"
    if any((name, argument) in OPTIONAL and m.value is None for argument, m in changes.items()):
        return ""
    if REFUSED in kinds:
        passed = name in TRANSPARENT and all(
            PASSED.search(m.name) for m in changes.values() if m.kind == REFUSED
        )
        return "" if passed else "returned"
    extreme = any(EXTREME.search(mutation.name) for mutation in changes.values())
    whole = all(not np.any(np.isnan(x)) for x in arrays(found))
    return "" if whole or extreme or name in TRANSPARENT else "NaN"


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_every_argument_that_is_not_as_it_should_be(name):
    call, arguments = fresh(name)
    expected = call(**arguments)
    wrong = {}
    for argument, value in fresh(name)[1].items():
        for mutation in mutations(argument, value):
            found = outcome(name, {argument: mutation}, expected)
            if found:
                wrong[argument, mutation.name] = found
    assert not wrong


@pytest.mark.slow
@settings(max_examples=2000, deadline=None, derandomize=True, database=None)
@given(data())
def test_two_arguments_that_are_not_as_they_should_be(choices):
    name = choices.draw(sampled_from(sorted(set(CALLS) - LONG)))
    _, arguments = fresh(name)
    changes = {}
    for argument in choices.draw(permutations(sorted(arguments)))[:2]:
        found = list(mutations(argument, arguments[argument]))
        if found:
            changes[argument] = found[choices.draw(integers(0, len(found) - 1))]
    assert not outcome(name, changes)
