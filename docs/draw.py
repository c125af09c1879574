"""Draw a page of the gallery at other sizes: ``python docs/draw.py orbits --slices 4``.

The sizes of a page are its constants in capitals; ``--help`` after the name of a page lists them.
"""

from __future__ import annotations

import argparse
import ast
import sys
from pathlib import Path
from typing import Any

GALLERY = Path(__file__).parent / "gallery"


def sizes(tree: ast.Module) -> dict[str, ast.expr]:
    """Constants in capitals of a script, whose values are numbers or tuples of them."""
    found = {}
    for node in tree.body:
        if not isinstance(node, ast.Assign):
            continue
        (names, values), target = ([], []), node.targets[0]
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            names, values = target.elts, node.value.elts
        elif isinstance(target, ast.Name):
            names, values = [target], [node.value]
        for name, value in zip(names, values, strict=True):
            if isinstance(name, ast.Name) and name.id.isupper() and _is_literal(value):
                found[name.id] = value
    return found


def _is_literal(value: ast.expr) -> bool:
    try:
        ast.literal_eval(value)
    except ValueError:
        return False
    return True


class _Change(ast.NodeTransformer):
    """Put other values in the place of some."""

    def __init__(self, values: dict[int, ast.expr]):
        self.values = values

    def visit(self, node: ast.AST) -> ast.AST:
        return self.values.get(id(node)) or super().visit(node)


def draw(name: str, **changes: Any) -> dict[str, Any]:
    """Run a page with some of its constants changed, and return its variables."""
    path = GALLERY / f"plot_{name}.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    known = sizes(tree)
    unknown = changes.keys() - known.keys()
    if unknown:
        raise ValueError(f"{path.name} has the sizes {sorted(known)}, not {sorted(unknown)}")
    values = {id(known[k]): ast.parse(repr(x), mode="eval").body for k, x in changes.items()}
    code = compile(ast.fix_missing_locations(_Change(values).visit(tree)), str(path), "exec")
    scope = {"__name__": "__main__", "__file__": str(path)}
    exec(code, scope)
    return scope


def main(words: list[str]) -> None:
    """Read the name of the page, then its sizes, from the command line."""
    names = sorted(path.stem.removeprefix("plot_") for path in GALLERY.glob("plot_*.py"))
    parser = argparse.ArgumentParser(description="Draw a page of the gallery", add_help=False)
    parser.add_argument("page", choices=names)
    name = parser.parse_known_args(words)[0].page
    for key, node in sizes(ast.parse((GALLERY / f"plot_{name}.py").read_text())).items():
        default = ast.literal_eval(node)
        several = isinstance(default, tuple)
        kind = type(default[0]) if several else type(default)
        option = "--" + key.lower().replace("_", "-")
        parser.add_argument(option, type=kind, nargs="+" if several else None, default=default)
    parser.add_argument("--output", help="file for the figures, which are numbered")
    parser.add_argument("--help", action="help")
    given = vars(parser.parse_args(words))
    output = given.pop("output")
    given.pop("page")
    draw(name, **{k.upper(): tuple(x) if isinstance(x, list) else x for k, x in given.items()})
    if output:
        save(Path(output))


def save(path: Path) -> None:
    """Save the open figures beside each other."""
    import matplotlib.pyplot as plt

    for number in plt.get_fignums():
        plt.figure(number).savefig(path.with_stem(f"{path.stem}_{number}"), dpi=150)


if __name__ == "__main__":
    main(sys.argv[1:])
