"""Command line of ``dlngeom``, whose errors are one line."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from dlngeom import __version__

__all__ = ["parse"]

# Named here too, so that --help does not load the optimizers.
SOLVERS = ("alternating", "conjugate-gradient", "trust-regions", "steepest-descent")
INPUT = (
    "a table of text (CSV, TSV and so on, .gz too), triples of row, column and value, a picture, "
    ".npy, .npz, .mtx, .mat or .parquet"
)
SAMPLE = "use the photograph that comes with scikit-learn"
OUTPUT = "folder for the results (default: %(default)s)"
MISSING = "part of the entries to hide and predict (default: 0.5 for pictures, else none)"

BIASES = ("auto", "none", "columns", "rows+columns")
BIASES_HELP = (
    "what is removed first: nothing, the means of columns (tables), or biases of rows and columns "
    "(ratings) (default: chosen on held-out entries)"
)
SCALE = (
    "whether each column is divided by its deviation; auto tries it where deviations differ by "
    "much (default: %(default)s)"
)
COMPARE = (
    "methods to compare with: means and biases alone (none), scikit-learn's imputers too where the "
    "size allows (fast), or pymanopt at fixed ranks too (default: %(default)s)"
)

RANK = "rank (default: how many singular values of a completion stand out of the noise, up to 20)"
CHAINS = "number of chains (default: 64, fewer if the matrix has more than 65536 entries)"
STEPS = "steps of each chain, burn-in included (default: %(default)s)"
STEP_SIZE = (
    "size of a step, as a share of 1/(N s^(2-2/N)) where explicit steps become unstable; s is the "
    "largest singular value (default: %(default)s)"
)
BURN_IN = "part of the steps that is left out, and tells the noise level (default: %(default)s)"
BETA = "inverse temperature, kappa / noise variance (default: estimated from residuals)"
KAPPA = (
    "ratio of the noise of the matrix to that of the gauge; the law is exp(-E / noise variance + "
    "entropy / kappa) (default: %(default)s)"
)
LANDSCAPE = "a matrix up to 6 x 6 (default: 2 x 2 with a given unit diagonal)"
DEPTHS = "depths, integers or inf (default: 1 2 3 inf)"
BETAS = "inverse temperatures (default: 1 10 100)"
RIDGE = (
    "add RIDGE/2 times the squared norm of the matrix to the energy (default: 0.1 if entries are "
    "missing, since there is no minimiser without it; else 0)"
)
CHECKPOINT = "folder from which the same command resumes after an interruption"
SEPARATOR = "mark between cells: one character, tab, blank or ::"
DECIMAL = "decimal mark of numbers, . or ,"
THOUSANDS = "mark between groups of three digits, as the comma in 1,234"
HEADER = "rows of labels above the table: yes, no, auto or how many"
INDEX = "columns of labels before the table: yes, no, auto or how many"
SKIP = "lines to leave out before the table"
DROP = "name or number of a column to leave out; may be given more than once"
MARK = (
    "mark or number that stands for a missing entry, beside NA, NaN, nan, null, None, ?, -, N/A "
    "and empty cells; may be given more than once"
)
TRIPLES = "whether each row has labels of a row and a column, and the value there"
VARIABLE = "array to take from a .npz or .mat that holds several"
MASK = "picture or matrix that is white, or not zero, where entries are missing"

BIG = (
    "Chains times entries of the matrix may be 67 million; draws are thinned and kept as factors, "
    "so that memory stays at a few GiB. The matrices among the draws that are written are at most "
    "200, with 8 million entries together."
)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse a command line, that of the process by default; a wrong one ends it with code 2."""
    return _parser().parse_args(arguments)


class _Parser(argparse.ArgumentParser):
    """Parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="dlngeom", description="Geometry of the deep linear network at work.")
    parser.add_argument("--version", action="version", version=f"dlngeom {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    complete = commands.add_parser(
        "complete",
        help="complete a matrix or a picture without tuning its rank",
        description="Complete a matrix with missing entries by the cheapest deep linear "
        "network that fits what is observed, and compare with other methods.",
    )
    sample = commands.add_parser(
        "sample",
        help="sample the posterior of a low-rank matrix given some of its entries",
        description=f"Complete a matrix with missing entries, and sample around the completion by "
        f"the Riemannian Langevin equation of balanced networks. {BIG}",
    )
    landscape = commands.add_parser(
        "landscape",
        help="find the local minima of the free energy of a small matrix",
        description="Find the local minima of the free energy E - S / beta of the deep linear "
        "network by descent from many starts, where E is half the squared distance to the entries "
        "that are given. Where one entry can grow without energy, the entropy S makes F fall "
        "without bound: then there is no minimiser, unless a --ridge makes one.",
    )
    for command in (complete, sample):
        _add_input(command)
    _add_complete(complete)
    _add_sample(sample)
    _add_landscape(landscape)
    return parser


def _add_input(command: argparse.ArgumentParser) -> None:
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("input", nargs="?", type=Path, metavar="INPUT", help=INPUT)
    source.add_argument("--sample", action="store_true", help=SAMPLE)
    add = command.add_argument
    add("--output", type=Path, default=Path("dlngeom-output"), metavar="DIR", help=OUTPUT)
    add("--missing", type=_number("missing", "fraction"), metavar="FRACTION", help=MISSING)
    add("--seed", type=_integer, default=0, metavar="S", help="seed of every random choice")
    _add_reading(command)


def _add_reading(command: argparse.ArgumentParser) -> None:
    """Options for what a file leaves open."""
    add = command.add_argument_group(
        "reading", "what is found from the file unless these options say it"
    ).add_argument
    add("--separator", metavar="MARK", help=SEPARATOR)
    add("--decimal", metavar="MARK", help=DECIMAL)
    add("--thousands", metavar="MARK", help=THOUSANDS)
    add("--header", type=_count, metavar="ROWS", dest="header_rows", help=HEADER)
    add("--index", type=_count, metavar="COLUMNS", dest="index_columns", help=INDEX)
    add("--skip", type=_natural, default=0, metavar="LINES", help=SKIP)
    repeated: dict[str, Any] = {"action": "append", "default": []}
    add("--drop", metavar="COLUMN", help=DROP, **repeated)
    add("--missing-value", metavar="MARK", dest="missing_values", help=MARK, **repeated)
    add("--triples", action=argparse.BooleanOptionalAction, help=TRIPLES)
    add("--variable", metavar="NAME", help=VARIABLE)
    add("--mask", type=Path, metavar="FILE", help=MASK)


def _add_complete(complete: argparse.ArgumentParser) -> None:
    add = complete.add_argument
    add("--rank", type=_integer, metavar="R", help="cap of the rank (default: 50)")
    add("--depth", type=_integer, metavar="N", help="layers (default: chosen from 1, 2, 3)")
    add("--solver", default=SOLVERS[0], choices=SOLVERS, help="optimizer (default: %(default)s)")
    add("--biases", default="auto", choices=BIASES, help=BIASES_HELP)
    add("--scale", default="auto", choices=("auto", "columns", "none"), help=SCALE)
    add("--clip", action="store_true", help="move predictions into the range of what is observed")
    add("--compare", default="all", choices=("none", "fast", "all"), help=COMPARE)


def _add_sample(sample: argparse.ArgumentParser) -> None:
    add = sample.add_argument
    add("--rank", type=_integer, metavar="R", help=RANK)
    add("--depth", type=_integer, default=3, metavar="N", help="layers (default: %(default)s)")
    add("--chains", type=_integer, metavar="C", help=CHAINS)
    add("--steps", type=_integer, default=4000, metavar="K", help=STEPS)
    step_size, burn_in = _number("step-size", "positive"), _number("burn-in", "fraction")
    add("--step-size", type=step_size, default=0.5, metavar="H", help=STEP_SIZE)
    add("--burn-in", type=burn_in, default=0.4, metavar="FRACTION", help=BURN_IN)
    add("--beta", type=_number("beta", "positive"), metavar="B", help=BETA)
    add("--kappa", type=_number("kappa", "positive"), default=1.0, metavar="K", help=KAPPA)
    add("--checkpoint", type=Path, metavar="DIR", help=CHECKPOINT)


def _add_landscape(landscape: argparse.ArgumentParser) -> None:
    add = landscape.add_argument
    add("input", nargs="?", type=Path, metavar="INPUT", help=LANDSCAPE)
    add("--output", type=Path, default=Path("dlngeom-output"), metavar="DIR", help=OUTPUT)
    depths: list[float] = [1, 2, 3, math.inf]
    add("--depths", type=_depth, nargs="+", default=depths, metavar="N", help=DEPTHS)
    beta = _number("beta", "positive")
    add("--betas", type=beta, nargs="+", default=[1, 10, 100], metavar="B", help=BETAS)
    add("--ridge", type=_number("ridge", "nonnegative"), metavar="RIDGE", help=RIDGE)
    add("--starts", type=_integer, default=64, metavar="K", help="searches (default: %(default)s)")
    add("--saddles", action="store_true", help="look for saddle points too")
    add("--seed", type=_integer, default=0, metavar="S", help="seed of the starts")
    _add_reading(landscape)


def _depth(text: str) -> float:
    return math.inf if text == "inf" else _integer(text)


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no integer") from None


def _natural(text: str) -> int:
    if (value := _integer(text)) < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is negative")
    return value


def _count(text: str) -> int | None:
    """Parse a number of rows or columns, of which yes means one, and auto as the file has it."""
    spelled = {"auto": None, "yes": 1, "true": 1, "no": 0, "none": 0, "false": 0}
    if text.casefold() in spelled:
        return spelled[text.casefold()]
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} must be yes, no, auto or how many there are")
    return int(text)


def _number(name: str, check: str) -> Callable[[str], float]:
    """Type of an option whose range a function of the checks knows."""

    def parsed(text: str) -> float:
        # Loaded for numbers that are given, which --help need not wait for.
        from dlngeom._lib import checks

        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
        try:
            checked: float = getattr(checks, check)(name, value)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return checked

    return parsed
