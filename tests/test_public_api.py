import importlib
import pkgutil
import subprocess
import sys

import numpy as np
import pytest

import dlngeom

MODULES = [x.name for x in pkgutil.walk_packages(dlngeom.__path__, "dlngeom.")]


def loaded(statement, *names):
    script = f"import sys; {statement}; print([n for n in {names!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_importing_the_package_is_cheap():
    heavy = ("torch", "jax", "matplotlib", "pymanopt", "geomstats", "sklearn", "scipy.sparse")
    assert loaded("import dlngeom", *heavy) == "[]"


def test_the_geometry_loads_no_optimizer_and_no_plotting():
    heavy = ("torch", "jax", "matplotlib", "pymanopt", "geomstats", "sklearn")
    assert loaded("import dlngeom; dlngeom.endtoend, dlngeom.balanced", *heavy) == "[]"


def test_every_public_name_can_be_reached():
    for name in dlngeom.__all__:
        assert getattr(dlngeom, name) is not None
    assert dir(dlngeom) == sorted(dlngeom.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dlngeom.nothing


@pytest.mark.parametrize("name", MODULES)
def test_all_lists_names_that_exist_in_order(name):
    module = importlib.import_module(name)
    if not hasattr(module, "__all__"):
        assert not any(callable(x) and not n.startswith("_") for n, x in vars(module).items())
        return
    assert all(hasattr(module, entry) for entry in module.__all__)
    assert len(set(module.__all__)) == len(module.__all__)


def test_weights_take_plain_numbers():
    assert dlngeom.spectral.weights(2.0, 1.0, 2) == pytest.approx(3.0)
    np.testing.assert_allclose(
        dlngeom.spectral.weights(np.array([1.0, 2.0]), 0, 3), [1, 2 ** (4 / 3)]
    )
    with pytest.raises(ValueError, match="int64"):
        dlngeom.spectral.weights(np.array([1, 2]), np.array([1, 2]), 3)
    with pytest.raises(ValueError, match="float32"):
        dlngeom.spectral.weights(np.ones(2), np.ones(2, dtype=np.float32), 3)
