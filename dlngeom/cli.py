"""The command ``dlngeom``: parses arguments, and turns bad input into one line and exit code 2."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

__all__ = ["main"]

# Named here too, so that --help does not load the optimizers.
SOLVERS = ("conjugate-gradient", "trust-regions", "steepest-descent")
INPUT = "CSV with empty cells, .npy with NaN, or a PNG or JPEG picture (read in grey)"
SAMPLE = "use the photograph that comes with scikit-learn"
OUTPUT = "folder for the completed matrix and the figure (default: %(default)s)"
MISSING = "part of the entries to hide and predict (default: 0.5 for pictures, else none)"


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
    """
    options = _parser().parse_args(arguments)
    # Loading numpy and pymanopt takes a second that --help need not wait for.
    from dlngeom.commands import complete

    try:
        complete.run(options)
    except KeyboardInterrupt:
        print("dlngeom complete: interrupted, nothing was written", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"dlngeom complete: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


class _Parser(argparse.ArgumentParser):
    """Parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="dlngeom", description="Geometry of the deep linear network at work.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    complete = commands.add_parser(
        "complete",
        help="complete a matrix or a picture without tuning its rank",
        description="Complete a matrix with missing entries by Riemannian optimization under the "
        "depth-N metric, and compare with fixed-rank completion.",
    )
    source = complete.add_mutually_exclusive_group(required=True)
    source.add_argument("input", nargs="?", type=Path, metavar="INPUT", help=INPUT)
    source.add_argument("--sample", action="store_true", help=SAMPLE)
    _add_options(complete)
    return parser


def _add_options(complete: argparse.ArgumentParser) -> None:
    add = complete.add_argument
    add("--output", type=Path, default=Path("dlngeom-output"), metavar="DIR", help=OUTPUT)
    add("--rank", type=_integer, metavar="R", help="cap of the rank (default: 50)")
    add("--depth", type=_integer, metavar="N", help="number of layers (default: chosen from 2, 3)")
    add("--solver", default=SOLVERS[0], choices=SOLVERS, help="optimizer (default: %(default)s)")
    add("--missing", type=_fraction, metavar="FRACTION", help=MISSING)
    add("--seed", type=_integer, default=0, metavar="S", help="seed of every random choice")


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no integer") from None


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number between 0 and 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
