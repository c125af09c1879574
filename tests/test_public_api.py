"""The faces of the rooms are the API: they, their ``__all__`` and the API pages agree."""

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dlngeom
from tests.helpers.hosts import imported, present

ROOT = Path(__file__).parents[1]
MODULES = [x.name for x in pkgutil.walk_packages(dlngeom.__path__, "dlngeom.")]
# The command has no names to import but the one that starts it.
ROOMS = [x for x in MODULES if "._" not in x]
FACES = ["dlngeom", *(x for x in ROOMS if x != "dlngeom.cli")]


def loaded(statement, *names):
    script = f"import sys; {statement}; print([n for n in {names!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_importing_the_package_loads_no_other():
    script = (
        "import sys; before = set(sys.modules); import dlngeom; print(*set(sys.modules) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {script}"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = {name.partition(".")[0] for name in done.stdout.split()}
    assert found - sys.stdlib_module_names == {"dlngeom"}


def test_importing_the_package_takes_no_time():
    script = "import time; t = time.process_time(); import dlngeom; print(time.process_time() - t)"
    times = [
        float(
            subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout
        )
        for _ in range(3)
    ]
    assert min(times) < 0.1


def test_the_geometry_loads_no_optimizer_and_no_plotting():
    heavy = ("torch", "jax", "matplotlib", "pymanopt", "geomstats", "sklearn")
    assert loaded("import dlngeom; dlngeom.endtoend, dlngeom.balanced", *heavy) == "[]"


def test_names_without_an_underscore_are_rooms():
    """What lies on the top floor is a room; inside a room everything is underscored."""
    rooms = {f"dlngeom.{name}" for name in dlngeom.__all__ if f"dlngeom.{name}" in MODULES}
    inner = {"dlngeom.thermodynamics.equilibrium", "dlngeom.thermodynamics.landscape"}
    assert set(ROOMS) == rooms | inner | {"dlngeom.cli"}
    top = {path.name for path in Path(dlngeom.__file__).parent.iterdir()} - {"__pycache__"}
    rooms = {f"{Path(x).name}" for x in top if _is_room(x)}
    assert top == rooms | {"__init__.py", "__main__.py", "py.typed"}


def _is_room(entry):
    return entry == "_lib" or f"dlngeom.{entry.removesuffix('.py')}" in ROOMS


@pytest.mark.parametrize("name", FACES)
def test_a_face_has_its_public_names_and_no_others(name):
    face = imported(name)
    assert face.__doc__
    assert len(set(face.__all__)) == len(face.__all__)
    missing = set(ROOMS) - set(present(ROOMS))
    names = [x for x in face.__all__ if f"{name}.{x}" not in missing]
    assert all(getattr(face, entry) is not None for entry in names)
    assert _own_names(face) <= set(face.__all__)


def _own_names(face):
    """Names without an underscore that a face shows, and that are not its rooms."""
    if hasattr(face, "__path__"):
        rooms = {x.rpartition(".")[2] for x in MODULES if x.rpartition(".")[0] == face.__name__}
        return (
            {x for x in vars(face) if not x.startswith("_")}
            - rooms
            - {"TYPE_CHECKING", "annotations"}
        )
    # A single file also has imports, which nobody takes for its names.
    body = ast.parse(Path(face.__file__).read_text()).body
    named = [x.name for x in body if isinstance(x, (ast.FunctionDef, ast.ClassDef))]
    targets = [t for x in body if isinstance(x, ast.Assign) for t in x.targets]
    return {x for x in [*named, *(t.id for t in targets)] if not x.startswith("_")}


def test_unknown_names_are_refused():
    assert dir(dlngeom) == sorted(dlngeom.__all__)
    for face in (dlngeom, dlngeom.completion, dlngeom.thermodynamics):
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            _ = face.nothing


def test_every_public_name_is_there_after_one_import():
    """One process, and nothing imported by hand."""
    faces = present(FACES)
    missing = set(FACES) - set(faces)
    names = [
        f"{face}.{entry}"
        for face in faces
        for entry in importlib.import_module(face).__all__
        if f"{face}.{entry}" not in missing
    ]
    script = "import dlngeom\n" + "\n".join(names)
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("name", MODULES)
def test_all_lists_names_that_exist(name):
    module = imported(name)
    if not hasattr(module, "__all__"):
        assert not any(callable(x) and not n.startswith("_") for n, x in vars(module).items())
        return
    names = module.__all__ if name != "dlngeom" else []
    assert all(hasattr(module, entry) for entry in names)
    assert len(set(module.__all__)) == len(module.__all__)


def test_the_api_pages_list_the_rooms():
    page = (ROOT / "docs" / "api" / "index.md").read_text()
    listed = re.findall(r"^ +(dlngeom\.[a-z_.]+)$", page, re.MULTILINE)
    assert len(set(listed)) == len(listed)
    # The spaces of dln are names of the package itself, which has its own page.
    assert set(listed) == set(ROOMS) - {"dlngeom.dln"}
    own = (ROOT / "docs" / "api" / "spaces.rst").read_text()
    for name in dlngeom.__all__:
        assert f"dlngeom.{name}" in listed or name == "dln" or re.search(rf"\b{name}\b", own), name


def _code():
    """Yield the place and the code of every test, example and page."""
    for folder in ("tests", "docs"):
        for path in (ROOT / folder).rglob("*.py"):
            # What a type checker must refuse stands in test_types.
            if path.name != "test_types.py":
                yield path.relative_to(ROOT), path.read_text()
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for block in re.findall(r"```python\n(.*?)```", path.read_text(), flags=re.DOTALL):
            yield path.relative_to(ROOT), block


def _faces_in(nodes):
    """Map the names of a module to the faces that it imports under them."""
    faces = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "dlngeom":
                    faces[alias.asname or "dlngeom"] = alias.name if alias.asname else "dlngeom"
        elif isinstance(node, ast.ImportFrom) and (node.module or "") in FACES:
            for alias in node.names:
                if f"{node.module}.{alias.name}" in FACES:
                    faces[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return faces


def _undeclared(tree):
    """Names that are reached through a face, and that it does not declare."""
    nodes = list(ast.walk(tree))
    faces = _faces_in(nodes)
    bound = {x.arg for x in nodes if isinstance(x, ast.arg)} | {
        x.id for x in nodes if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Store)
    }
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module in FACES:
            pairs = [(node.module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id not in faces or node.value.id in bound:
                continue
            pairs = [(faces[node.value.id], node.attr)]
        else:
            continue
        for face, name in pairs:
            if not present([face]):
                continue
            if not name.startswith("_") and name not in importlib.import_module(face).__all__:
                yield f"{face}.{name}"


def test_no_test_and_no_page_reaches_an_undeclared_name():
    whole = list(_code())
    found = {f"{place}: {name}" for place, code in whole for name in _undeclared(ast.parse(code))}
    assert not found, sorted(found)
    private = re.compile(r"dlngeom[\w.]*\._(?!_)")
    pages = {str(p) for p, code in whole if p.parts[0] != "tests" and private.search(code)}
    assert not pages
    assert list(_undeclared(ast.parse("import dlngeom\ndlngeom.nothing"))) == ["dlngeom.nothing"]


def test_the_version_is_that_of_the_package():
    assert re.fullmatch(r"\d+\.\d+\.\d+", dlngeom.__version__)
    assert f"version: {dlngeom.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_weights_take_plain_numbers():
    assert dlngeom.spectral.weights(2.0, 1.0, 2) == pytest.approx(3.0)
    np.testing.assert_allclose(
        dlngeom.spectral.weights(np.array([1.0, 2.0]), 0, 3), [1, 2 ** (4 / 3)]
    )
    with pytest.raises(ValueError, match="bool"):
        dlngeom.spectral.weights(np.array([True, False]), np.array([True, True]), 3)
    with pytest.raises(ValueError, match="float32"):
        dlngeom.spectral.weights(np.ones(2), np.ones(2, dtype=np.float32), 3)
