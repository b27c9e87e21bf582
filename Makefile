# Everything here needs git, make and Python 3.11, 3.12 or 3.13, and installs into .venv only.
#
#   make demo                          a head from a photo that comes with scikit-image, into out/
#   make demo PHOTO=me.jpg OUT=me.ply  one's own photo
#   make test                          all tests
#   make check                         style, types, layers, the pages, the wheel, the docs
#   make web                           the pages of web/, built into the package; needs npm
#   make bench                         every figure the project states
#   make blender                       the Blender extension as a zip, into dist/
#   make setup                         only install
#
# PYTHON=python3.12 chooses the interpreter. On Linux the plain torch wheel brings CUDA with it; without an Nvidia card
# TORCH_INDEX=https://download.pytorch.org/whl/cpu saves some gigabytes.

OUT ?= out/head.ply
TORCH_INDEX ?=
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null \
	&& echo $$p && break; done)

ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
else
BIN := .venv/bin
endif
PIP := $(BIN)/python -m pip --disable-pip-version-check
DEMO_PHOTO := out/astronaut.png
PHOTO ?= $(DEMO_PHOTO)

.PHONY: help setup demo test check bench blender web clean

help:
	@sed -n '3,13s/^# \{0,1\}//p' Makefile

setup: .venv/dev.stamp

demo: .venv/run.stamp $(DEMO_PHOTO)
	$(BIN)/spmr-recon "$(PHOTO)" --out "$(OUT)" --out "$(basename $(OUT)).glb" \
		--preview out/preview.png --report out/report.json

test: .venv/dev.stamp
	$(BIN)/python -m pytest -n auto --dist loadscope

check: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python tools/build_web.py --check
	$(BIN)/python tools/check_wheel.py
	$(BIN)/python tools/check_docs.py

bench: .venv/dev.stamp
	PYTHONPATH=. $(BIN)/python benchmarks/run_all.py

web:
	@"$(PYTHON)" tools/build_web.py

blender:
	@"$(PYTHON)" tools/build_blender.py

clean:
	rm -rf .venv out build dist

$(DEMO_PHOTO): | .venv/run.stamp
	@mkdir -p out
	@$(BIN)/python -c "import skimage.data, skimage.io; skimage.io.imsave('$@', skimage.data.astronaut())"

.venv/run.stamp: pyproject.toml constraints.txt | .venv/pip.stamp
	$(PIP) install --editable . --constraint constraints.txt
	@touch $@

.venv/dev.stamp: pyproject.toml constraints.txt | .venv/pip.stamp
	$(PIP) install --editable ".[dev]" --constraint constraints.txt
	@touch .venv/run.stamp $@

# torch comes first and alone: every wheel after it is then chosen to fit the one that is there.
.venv/pip.stamp: | .venv/python.stamp
	$(PIP) install $$(grep '^torch==' constraints.txt) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
	@touch $@

.venv/python.stamp:
	@test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 with venv here; install one, or name it: make PYTHON=/path/to/python3.12"; exit 1; }
	"$(PYTHON)" -m venv .venv
	@touch $@
