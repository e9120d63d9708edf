# Everything a newcomer needs: `make run` and `make test`. Each target installs what it needs first.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
PYTHON ?= python3
SAMPLE ?= qwen-coder
PAIR ?= q
STREAMS ?= 1,4,8,16,32
MINUTES ?= 0
export CLUSTER ?=
BIN := $(VENV)/bin
export TOKENIZERS_PARALLELISM ?= false

BENCH_MODELS = $(if $(filter s,$(PAIR)),smollm2,smollm2 qwen-coder)

SOURCES := operator/pyproject.toml serving/pyproject.toml serving/hatch_build.py constraints.txt pyproject.toml \
	$(shell find serving/proto -name '*.proto')

.PHONY: help
help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(VENV)/.installed: $(SOURCES)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "make: $(PYTHON) is older than Python 3.11; give a newer one by PYTHON=…" >&2; exit 1; }
	@echo "installing both distributions into $(VENV) …"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e serving -e operator --group test --group lint
	@touch $@

.PHONY: install
install: $(VENV)/.installed ## Make the environment and install both distributions

.PHONY: models
models: install ## Fetch and prepare the small model that the tests use (93 MB)
	@$(BIN)/outrider-models prepare smollm2

.PHONY: models-q
models-q: install
	@$(BIN)/outrider-models prepare qwen-coder

.PHONY: run
run: install ## Serve a sample on this machine: SAMPLE=qwen-coder (default) or smollm2
	@$(BIN)/outrider-models prepare $(patsubst qwen-coder%,qwen-coder,$(SAMPLE))
	@exec $(BIN)/outrider up manifests/samples/$(SAMPLE).yaml

.PHONY: cluster
cluster: install ## Find the control plane that the tests of the operator run on, or build it (ten minutes, once); CLUSTER=none: do without
	@test "$(CLUSTER)" = none || { cd tests && ../$(BIN)/python -m cluster get; }

.PHONY: cluster-up
cluster-up: install ## Run a cluster with pods on this machine, in the background (root and apt; its programs are built once)
	@cd tests && ../$(BIN)/python -m cluster start

.PHONY: cluster-down
cluster-down: install ## End it, and leave nothing of it
	@cd tests && ../$(BIN)/python -m cluster stop

.PHONY: e2e
e2e: models prometheus ## The life of a model in a cluster with pods: the one that KUBECONFIG names, or one of our own (root and apt)
	@$(BIN)/python -m pytest tests/e2e_cluster --exitfirst --capture=no --durations=0
	@test -n "$(KUBECONFIG)" || { cd tests && ../$(BIN)/python -m e2e_cluster.covered --passed; }

.PHONY: helm
helm: install ## Find Helm, which renders the chart, or fetch it once (40 MB)
	@cd tests && ../$(BIN)/python -m support.chart

.PHONY: prometheus
prometheus: install ## Find prometheus and promtool, which rules and dashboards are tested with, or fetch them
	@cd tests && ../$(BIN)/python -m prometheus

.PHONY: test
test: test-unit models cluster prometheus ## Run every test, the fast ones first
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/unit -m long --numprocesses=auto
	@$(BIN)/python -m pytest tests/integration tests/e2e --numprocesses=2 --dist=loadscope

.PHONY: test-unit
test-unit: install helm ## Run the fast tests, under two minutes
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/unit -m "not long" --numprocesses=auto

.PHONY: lint
lint: install helm ## Style, types, layers, and that generated files are up to date
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python operator/hack/generate_api.py --check
	@$(BIN)/python operator/hack/generate_chart_docs.py --check
	@cd tests && ../$(BIN)/python -m support.manifests --check

.PHONY: format
format: install ## Put the code into the project's style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: generate
generate: install ## Generate the typed resource from the CRD, and the chart's schema and table from its values
	@$(BIN)/python operator/hack/generate_api.py
	@$(BIN)/python operator/hack/generate_chart_docs.py

.PHONY: manifests
manifests: helm ## Render manifests/ and the snapshots of the tests from the chart
	@cd tests && ../$(BIN)/python -m support.manifests

.PHONY: bench-decode
bench-decode: JSON ?= bench-decode-$(PAIR).json
bench-decode: install ## Compare decoding in one run: PAIR=q|s JSON=FILE [PROMPTS=FILE] [SYSTEMS=a,b]
	@$(BIN)/outrider-models prepare $(BENCH_MODELS)
	@cd tests && ../$(BIN)/python -m benchmarks.decode --pair $(PAIR) --json $(abspath $(JSON)) $(if $(PROMPTS),--prompts $(abspath $(PROMPTS))) $(if $(SYSTEMS),--systems $(SYSTEMS))

.PHONY: bench-forward
bench-forward: JSON ?= bench-forward-$(PAIR).json
bench-forward: install ## Compare a forward with a hand-written one and transformers': PAIR=q|s JSON=FILE
	@$(BIN)/outrider-models prepare $(BENCH_MODELS)
	@cd tests && OUTRIDER_MODEL_MIRROR=$$(../$(BIN)/outrider-models path) OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=20000 \
		../$(BIN)/python -m benchmarks.forward --model $(if $(filter s,$(PAIR)),hf://HuggingFaceTB/SmolLM2-135M-Instruct,hf://Qwen/Qwen2.5-Coder-1.5B-Instruct) --json $(abspath $(JSON))

.PHONY: bench-load
bench-load: JSON ?= bench-load-$(PAIR).json
bench-load: install ## Compare many streams in one run: PAIR=q|s JSON=FILE [STREAMS=1,4,8,16,32] [MINUTES=0: one round]
	@$(BIN)/outrider-models prepare $(BENCH_MODELS)
	@cd tests && ../$(BIN)/python -m benchmarks.load --pair $(PAIR) --json $(abspath $(JSON)) --streams $(STREAMS) --minutes $(MINUTES)

.PHONY: bench-virtual
bench-virtual: JSON ?= bench-virtual-$(PAIR).json
bench-virtual: KIND = here
bench-virtual: install ## Count what speculation earns on a machine of some kind: PAIR=q|s JSON=FILE [KIND=matrix-unit] [STREAMS=1,8]
	@$(BIN)/outrider-models prepare $(BENCH_MODELS)
	@cd tests && ../$(BIN)/python -m benchmarks.virtual --pair $(PAIR) --json $(abspath $(JSON)) --streams $(STREAMS) --kind $(KIND)

.PHONY: bench-soak
bench-soak: JSON ?= bench-soak-$(PAIR).json
bench-soak: STREAMS = 64
bench-soak: MINUTES = 10
bench-soak: install ## Many streams for minutes, cut short at random: PAIR=q|s JSON=FILE [STREAMS=64] [MINUTES=10]
	@$(BIN)/outrider-models prepare $(BENCH_MODELS)
	@cd tests && ../$(BIN)/python -m benchmarks.soak --pair $(PAIR) --json $(abspath $(JSON)) --streams $(STREAMS) --minutes $(MINUTES)

.PHONY: bench-operator
bench-operator: JSON ?= bench-operator.json
bench-operator: cluster ## Many models through one operator on a real API server: JSON=FILE [MODELS=50,200,500]
	@cd tests && ../$(BIN)/python -m benchmarks.reconcile --json $(abspath $(JSON)) $(if $(MODELS),--models $(MODELS))

.PHONY: bench-autoscale
bench-autoscale: JSON ?= bench-autoscale.json
bench-autoscale: install ## The autoscaler against others on recorded traffic and simulated pods: JSON=FILE [TRACES=FOLDER] [PICTURES=1]
	@cd tests && ../$(BIN)/python -m benchmarks.autoscale --json $(abspath $(JSON)) $(if $(TRACES),--traces $(abspath $(TRACES))) $(if $(PICTURES),--pictures)

.PHONY: figures
figures: install ## Draw what was measured, as PNG beside it: JSON="FILE..."
	@cd tests && ../$(BIN)/python -m benchmarks.charts $(abspath $(JSON))

.PHONY: images
images: install ## Build both images on Debian's packages, and check them (ten minutes at first; needs apt and root)
	@cd tests && ../$(BIN)/python -m cluster.images
	@$(BIN)/python -m pytest tests/e2e_images

.PHONY: clean
clean: ## Remove the environment and caches; prepared models stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
