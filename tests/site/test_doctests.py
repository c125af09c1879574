"""Examples in docstrings print what they show."""

import doctest
import pkgutil

import pytest

import dlngeom
from tests.helpers.hosts import imported, present

MODULES = sorted(x.name for x in pkgutil.walk_packages(dlngeom.__path__, "dlngeom."))
WITH_EXAMPLES = 15


def examples(name):
    module = imported(name)
    return [test for test in doctest.DocTestFinder().find(module) if test.examples]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in examples(name):
        printed = []
        runner.run(test, out=printed.append)
        assert not printed, "".join(printed)


def test_there_are_examples():
    assert sum(bool(examples(name)) for name in present(MODULES)) >= WITH_EXAMPLES
