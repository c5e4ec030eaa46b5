# `make demo` and `make test` set everything up by themselves; the rest is for people who build safhost.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-slow test-rtl-full rtl-resources rtl-coverage rtl-mutation setup debian generate check lint model clean

demo: setup
	$(BIN)/safhost demo

# Two at once. What runs on real interfaces comes after what needs the processors: it mostly waits for time to pass,
# and each file of it has labs of its own names.
test: setup debian check
	$(BIN)/python -m pytest -q -m "not slow" -n 2 --ignore tests/lab
	$(BIN)/python -m pytest -q -m "not slow" -n 2 --dist loadfile tests/lab

# What takes minutes a test: the daemon killed a hundred times, every faulty card, long storms.
test-slow: setup debian
	$(BIN)/python -m pytest -q -m slow --timeout 3600

# All of the RTL's tests: the whole conformance suite under both builds, 10^5 frames to the virtual card and the RTL.
test-rtl-full: setup
	$(BIN)/python -m pytest -q tests/rtl --timeout 7200

# What the shell takes of an Arria 10, estimated, beside the paper's Table IV; needs Debian's yosys for that family.
rtl-resources: setup
	$(BIN)/python -m tools.rtl.resources

rtl-coverage: setup
	$(BIN)/python -m tools.rtl.coverage --whole --json shell_rtl/coverage.json

rtl-mutation: setup
	$(BIN)/python -m tools.rtl.mutate --count 80 --whole --json shell_rtl/mutation.json

# Everything from PyPI, into .venv of this checkout; done again only when pyproject.toml changes.
setup: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) tools/check_python.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[lab,serve,dev]"
	@touch $@

# What PyPI does not have (tshark, to check the Wireshark dissector). Installed when root, else said.
debian:
	@sh tools/debian_packages.sh tools/debian-packages.txt

generate: setup
	$(BIN)/python -m tools.protogen
	$(BIN)/python -m tools.vectors

check: setup lint
	$(BIN)/python -m tools.protogen --check

lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Every state of the protocol model, within the budgets of docs/model.md.
model: setup debian
	$(BIN)/python -m tools.modelcheck --full --jobs 2

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build dist
