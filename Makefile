# Shortcuts for Linux and macOS. README has the same commands in plain, for Windows too.
.DEFAULT_GOAL := help
.PHONY: help tennis test check format tensorboard clean

CONFIG = trainer_configs/tennis_maddpg.yaml
ENV = unity_builds/Tennis
ARGS =

# The uv on PATH if it runs (behind pyenv it can be there and refuse), else one of our own, made below.
UV := $(shell uv --version >/dev/null 2>&1 && echo uv || echo .uv/bin/uv)
BRING_UV := $(filter .uv/bin/uv,$(UV))

help:
	@echo "make tennis       train two rackets (continues the last run; a new one once that has finished)"
	@echo "make tensorboard  the curves of all runs, in the browser"
	@echo "make test         all tests                    make check   format, lint and types"
	@echo "make format       mend format and lint         make clean   remove environments and caches"
	@echo "Settings: CONFIG=$(CONFIG)  ENV=$(ENV)  ARGS='--num-envs=2'"

tennis: $(BRING_UV)
	@run=$$($(UV) run python -m mlagents_marl_plugin.tools.next_run $(CONFIG)) || exit 1; set -x; \
	$(UV) run mlagents-learn $(CONFIG) --env=$(ENV) $$run $(ARGS)

test: $(BRING_UV)
	$(UV) run pytest $(ARGS)

check: $(BRING_UV)
	$(UV) run ruff format --check .
	$(UV) run ruff check .
	$(UV) run mypy

format: $(BRING_UV)
	$(UV) run ruff check --fix .
	$(UV) run ruff format .

tensorboard: $(BRING_UV)
	$(UV) run tensorboard --logdir results

clean:
	rm -rf .venv .uv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Into a virtual environment, or, where Python came without venv (Debian, Ubuntu), into a plain folder.
.uv/bin/uv:
	@echo "Getting uv, which sets up everything else, into .uv"
	@for python in python3.10 python3 python; do \
	    command -v $$python >/dev/null || continue; \
	    rm -rf .uv; \
	    $$python -m venv .uv >/dev/null 2>&1 && .uv/bin/python -m pip install --quiet uv && exit 0; \
	    rm -rf .uv; \
	    $$python -m pip install --quiet --target .uv uv && exit 0; \
	done; \
	echo "Expected a Python with venv or pip to get uv with, found none; install uv or python3-venv, then try again" >&2; \
	exit 1
