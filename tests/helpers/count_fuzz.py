"""Counts what the public functions do with arguments that are not as they should be.

``python -m tests.helpers.count_fuzz [name ...]`` prints, for each call and in all: values that are
right, clear errors, raw errors, and values that should not have been returned.
"""

import sys
from collections import Counter

from tests.helpers.mutations import mutations
from tests.test_fuzz import CALLS, fresh, outcome

KINDS = ("right value", "clear error", "raw error", "wrong value")


def kind(name, argument, mutation, expected):
    """Return one of ``KINDS``, and what went wrong."""
    seen = []
    found = outcome(name, {argument: mutation}, expected, seen)
    if found:
        return ("raw error" if found.startswith(("raw", "refused")) else "wrong value"), found
    return ("clear error" if seen else "right value"), ""


def count(name):
    """Count the outcomes of one public call, and list the faults."""
    call, arguments = fresh(name)
    expected, counts, faults = call(**arguments), Counter(), []
    for argument, value in fresh(name)[1].items():
        for mutation in mutations(argument, value):
            which, found = kind(name, argument, mutation, expected)
            counts[which] += 1
            if found:
                faults.append(f"    {argument}, {mutation.name}: {found}")
    return counts, faults


def main():
    """Print one line for each call as soon as it is known, and the sums."""
    total = Counter()
    for name in sys.argv[1:] or CALLS:
        counts, faults = count(name)
        total += counts
        print(name, dict(counts), *faults, sep="\n", flush=True)
    print("all calls:", sum(total.values()), {which: total[which] for which in KINDS})


if __name__ == "__main__":
    main()
