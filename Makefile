# make campaign    set up and run the quickstart campaign
# make test        lint, types and every test that needs no GPU
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# A file's tests share what it sets up. In the order of their names, or files of one long test would all come last.
IN_ORDER := --dist loadfile --no-loadscope-reorder

# One thread a process: two cores then run two test workers, and torch's sums stay the same.
export OMP_NUM_THREADS = 1

.PHONY: campaign test fleet setup quick lint bench peers measure soak fuzz clean

campaign: setup
	$(BIN)/fedquad campaign run quickstart

setup: $(INSTALLED)

# torch goes first and by itself: its pin takes the CPU build where an index offers one, before anything else can ask for another.
$(INSTALLED): pyproject.toml constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[all,dev]"
	touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The tests of every commit: no GPU, no server, a few minutes on two cores.
quick: lint
	$(BIN)/pytest -n 2 $(IN_ORDER)

# Everything that needs no GPU: what decides under coverage's eyes; then servers, three tests at a time, since on two cores one of them
# waits as a rule; and devices of their own by themselves, since how long is waited for them grows with what starting one took.
test: lint
	$(BIN)/pytest -n 3 $(IN_ORDER) --durations=20 --cov --cov-report=term-missing
	$(BIN)/pytest -n 3 $(IN_ORDER) -m "server and not gpu and not fleet" --durations=20
	$(MAKE) fleet

# A campaign with six devices, two that score, and what becomes of those that are killed, stopped and lie.
fleet: setup
	$(BIN)/pytest -m fleet --durations=10

# How fast it is, beside what else one would use and beside what it was; on two idle cores, about 80 minutes.
bench: setup peers
	for script in peers former where large_fleet; do $(BIN)/python -m benchmarks.$$script || exit 1; done
	$(BIN)/python -m benchmarks.speed

# The rivals, in an environment of their own; BlazeFL's has a Python of 3.12 or newer, where one is found.
NEWER = $(shell for python in python3.13 python3.12 ~/.pyenv/versions/3.1[23].*/bin/python3; do \
	$$python -c pass 2> /dev/null && echo $$python && break; done)
peers: .peers/.installed .peers/.blazefl

.peers/.installed: benchmarks/peers/requirements.txt
	test -d .peers || $(PYTHON) -m venv .peers
	.peers/bin/pip install --quiet --upgrade pip
	.peers/bin/pip install --quiet torch==2.13.0
	.peers/bin/pip install --quiet --requirement benchmarks/peers/requirements.txt
	touch $@

.peers/.blazefl: benchmarks/peers/requirements-blazefl.txt | .peers/.installed
	test -n "$(NEWER)" || echo "no Python 3.12 or newer here: BlazeFL is left out"
	test -z "$(NEWER)" || $(NEWER) -m venv .peers/blazefl
	test -z "$(NEWER)" || .peers/blazefl/bin/pip install --quiet torch==2.13.0
	test -z "$(NEWER)" || .peers/blazefl/bin/pip install --quiet --requirement benchmarks/peers/requirements-blazefl.txt
	touch $@

# Every other script that writes rows; the long ones are run by name.
LONG := first acs_tries paced paper mutation soak kills long_campaign peers former where large_fleet
NO_ROWS := __init__ rows campaigns activation_models damage_kinds damage_commands mlflow_pictures fleet_pictures speed utilisation
measure: setup
	for script in $(filter-out $(LONG) $(NO_ROWS),$(patsubst benchmarks/%.py,%,$(wildcard benchmarks/*.py))); do $(BIN)/python -m benchmarks.$$script || exit 1; done

# Simulated rounds with every kind of fault, and damaged answers, folders and specs: as many as one likes.
soak: setup
	$(BIN)/python -m benchmarks.soak --rounds $(or $(ROUNDS),200000) --seed $(or $(SEED),0)

fuzz: setup
	$(BIN)/python -m benchmarks.malformed --cases $(or $(CASES),1000000) --seed $(or $(SEED),0)
	$(BIN)/python -m benchmarks.damage --cases $(or $(CASES),10000) --seed $(or $(SEED),0)
	FUZZ_EXAMPLES=$(or $(EXAMPLES),5000) $(BIN)/pytest tests/test_fuzz_spec.py tests/test_fuzz_api.py tests/test_campaign_machine.py -o timeout=0

clean:
	rm -rf $(VENV) .peers build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
