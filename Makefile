PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# test-core leaves geomstats out, and with it the bound on numpy.
EXTRA ?= test

SLOW := $(BIN)/python -m pytest -n 2 --dist worksteal -m slow

# The tests work on small matrices, where threads of BLAS and torch only wait for each other.
test slow conformance docs: export OPENBLAS_NUM_THREADS = 1
test slow conformance docs: export OMP_NUM_THREADS = 1

.PHONY: demo test slow conformance lint docs bench dist clean

demo: .venv/installed
	$(BIN)/dlngeom complete --sample --missing 0.5 --output demo

test: .venv/installed-test
	$(BIN)/python -m pytest -n 2

slow: .venv/installed-test
	$(SLOW)

# What is too long for each commit: the test cases of geomstats on two of its backends, at all
# sizes, more draws of the photograph, and compiled runs as XLA compiles them for users.
conformance: export ALL_SIZES = 1
conformance: export XLA_FLAGS =
conformance: .venv/installed-test
	GEOMSTATS_BACKEND=numpy $(SLOW) tests/geomstats/test_conformance.py tests/cli/test_complete.py
	GEOMSTATS_BACKEND=pytorch $(SLOW) tests/geomstats/test_conformance.py
	$(SLOW) tests/flow/test_compiled.py tests/geodesics/test_compiled.py \
		tests/langevin/test_compiled.py tests/submersion tests/test_derivatives.py

lint: .venv/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Into build/html; runs the gallery, and any warning is an error.
docs: .venv/installed-docs
	MPLBACKEND=agg $(BIN)/python -m sphinx -W --keep-going -b html docs build/html
	$(BIN)/python docs/check_site.py build/html

# Times against others in one run, an hour or so; `make bench SCRIPTS=studies` is of accuracy and
# takes hours, `make bench SCRIPTS="floors flow"` runs some.
bench: .venv/installed-bench
	$(BIN)/python tests/benchmarks/run.py $(SCRIPTS)

# Into build/dist, each tried in an environment of its own.
dist: .venv/installed-test
	$(BIN)/python -m pip install --disable-pip-version-check --quiet build
	rm -rf build/dist
	$(BIN)/python -m build --outdir build/dist
	$(BIN)/python tests/helpers/try_distributions.py build/dist

clean:
	rm -rf .venv demo dlngeom-output build docs/examples docs/api/generated

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable .
	touch $@

.venv/installed-test: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable '.[$(EXTRA)]'
	touch $@ .venv/installed

# The peers that are compared with; two of them are compiled by pip.  Of recbole, which would bring
# ray and more, only the ratings inside it are read.
.venv/installed-bench: pyproject.toml .venv/installed-test
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable '.[bench]'
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps recbole==1.2.1
	touch $@

.venv/installed-docs: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable '.[docs]'
	touch $@ .venv/installed
