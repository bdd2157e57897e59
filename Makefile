# make demo   the whole job on a simulated observer: volumes to pictures to a report
# make test   style, types, layers, tests with branch coverage
# make test-processors   tests of numbers as other processors and numbers of threads compute them

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check --quiet
INPUTS = pyproject.toml constraints.txt

.PHONY: demo test lint types imports pytest test-processors clean

demo: $(VENV)/.installed
	$(BIN)/mindvis demo --output runs/demo

test: lint types imports pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

imports: $(VENV)/.installed-dev
	$(BIN)/lint-imports

# as many processes as JOBS; one thread each, since threads of several processes wait for each other
pytest: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --cov --cov-report=term

# once in each of four modes that stand for other processors and numbers of threads
TESTS ?= tests/test_goldens.py tests/models tests/tasks tests/metrics tests/decoding
test-processors: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 MKL_CBWR=COMPATIBLE $(BIN)/python -m pytest $(TESTS)
	OMP_NUM_THREADS=1 ATEN_CPU_CAPABILITY=default $(BIN)/python -m pytest $(TESTS)
	OMP_NUM_THREADS=2 ATEN_CPU_CAPABILITY=avx2 $(BIN)/python -m pytest $(TESTS)
	OMP_NUM_THREADS=4 ONEDNN_MAX_CPU_ISA=AVX2 $(BIN)/python -m pytest $(TESTS)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(INPUTS) | $(BIN)/python
	$(PIP) install -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(INPUTS) | $(BIN)/python
	$(PIP) install -c constraints.txt -e ".[dev]"
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
