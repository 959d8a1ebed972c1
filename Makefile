# Everything that can be made here. Each target may be repeated; what is done already is not done again.
#
# Packages come from wherever pip is configured to look. Where that is a registry whose Linux torch brings CUDA along
# (gigabytes), name an index with CPU builds in the environment: pip prefers its "+cpu" wheels of the same version.
#
#     PIP_EXTRA_INDEX_URL=… make setup

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.setup-done

# Debian's names. PortAudio is the microphone; the plugins are its way to PulseAudio and PipeWire.
PACKAGES := libportaudio2 libsndfile1 libasound2-plugins
# For tests alone, which are skipped without them: a virtual microphone, a systemd to boot, a shell's way to a socket, a
# program that asks PAM, and one that asks before it makes somebody root.
TEST_PACKAGES := pulseaudio pulseaudio-utils systemd-container socat flite pamtester sudo

FETCH_OR_SKIP = $(BIN)/voiceauth model fetch campplus || echo "no CAM++: tests that need it will be skipped" >&2

# More arguments for pytest: make test PYTEST="-k socket"
PYTEST :=

# Test files that run at one time. Most of their time they wait for sound.
JOBS := 2
# Compiled beforehand: tests start hundreds of processes, and where PYTHONDONTWRITEBYTECODE is set each would compile again.
RUN_TESTS = $(BIN)/python -m compileall -q daemon/voiceauthd && $(BIN)/pytest -n $(JOBS) --dist loadfile

# Threads that wait for work sleep: on a busy machine spinning ones take the processor from the one that works.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: help setup test-setup model demo run bench test test-all lint hooks install uninstall deb clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1 — \2/' | \
	  awk -F' — ' '{printf "%-18s %s\n", $$1, $$2}'

setup: $(SETUP) ## Debian packages (through apt, with sudo), .venv, pinned packages; nothing else is changed

$(SETUP): pyproject.toml constraints.txt
	@scripts/debian-packages.sh $(PACKAGES) || echo "going on without; recordings work, a microphone may not" >&2
	test -x $(BIN)/python || { python=$$(scripts/find-python.sh) && "$$python" -m venv $(VENV); }
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

test-setup: setup
	@scripts/debian-packages.sh $(TEST_PACKAGES) || echo "tests that need these packages will be skipped" >&2

model: setup ## the CAM++ model (81 MB, once), which demo and tests use
	$(BIN)/voiceauth model fetch campplus

demo: model ## the main job, on recorded voices: enrol two people, tell them from a stranger, live
	$(BIN)/voiceauth demo
	@printf '%s\n' '' 'Next, in this folder:' \
	  "  $(BIN)/voiceauth setup    your own voice at your microphone, in three minutes" \
	  '  make run                     or the daemon in the foreground, then in another terminal:' \
	  "  $(BIN)/voiceauth status   what it does and which model it uses"

run: setup ## the daemon in the foreground, with config.yaml, on the default microphone; Ctrl-C ends it
	$(BIN)/voiceauthd --config config.yaml

bench: model ## speed, delay and memory on this machine
	$(BIN)/voiceauth bench

test: test-setup lint ## ruff, mypy, and all tests but the slow ones; what cannot run here is skipped and says why
	@$(FETCH_OR_SKIP)
	$(RUN_TESTS) -m "not slow" $(PYTEST)

test-all: test-setup lint ## the same with the slow tests
	@$(FETCH_OR_SKIP)
	$(RUN_TESTS) $(PYTEST)

lint: setup ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

hooks: setup ## a git hook that runs ruff, mypy and the structure tests before each commit
	@scripts/pre-commit --install

install: ## as root: the daemon for this whole machine (DESTDIR, PREFIX); also the way to upgrade
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' scripts/install.sh install

uninstall: ## as root: removes it; keeps profiles, models and configuration
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' scripts/install.sh uninstall

deb: ## a Debian package in dist/, for the release that this runs on (RELEASE=trixie: for that one, as root)
	@scripts/deb/build$(if $(RELEASE),-in-release).sh $(RELEASE)

clean: ## removes .venv and what tools left behind; keeps profiles and fetched models
	rm -rf $(VENV) build dist .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
	rm -rf daemon/*.egg-info
