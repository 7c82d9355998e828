# The two to start with: `make demo` and `make test`. Everything lands in .venv; `make clean` removes it.
PYTHON ?= python3.11
VENV ?= .venv
DEMO ?= --env prefrl/HalfCheetah-v0 --total-timesteps 400000 --labels 700 -P
PYTEST_ARGS ?=

bin := $(VENV)/bin
installed := $(VENV)/installed

.PHONY: demo label test test-browser test-slow quick lint check format docs clean

# A folder is never overwritten: the second demo is runs/demo-2.
demo: $(installed)
	@out=runs/demo; n=1; \
	while [ -e $$out ]; do n=$$((n + 1)); out=runs/demo-$$n; done; \
	$(bin)/prefrl train $(DEMO) --out $$out

# You label: the page opens in the browser.
label: $(installed)
	$(bin)/prefrl demo

test: $(installed)
	$(bin)/python -m pytest $(PYTEST_ARGS)

# Drives Debian's Chromium; tools/install-system-packages installs it, PostgreSQL and the libraries that draw.
test-browser: $(installed)
	$(bin)/python -m pytest -m "browser and not slow" $(PYTEST_ARGS)

test-slow: $(installed)
	$(bin)/python -m pytest -m "slow or not slow" $(PYTEST_ARGS)

# Every run of the paper's main claim, shortened: two minutes that prove the machinery.
quick: $(installed)
	rm -rf runs/mujoco-quick
	$(bin)/prefrl reproduce mujoco --quick

lint: $(installed)
	$(bin)/ruff format --check .
	$(bin)/ruff check .
	$(bin)/mypy
	$(bin)/lint-imports --no-logo

check: lint test

format: $(installed)
	$(bin)/ruff format .
	$(bin)/ruff check --fix .

docs: $(installed)
	@$(bin)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	$(bin)/python -m sphinx -q -W --keep-going docs docs/_build
	@echo "Documentation: docs/_build/index.html"

$(installed): setup.cfg pyproject.toml constraints.txt
	@echo "Installing prefrl and the versions it is tested with into $(VENV): a few minutes the first time"
	@test -x $(bin)/python || $(PYTHON) -m venv $(VENV)
	@$(bin)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) build dist docs/_build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
