# make demo | test | test-all | interpret | bench | gpu | gpu-bundle | kernels | verify | lint | isa | sanitize | attack
#    | attack-sanitized | tsan | stubs | packs | wheel | readme | clean
# Everything lives in .venv; a target installs again only when setup.py, pyproject.toml or a C++ file has changed.
PYTHON ?= python3
BIN := .venv/bin
BUILD := setup.py pyproject.toml $(shell find csrc -type f)
PYTEST_ARGS ?= -n 2
# A torch install from PyPI brings gigabytes of CUDA: point PEERS at any Python that has torch (CPU) and jax.
PEERS ?= $(BIN)/python
SANITIZERS := $(shell g++ -print-file-name=libasan.so 2>/dev/null) $(shell g++ -print-file-name=libubsan.so 2>/dev/null)
SANITIZED := PYTHONPATH=$(CURDIR)/build/sanitize/lib:$(CURDIR) LD_PRELOAD="$(SANITIZERS)" ASAN_OPTIONS=detect_leaks=0 \
    $(BIN)/python -P -m
TSAN := PYTHONPATH=$(CURDIR)/build/tsan/lib:$(CURDIR) \
    LD_PRELOAD="$(shell g++ -print-file-name=libtsan.so 2>/dev/null)" TSAN_OPTIONS=exitcode=66 $(BIN)/python -P -m
# What assembles packs of GPU kernels: CUDA 13.0.
TOOLKIT = $(CURDIR)/build/cuda-13.0/nvidia/cu13
.DELETE_ON_ERROR:
.PHONY: demo test test-all interpret bench gpu gpu-bundle kernels verify readme lint isa sanitize attack \
    attack-sanitized tsan build-sanitize build-tsan stubs packs wheel clean

demo: .venv/.core
	$(BIN)/dlcore demo

# The table on a GPU where there is one; without, again on the device that Triton's interpreter stands in for.
test: .venv/.test
	$(BIN)/python -m pytest $(PYTEST_ARGS)
	@ls /dev/nvidia[0-9]* >/dev/null 2>&1 || $(MAKE) -s interpret

# The same with every sample in every dtype and every memory layout, where `make test` takes each pair of them.
test-all: .venv/.test
	$(MAKE) -s test PYTEST_ARGS="$(PYTEST_ARGS) --all-combinations"

interpret: .venv/.test
	TRITON_INTERPRET=1 DLCORE_CUDA=interpreter $(BIN)/python -m pytest $(PYTEST_ARGS) tests/test_cuda_table.py tests/test_cuda_models.py

lint: .venv/.lint
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The kernels for processors without AVX-512, and without AVX2: the values of every operation in float32 and float64.
isa: .venv/.test
	for isa in v3 v1; do \
	    DLCORE_ISA=$$isa $(BIN)/python -m pytest -q $(PYTEST_ARGS) tests/test_table.py -k test_forward \
	        --dtypes float32,float64 || exit 1; \
	done

# AddressSanitizer and UBSan, against a build of its own: every operation in float32 in every memory layout, and the
# tests marked as smoke. (-P: the tree must not come before that build.)
sanitize: build-sanitize
	$(SANITIZED) pytest -q -p no:cacheprovider -m smoke
	$(SANITIZED) pytest -q -p no:cacheprovider $(PYTEST_ARGS) tests/test_table.py -k test_forward --dtypes float32 \
	    --all-combinations

# Everything that could make dlcore crash, hang, lie or break a file, tried at length (tests/attacks/); the figures go
# into docs/reliability.md. ATTACK_ARGS="files kills --seed 1"
attack: .venv/.test
	$(BIN)/python -m tests.attacks $(ATTACK_ARGS)

# The same, as small as in the tests, against AddressSanitizer and UBSan.
attack-sanitized: build-sanitize
	$(SANITIZED) tests.attacks --small $(ATTACK_ARGS)

# ThreadSanitizer on the pool, the recorder and the tape.
tsan: build-tsan
	$(TSAN) tests.attacks threads --count 10
	$(TSAN) pytest -q -p no:cacheprovider tests/test_autograd.py tests/test_capture.py -k threads

build-sanitize: .venv/.test
	DLCORE_SANITIZE=address $(BIN)/python setup.py -q build --build-base build/sanitize --build-lib build/sanitize/lib

build-tsan: .venv/.test
	DLCORE_SANITIZE=thread $(BIN)/python setup.py -q build --build-base build/tsan --build-lib build/tsan/lib

# Training steps, an epoch, operations, products and kernels that memory bounds, beside the peers (pytest-benchmark); what
# is installed; steps beside their launches; every operation; the rooflines. All into bench/results/<machine>/, in tens of
# minutes; `make readme` then makes tables and pictures.
RESULTS = bench/results/$$($(BIN)/python -c 'from dlcore.bench.machine import slug; print(slug())')
bench: .venv/.bench
	$(BIN)/python -m pytest bench -q -p no:xdist --peers $(PEERS) --benchmark-columns=median,iqr,rounds --benchmark-sort=name
	$(BIN)/python -m bench.weight --peers $(PEERS)
	$(BIN)/python -m bench.launches
	$(BIN)/python -m bench.table --peers $(PEERS)
	$(BIN)/dlcore roofline --out build/roofline && cp build/roofline/roofline.json $(RESULTS)/roofline.json
	$(BIN)/dlcore roofline examples/roofline_model.py:build --out build/roofline-step \
	    && cp build/roofline-step/roofline.json $(RESULTS)/roofline-step.json

# On a machine with an NVIDIA GPU: everything it can tell, in one resumable go (bench/gpu/). GPU_ARGS="--seconds 3600"
gpu: .venv/.cuda13 .venv/.test
	$(BIN)/python -m bench.gpu --out build/gpu $(GPU_ARGS)

# The same for a machine with no network and no compiler: copy bundle/ there, and `bash bundle/run.sh SECONDS`. It is
# for the Python that PYTHON312 names, and has the kernels that BUNDLE_PACKS says, also those that are not as they should.
PYTHON312 ?= python3.12
BUNDLE_PACKS ?= --arch sm_90
gpu-bundle: .venv/.test $(if $(TOOLKIT),build/cuda-13.0) build/python312
	build/python312/bin/python setup.py -q build_ext --inplace
	rm -rf build/bundle-packs
	-DLCORE_TOOLKIT=$(TOOLKIT) $(BIN)/python -m bench.packs --out build/bundle-packs $(BUNDLE_PACKS)
	$(BIN)/python -m bench.gpu.bundle --python build/python312/bin/python --packs build/bundle-packs --out bundle

build/python312:
	rm -rf $@ $@.part
	$(PYTHON312) -m venv $@.part
	$@.part/bin/python -m pip install -q "setuptools>=77" "pybind11>=3.0"
	mv $@.part $@

# What the GPU kernels compile to, on any machine: registers, spills, instructions, and the table in docs/kernels.md.
kernels: .venv/.test
	$(BIN)/dlcore verify --compile --report docs/kernels.md

# Every kernel of this machine against its references; what the GPU kernels compile to, with no GPU at hand.
verify: .venv/.test
	$(BIN)/dlcore verify
	$(BIN)/dlcore verify --compile

# What editors and type checkers know of the operations, docs/operations.md and docs/names.md, from their definitions.
stubs: .venv/.test
	$(BIN)/python -m dlcore._stubs
	$(BIN)/python -m bench.reference
	$(BIN)/python -m bench.names

# The tables and pictures of README.md and docs/, from the newest results of this machine. GPU=FOLDER adds what `make gpu`
# (build/gpu) or a bundle has found to the results of its GPU and to dlcore's configurations, and makes their tables.
readme: .venv/.bench
	$(BIN)/python -m bench.report $(if $(GPU),--merge $(GPU))

# The GPU kernels that users ask for, compiled, a pack for each architecture: bench/packs.py, which can be interrupted
# and repeated. That is some 6,000 kernels for each of six architectures, and a core compiles about four a second: half an
# hour of a core each. PACKS_ARGS="--arch sm_90 --parts models" makes a part; TOOLKIT= takes the newest assembler instead
# of the oldest of CUDA 13, whose cubins all drivers for CUDA 13 load.
packs: .venv/.test $(if $(TOOLKIT),build/cuda-13.0)
	DLCORE_TOOLKIT=$(TOOLKIT) $(BIN)/python -m bench.packs $(PACKS_ARGS)

build/cuda-13.0: .venv/bin/python
	rm -rf $@ $@.part
	$(BIN)/pip install -q --no-deps --target $@.part \
	    nvidia-cuda-nvcc==13.0.88 nvidia-cuda-nvrtc==13.0.88 nvidia-cuda-runtime==13.0.96
	mv $@.part $@

# With the packs in it: `pip install 'dist/dlcore-...whl[cuda13]'` trains on a GPU without a compiler.
wheel: packs
	$(BIN)/pip wheel -q --no-deps -w dist .

clean:
	rm -rf .venv build dist bundle *.egg-info dlcore/_C*.so

# .core, .test, .lint: this tree, editable, with the extra of that name ("core" is no extra).
.venv/.%: .venv/bin/python $(BUILD)
	@echo "building dlcore: one to four minutes the first time"
	$(BIN)/pip install -q --no-build-isolation -e ".$(if $(filter core,$*),,[$*])"
	@touch $@

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "dlcore needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null \
	    && command -v g++ >/dev/null || \
	    { echo "dlcore needs a C++ compiler and Python's headers and venv: sudo apt-get install g++ python3-dev python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q "setuptools>=77" "pybind11>=3.0"
