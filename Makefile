# Each target does all its own set-up in a private environment (.venv); all it wants is Python 3.11 or newer.
.PHONY: demo test check bench format clean
.DEFAULT_GOAL := help

VENV := .venv
READY := $(VENV)/.ready
PRODUCT := $(VENV)/.product
RUN := $(VENV)/bin

help:
	@echo "make demo   a real workload with incidents in it, what tracewatch finds, and its dashboard"
	@echo "make test   all tests"
	@echo "make check  format, lint, strict types, import contract"
	@echo "make bench  speed and detection quality, into benchmarks/results/"

$(READY): pyproject.toml environment.sh
	@sh environment.sh $(VENV)
	@touch $(PRODUCT) $(READY)

# Who only wants to see it waits for the product alone, not for all that it is tested with.
$(PRODUCT): pyproject.toml environment.sh
	@sh environment.sh $(VENV) demo
	@touch $(PRODUCT)

demo: $(PRODUCT)
	@$(RUN)/tracewatch demo

test: $(READY)
	@$(RUN)/python -m pytest -n auto --dist loadgroup

check: $(READY)
	@$(RUN)/ruff format --check .
	@$(RUN)/ruff check .
	@$(RUN)/mypy
	@$(RUN)/lint-imports

format: $(READY)
	@$(RUN)/ruff format .
	@$(RUN)/ruff check --fix .

# What only the benchmarks compare with is installed when they are run.
$(VENV)/.bench: $(READY)
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check --group bench
	@touch $@

bench: $(VENV)/.bench
	@$(RUN)/python -m benchmarks

clean:
	rm -rf $(VENV)
