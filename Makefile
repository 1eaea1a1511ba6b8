# make demo       install everything, run the real extraction on a slice of the bundled corpus, open the app on it and on
#                 the shipped store
# make demo-full  rebuild the shipped store from the recipes: hours, goes on where it was interrupted
# make app        open the app on the shipped store, or on another: make app STORE=path (installs no torch)
# make check      lint, directions of imports, unit tests: a minute and a half
# make test       that, and what shows every part at work: minutes; make test-all the rest of the suite too, as CI does
# make test-long  checks of hours, on demand
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PORT ?= 8501
DEMO_STORE ?= runs/demo
SHIPPED_STORE := $(patsubst %/manifest.json,%,$(wildcard store/demo/manifest.json))
REBUILD_WORK ?= runs/demo-full
REBUILT_STORE ?= store/demo-rebuilt
SERVE ?= 1
STORE ?=
export STORE
TEST_WORKERS ?= 2

# Says in a sentence what would else come as pip's list of versions. Its argument is a Python.
supported = $(1) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || { \
	echo "error: Featureshift runs on Python 3.11, 3.12 or 3.13; '$(1)' is $$($(1) -V 2>&1 | head -n 1). $(2)" >&2; exit 2; }

.PHONY: demo demo-full app check test test-all test-long lint clean

demo: $(VENV)/.installed-full
	@if [ -f $(DEMO_STORE)/manifest.json ] && [ ! -e $(DEMO_STORE).contributions.duckdb.partial ]; then \
		echo "$(DEMO_STORE) is there already; remove it to extract again."; \
	else $(PY) -m extract demo --out $(DEMO_STORE); fi
	@if [ "$(SERVE)" != 0 ]; then \
		FEATURESHIFT_STORES="$(SHIPPED_STORE):$(DEMO_STORE)" $(MAKE) --no-print-directory app STORE=; fi

# Each step is skipped when its output is there. PLAN=1 says what would be done and stops.
demo-full: $(VENV)/.installed-full
	$(PY) -m extract.demo rebuild --work $(REBUILD_WORK) --out $(REBUILT_STORE) $(if $(PLAN),--plan)

app: $(VENV)/.installed-app
	@echo "Featureshift on http://localhost:$(PORT) (Ctrl-C ends it)"
	$(PY) -m streamlit run app/main.py --server.port $(PORT) --server.address localhost --server.headless true -- $${STORE:+"$$STORE"}

# A file's tests stay in one process, which makes what they share once; of the folders those with the longest files come first.
PYTEST = $(PY) -m pytest --numprocesses $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder --durations 10
FOLDERS := $(addprefix tests/,demo runs browser attacks pages scale)
check test test-all: export OMP_NUM_THREADS = 1

check: lint
	$(PYTEST) -m "not long and not thorough" tests/unit

test: check
	$(PYTEST) -m "not long and not thorough" $(FOLDERS)

test-all: test
	FEATURESHIFT_EXAMPLES=100 $(PYTEST) -m "(thorough or fuzz) and not long" $(FOLDERS) tests/unit

test-long: $(VENV)/.installed-dev
	$(PY) -m pytest -m long --durations 10

lint: $(VENV)/.installed-dev
	$(PY) -m ruff check .
	$(VENV)/bin/lint-imports --no-cache

clean:
	rm -rf $(VENV) runs

$(VENV)/bin/python:
	@$(call supported,$(PYTHON),Name another: make PYTHON=python3.12 $(MAKECMDGOALS))
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip

# One stamp for each level; a fuller install satisfies the app's too.
$(VENV)/.installed-app: requirements-app.txt | $(VENV)/bin/python
	@$(call supported,$(PY),Remove $(VENV) and run the same again.)
	$(PY) -m pip install --requirement requirements-app.txt
	@touch $@

$(VENV)/.installed-full: requirements.txt requirements-app.txt | $(VENV)/bin/python
	@$(call supported,$(PY),Remove $(VENV) and run the same again.)
	$(PY) -m pip install --requirement requirements.txt
	@touch $@ $(VENV)/.installed-app

$(VENV)/.installed-dev: requirements-dev.txt requirements-ray.txt requirements.txt requirements-app.txt | $(VENV)/bin/python
	@$(call supported,$(PY),Remove $(VENV) and run the same again.)
	$(PY) -m pip install --requirement requirements-dev.txt
	@touch $@ $(VENV)/.installed-full $(VENV)/.installed-app
