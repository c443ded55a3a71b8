# Each target sets itself up: `make demo` and `make test` work on a fresh machine with Python 3.10 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell find src tests benchmarks scripts -name '*.py' 2>/dev/null)

# Recorded links, if there are any: CSV files, and in paper/ the runs of the paper's dataset.
TRACES ?= traces
RECORDED := $(if $(wildcard $(TRACES)/*.csv),--traces $(TRACES))
RUNS := $(if $(wildcard $(TRACES)/paper/*.csv),--runs $(TRACES)/paper)

.PHONY: demo test check docs fix fuzz chaos soak bench real-model timm-names page-test paper honest fleet clean

# Needs the package alone, without what developers need.
demo: $(VENV)/.installed
	$(BIN)/janus-vit demo

# Four minutes on two cores. A worker with one thread for each core, and one more since some tests wait; at most eight: each needs 1.3 GB.
# To run one file, call pytest without -n.
# Bytecode is kept, whatever the environment says: each worker and each process of a test would compile the package again.
WORKERS := $(shell cores=$$(nproc); echo $$((cores < 8 ? cores + 1 : 8)))
test: $(VENV)/.ready
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# What CI runs after `make chaos CHAOS=--short`, the tests last so that their summary closes the output.
check: $(VENV)/.ready $(VENV)/.checked docs test

# The documentation as a site in build/site; a warning is an error.
docs: $(VENV)/.docs-ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

fix: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The paper's evaluation again, and what it left out; both write a page to build/.
paper: $(VENV)/.ready
	$(BIN)/python benchmarks/paper.py $(RUNS)

honest: $(VENV)/.ready
	$(BIN)/python benchmarks/honest.py $(RECORDED) $(RUNS)

# Fleets of 4 to 4,096 devices on four clouds beside the bound, as tables, and as a figure in build/ (half an hour).
fleet: $(VENV)/.ready
	$(BIN)/python benchmarks/fleet.py $(RECORDED)

bench: $(VENV)/.ready
	@for script in $(filter-out benchmarks/paper.py benchmarks/honest.py benchmarks/fleet.py benchmarks/real_model.py,$(wildcard benchmarks/[a-z]*.py)); do \
		echo "== $$script"; $(BIN)/python $$script || exit 1; done

# What merging and formats cost a real pretrained model (downloads 90 MB into ~/.cache/janus-vit; 15 minutes on one core).
real-model: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt 'scikit-image>=0.22'
	$(BIN)/python benchmarks/real_model.py

# Compare every architecture of timm that is accepted with timm itself (some minutes).
timm-names: $(VENV)/.ready
	$(BIN)/python scripts/compare_timm_names.py

# The live page in a headless Chromium (apt-get install chromium chromium-driver): it opens, updates and draws smoothly.
page-test: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'selenium>=4.20'
	$(BIN)/python scripts/page_test.py

# Every decoder for 20 seconds. Coverage guides the changes where atheris installs; otherwise they are random.
FUZZ ?= --seconds 20
fuzz: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]' || echo "atheris does not install here"
	OMP_NUM_THREADS=1 $(BIN)/python scripts/fuzz.py $(FUZZ)

# Faults in processes, links, disks, clocks and cameras under 10,000 frames (seven minutes); CHAOS=--short takes two.
CHAOS ?=
chaos: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python scripts/chaos.py $(CHAOS)

# The same for 100,000 frames (an hour): the memory of both sides stays flat. SOAK=--frames 20000 for fewer.
SOAK ?=
soak: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python scripts/chaos.py --soak $(SOAK)

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(VENV)/.installed $@

$(VENV)/.docs-ready: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

$(VENV)/.checked: $(VENV)/.ready $(SOURCES) src/janus_vit/wire/janus.proto
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/check_floors.py
	$(BIN)/python scripts/compile_proto.py --check
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
