# `make demo` and `make test` set up everything on a machine with Python 3.11, g++ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The editable installation lists its modules: install again when one is added or moved.
STAMP := $(VENV)/.set-up-$(shell find vim_deploy export engines -name "*.py" | sort | cksum | cut -d" " -f1)
SOURCES := pyproject.toml constraints.txt CMakeLists.txt $(shell find plugins -type f)

.PHONY: demo test test-scale test-serving test-cluster test-networks test-arm wheels test-wheels setup check format clean
.PHONY: environments

demo: setup
	$(BIN)/python examples/demo.py

# Small models compute faster in one thread of PyTorch, most of all when another process computes on the other core.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# $(call environment,FOLDER,REQUIREMENTS): a virtual environment that also sees the project's packages.
define environment
test -x $(1)/bin/python || $(BIN)/python -m venv $(1)
$(1)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps -r $(2)
$(BIN)/python -c "import os, site; print(f'import site; site.addsitedir({site.getsitepackages()[0]!r})'); \
    print(os.getcwd())" > $(1)/lib/python3.11/site-packages/project.pth
touch $(1)/.set-up
endef

SCALE := .venv-scale
CLUSTER := .venv-cluster

# The environments of test-scale; `make -j 2 check environments` downloads them meanwhile.
environments: $(SCALE)/.set-up $(CLUSTER)/.set-up

# Tests with real servers, which wait for them most of the time: `make -j 2 test-scale` runs both parts at once.
test-scale: test-serving test-cluster

# A real Triton server, in an environment of its own, which also sees the project's.
$(SCALE)/.set-up: tools/scale/requirements.txt $(STAMP)
	$(call environment,$(SCALE),$<)

# The other tests of the folder need no server: `make test` runs them.
test-serving: $(SCALE)/.set-up
	$(SCALE)/bin/python -m pytest -p no:cacheprovider tests/serving/test_server.py tests/serving/test_model_config.py

# The same with Ray and a server of the S3 protocol, whose packages conflict with those of Triton's client.
$(CLUSTER)/.set-up: tools/cluster/requirements.txt $(STAMP)
	$(call environment,$(CLUSTER),$<)

test-cluster: $(CLUSTER)/.set-up
	$(CLUSTER)/bin/python -m pytest -p no:cacheprovider tests/cluster

# Public networks in an environment of their own, which also sees the project's; needs the package index.
NETWORKS := .venv-networks
test-networks: setup
	$(call environment,$(NETWORKS),tools/networks/requirements.txt)
	$(NETWORKS)/bin/python -m pytest -p no:cacheprovider tools/networks

# The kernels for 64-bit Arm in an emulator, in a root file system that is made once; see CONTRIBUTING.md.
ARM := build/arm
$(ARM)/python:
	$(BIN)/python tools/arm/root.py $(ARM)

test-arm: setup $(ARM)/python
	$(BIN)/python -m pytest -p no:cacheprovider -v tools/arm

# The release in dist/: the sdist and wheels for x86-64 and aarch64. ARCHITECTURE=x86_64 builds one of them.
# CUDA=1 TENSORRT_ROOT=... also builds the wheel with the GPU libraries.
WHEELS := .venv-wheels
$(WHEELS)/.set-up: tools/wheels/requirements.txt
	test -x $(WHEELS)/bin/python || $(PYTHON) -m venv $(WHEELS)
	$(WHEELS)/bin/python -m pip install --quiet --disable-pip-version-check -r tools/wheels/requirements.txt
	touch $@

wheels: $(WHEELS)/.set-up
	$(WHEELS)/bin/python tools/wheels/release.py $(addprefix --architecture ,$(ARCHITECTURE)) \
	    $(if $(CUDA),--cuda) $(if $(TENSORRT_ROOT),--tensorrt-root "$(TENSORRT_ROOT)")

# Builds the release twice, and installs it with every Python from 3.10 to 3.14 that is found.
test-wheels: setup $(WHEELS)/.set-up
	$(BIN)/python -m pytest -p no:cacheprovider -v tools/wheels

setup: $(STAMP)

# --no-compile: Python compiles the modules that are imported, a small part of all.
$(STAMP): $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt \
	    -C cmake.define.VIM_DEPLOY_CUDA=AUTO -C cmake.define.VIM_DEPLOY_TRT=AUTO \
	    -e '.[cpu,export,torch,parquet,detect,plots,urls,examples,test,dev]'
	touch $@

# A change is ready when `make check test` passes.
check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python tools/typecheck.py
	$(BIN)/python tools/architecture.py
	$(BIN)/python tools/constraints.py
	$(BIN)/python tools/licenses.py --check

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf build $(VENV) $(WHEELS) dist demo-output
