"""Examples in docstrings print what they show."""

import doctest
import importlib
import pkgutil

import pytest

import dlngeom

PUBLIC = sorted(
    name
    for _, name, package in pkgutil.iter_modules(dlngeom.__path__)
    if not package and not name.startswith("_")
)
WITH_EXAMPLES = 15


def examples(name):
    module = importlib.import_module(f"dlngeom.{name}")
    return [test for test in doctest.DocTestFinder().find(module) if test.examples]


@pytest.mark.parametrize("name", PUBLIC)
def test_examples(name):
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in examples(name):
        printed = []
        runner.run(test, out=printed.append)
        assert not printed, "".join(printed)


def test_there_are_examples():
    assert sum(bool(examples(name)) for name in PUBLIC) >= WITH_EXAMPLES
