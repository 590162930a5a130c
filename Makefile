# Two commands matter: `make run` and `make test`. Both install what is missing into .venv and need nothing but
# Python 3.11+, make and the package registry.

PYTHON ?= python3
BIN := .venv/bin
EXPORT := .venv-export/bin
STUBS ?= service/clipserve/rpc
PIP := -m pip install --quiet --disable-pip-version-check
# This checkout, as the packages clipserve and clipserve-models: an edited file counts at once.
EDITABLE := --no-deps --no-build-isolation -e service -e models
# The tests that need nothing; each of the others has a target of its own.
FAST := not (abuse or browser or clients or compose or deploy or dist or export or image or neighbours or prometheus or redis or slow or triton)

.DEFAULT_GOAL := help
.PHONY: help run image proto test dist test-dist test-slow coverage test-all test-attacks test-abuse test-browser test-clients test-compose test-image image-test test-monitoring test-neighbours test-redis test-triton test-export abuse guesses fuzz check check-proto check-deploy check-compose model variant load compare overload fair bulk embed-folder gateway fronts processes startup soak versus gathering gpu-check gpu-check-bare triton pictures reference drawings lock clean

help: ## this list
	@grep -hE '^[a-z -]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z -]+):.*## /\1\t/' | expand -t 40

run: .venv/service.stamp ## serve the demo model on http://localhost:8080 (settings: CLIPSERVE_*)
	@exec $(BIN)/clipserve

test: .venv/dev.stamp ## the fast tests: no GPU, no Docker, no hub
	$(BIN)/python $(RUNNER) -m pytest -n 3 --dist worksteal --durations=25 --durations-min=5 -m '$(FAST)'

test-slow: .venv/dev.stamp ## what needs no more than `make test`, but minutes: real processes, long searches
	$(BIN)/python $(RUNNER) -m pytest -n 3 --dist worksteal --durations=25 --durations-min=5 -m slow

coverage: .venv/dev.stamp ## lines and branches that `make test` and `make test-slow` do not run
	$(BIN)/coverage erase
	$(MAKE) test test-slow RUNNER='-m coverage run'
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

test-all: test-dist test-attacks test-browser test-monitoring test-neighbours test-redis test-triton test-image test-compose test-export ## the slow rest: the packages installed, attacks, a browser, alerts, full load, Redis, a real Triton under chaos, the image, exports from PyTorch

test-attacks: .venv/dev.stamp ## of test-abuse what measures no time: fuzzing, ends under attack, two gigabytes
	$(BIN)/python -m pytest -m abuse tests/abuse/test_fuzz.py tests/abuse/test_endings.py tests/abuse/test_two_gigabytes.py

test-abuse: .venv/dev.stamp ## hostile clients against a real process, on a quiet machine (needs Debian's package `haproxy`; ABUSE_ALL=1: all, an hour)
	$(BIN)/python -m pytest -m abuse

test-browser: .venv/dev.stamp .page-tools/stamp ## pages in a headless Chromium, axe and Lighthouse (needs Debian's packages `chromium nodejs npm`)
	$(BIN)/python -m pytest -m browser

pictures: .venv/dev.stamp ## docs/pictures: the page as it is now, through the same browser
	$(BIN)/python -m tests.browser.pictures

test-clients: .venv/dev.stamp ## clients of other servers, and recipes that need packages, each installed into .clients/
	$(BIN)/python -m pytest -m clients

test-monitoring: .venv/dev.stamp ## rules and dashboard in a real Prometheus beside real services (needs Debian's package `prometheus`)
	$(BIN)/python -m pytest -m prometheus
test-image image-test: .venv/dev.stamp ## the Dockerfile built by buildah and run hardened by podman (needs Debian packages: .ci/run)
	$(BIN)/python -m pytest -m image -rP

test-compose: .venv/dev.stamp ## each profile that needs no GPU, started; instances replaced under load: make test-compose [ROLLS=20]
	$(BIN)/python -m pytest -m compose -rP

test-neighbours: .venv/dev.stamp ## 3,000 mixed requests at full load: each vector is that of its item asked alone
	$(BIN)/python -m pytest -m neighbours

test-redis: .venv/dev.stamp ## two gateways on a real Redis (needs Debian's package `redis-server`)
	$(BIN)/python -m pytest -m redis

test-triton: .venv/dev.stamp ## against a real Triton server on this CPU: make test-triton [ARGS=tests/triton/test_several.py]
	$(BIN)/python -m pytest -m triton $(ARGS)

test-export: .venv-export/export.stamp ## export from PyTorch, golden references made anew
	$(EXPORT)/python -m pytest -m export

abuse: .venv/dev.stamp ## every attack, and the table of what they did: make abuse [ARGS="--only WebP --seconds 10"]
	$(BIN)/python -m tests.abuse $(ARGS)

guesses: .venv/dev.stamp ## times a million guesses at a key, and what the gate takes of a request
	$(BIN)/python -m tests.access.guesses $(ARGS)
	$(BIN)/python -m tests.access.overhead

fuzz: .venv/dev.stamp ## mutated images, texts, JSON and forms, odd requests at each route: make fuzz [ARGS="--executions 1000000"]
	$(BIN)/python -m tests.abuse.fuzz $(ARGS)

image: ## build the image, and say of it what it is made of: make image [VARIANT=gpu] [ARGS="--pull"]
	docker build --build-arg VARIANT=$(or $(VARIANT),cpu) --build-arg VERSION=`sed -n 's/^__version__ = "\(.*\)"/\1/p' service/clipserve/__init__.py` \
	  --build-arg REVISION=`git rev-parse HEAD` -t clipserve$(VARIANT:%=:%) $(ARGS) .

proto: .venv/dev.stamp ## make the stubs of clip.proto anew
	$(BIN)/python -m grpc_tools.protoc -I service/clipserve/rpc --python_out=$(STUBS) --pyi_out=$(STUBS) --grpc_python_out=$(STUBS) \
	  clipserve/v1/clip.proto
	sed -i.bak 's/^from clipserve\.v1 import/from clipserve.rpc.clipserve.v1 import/' $(STUBS)/clipserve/v1/clip_pb2_grpc.py
	rm $(STUBS)/clipserve/v1/clip_pb2_grpc.py.bak

check: .venv/dev.stamp check-proto ## lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile

check-proto: .venv/dev.stamp ## clip.proto: lint, the released contract holds, the stubs are those of it
	$(BIN)/buf lint
	$(BIN)/buf breaking --against tests/rpc/released
	@stubs=`mktemp -d` && $(MAKE) --no-print-directory --silent proto STUBS=$$stubs && \
	  diff -r -x __init__.py -x __pycache__ -x '*.proto' $$stubs/clipserve/v1 service/clipserve/rpc/clipserve/v1; \
	  found=$$?; rm -r $$stubs; exit $$found

check-deploy: .deploy-tools/stamp .venv/dev.stamp check-compose ## Dockerfile, compose, Kubernetes, alerts, proto (needs Debian's packages docker-compose kustomize nodejs npm prometheus)
	$(BIN)/hadolint Dockerfile
	$(BIN)/buf lint
	$(BIN)/python -m pytest -n 2 -m 'deploy or prometheus' tests/deploy tests/monitoring/test_promtool.py

check-compose: ## docker compose reads its file, with every profile (needs docker-compose, no engine)
	docker compose config --quiet
	@for profile in `docker compose config --profiles`; do \
	  echo "docker compose --profile $$profile config --quiet"; \
	  docker compose --profile $$profile config --quiet || exit; \
	done

dist: .dist-tools/stamp ## wheels and sdists of clipserve and clipserve-models, checked, in dist/
	rm -rf dist
	.dist-tools/bin/python -m build --no-isolation --outdir dist service
	.dist-tools/bin/python -m build --no-isolation --outdir dist models
	.dist-tools/bin/twine check --strict dist/*
	.dist-tools/bin/check-wheel-contents dist

test-dist: dist .venv/dev.stamp ## what make dist has made, installed into empty environments and used
	$(BIN)/python -m pytest -m dist

model: .venv-export/export.stamp ## export a model: make model NAME=ViT-B-32 [ARGS="--pretrained openai"]
	@test -n "$(NAME)" || { echo 'usage: make model NAME=ViT-B-32 [ARGS="--pretrained openai"]'; exit 2; }
	$(EXPORT)/python -m clipserve_models export $(NAME) $(ARGS)

variant: .venv-export/export.stamp ## a variant of an artifact: make variant FOLDER=models/artifacts/ViT-B-32 PRECISION=fp16 PHOTOS=... [ARGS=...]
	@test -n "$(FOLDER)" -a -n "$(PRECISION)" -a -n "$(PHOTOS)" || { echo 'usage: make variant FOLDER=models/artifacts/ViT-B-32 PRECISION=fp16 PHOTOS=... [ARGS="--classes classes.tsv"]'; exit 2; }
	$(EXPORT)/python -m clipserve_models variant $(FOLDER) --precision $(PRECISION) --photos $(PHOTOS) $(ARGS)

load: .venv/dev.stamp ## throughput beside a bare loop: make load [FOLDER=service/clipserve/demo]
	$(BIN)/python -m loadtests limit $(or $(FOLDER),service/clipserve/demo)

compare: .venv/dev.stamp ## beside other servers, each in an environment of its own: make compare FOLDER=... [ARGS="--rounds 5"]
	$(BIN)/python -m loadtests.compare $(or $(FOLDER),service/clipserve/demo) $(ARGS)

overload fair bulk embed-folder gateway fronts processes startup soak: .venv/dev.stamp ## a load test of that name: make soak [FOLDER=service/clipserve/demo] [ARGS="--minutes 30"]
	$(BIN)/python -m loadtests $@ $(or $(FOLDER),service/clipserve/demo) $(ARGS)

gathering: .venv/dev.stamp ## rows a second in front of a real Triton whose models answer at once (needs Debian's package `wrk`): make gathering [OTHER=../before]
	$(BIN)/python -m loadtests gathering $(OTHER:%=--other %) $(ARGS)

gpu-check: .venv/dev.stamp $(if $(filter cpu,$(DEVICE))$(FP32),,.venv-export/export.stamp) ## what Triton computes on a GPU, and how fast (needs Docker, TRITON_IMAGE and TENSORRT_IMAGE): make gpu-check [MODEL=ViT-B-32 | FP32=... FP16=...]; DEVICE=cpu needs neither
	$(if $(filter cpu,$(DEVICE)),deploy/triton/local.sh setup)
	$(BIN)/python -m loadtests gpu-check --device $(or $(DEVICE),gpu) $(MODEL:%=--model %) $(FP32:%=--fp32 %) $(FP16:%=--fp16 %) $(ARGS)

gpu-check-bare: ## encoders in process on a GPU, against the CPU and beside PyTorch; no network: make gpu-check-bare [FOLDER=service/clipserve/demo] [DEVICE=cpu] [ARGS="--seconds 1"]
	$(or $(wildcard $(BIN)/python),$(PYTHON)) -m loadtests.gpu_bare $(or $(FOLDER),service/clipserve/demo) --device $(or $(DEVICE),cuda) $(ARGS)

versus: .venv/dev.stamp ## beside another checkout: make versus OTHER=../before [FOLDER=service/clipserve/demo] [ARGS="--rounds 9"]
	$(BIN)/python -m loadtests versus $(OTHER) $(or $(FOLDER),service/clipserve/demo) $(ARGS)

triton: .venv/service.stamp ## a real Triton on this CPU, gRPC on 8001: make triton [FOLDER=service/clipserve/demo] [ARGS="--instances 2"]
	deploy/triton/local.sh setup
	$(BIN)/python -m clipserve_models triton $(or $(FOLDER),service/clipserve/demo) --backend python --out .triton/models $(ARGS)
	@exec deploy/triton/local.sh serve .triton/models

LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	--no-emit-index-url

reference: .venv/dev.stamp ## write what is made of other files: the reference in docs/api.md, the alerts for the Prometheus operator
	$(BIN)/python -m tests.api_reference
	$(BIN)/python -m tests.deploy.prometheus_rule

drawings: .venv/dev.stamp ## draw the pictures of the documents anew, from ARCHITECTURE.md and loadtests/results
	$(BIN)/python -m tests.docs.pictures

lock: ## pin the dependencies in the pyproject.toml files anew (needs uv); ARGS="--upgrade" takes new versions
	$(LOCK) $(ARGS) service/pyproject.toml --extra cpu -o requirements/service.txt
	$(LOCK) $(ARGS) service/pyproject.toml --extra gpu -c requirements/service.txt -o requirements/service-gpu.txt
	$(LOCK) $(ARGS) service/pyproject.toml --extra openvino -c requirements/service.txt -o requirements/openvino.txt
	$(LOCK) $(ARGS) service/pyproject.toml --extra tracing -c requirements/openvino.txt -o requirements/tracing.txt
	$(LOCK) $(ARGS) service/pyproject.toml --extra parquet -c requirements/openvino.txt -o requirements/parquet.txt
	$(LOCK) $(ARGS) --group dev -c requirements/openvino.txt -c requirements/tracing.txt -c requirements/parquet.txt -o requirements/dev.txt
	$(LOCK) $(ARGS) --group deploy -o requirements/deploy.txt
	$(LOCK) $(ARGS) --group sbom -o requirements/sbom.txt
	$(LOCK) $(ARGS) --group build -o requirements/build.txt
	$(LOCK) $(ARGS) --group dist -c requirements/build.txt -o requirements/dist.txt

clean: ## remove what make installed
	rm -rf .venv .venv-export .deploy-tools .dist-tools dist .page-tools .triton .peers .clients .image

.venv/python.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "clipserve needs Python 3.11 or newer; found `$(PYTHON) --version`. Set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/service.stamp: .venv/python.stamp requirements/service.txt requirements/build.txt service/pyproject.toml models/pyproject.toml
	@echo "installing the service into .venv ..."
	$(BIN)/python $(PIP) --require-hashes -r requirements/service.txt -r requirements/build.txt
	$(BIN)/python $(PIP) $(EDITABLE)
	@touch $@

.venv/dev.stamp: .venv/service.stamp requirements/openvino.txt requirements/tracing.txt requirements/parquet.txt requirements/dev.txt
	@echo "installing the test tools into .venv ..."
	$(BIN)/python $(PIP) --require-hashes -r requirements/openvino.txt -r requirements/tracing.txt -r requirements/parquet.txt -r requirements/dev.txt
	@touch $@

.venv-export/export.stamp: requirements/service.txt requirements/openvino.txt requirements/tracing.txt requirements/parquet.txt requirements/dev.txt requirements/build.txt service/pyproject.toml models/pyproject.toml
	@echo "installing PyTorch and the exporters into .venv-export (a few minutes) ..."
	$(PYTHON) -m venv .venv-export
	$(EXPORT)/python $(PIP) -r requirements/service.txt -r requirements/build.txt -r requirements/openvino.txt -r requirements/tracing.txt -r requirements/parquet.txt -r requirements/dev.txt
	$(EXPORT)/python $(PIP) $(EDITABLE)
	$(EXPORT)/python $(PIP) --no-build-isolation -e 'models[export]'
	@touch $@

.dist-tools/stamp: requirements/dist.txt
	@echo "installing the tools that build distributions into .dist-tools ..."
	$(PYTHON) -m venv .dist-tools
	.dist-tools/bin/python $(PIP) --require-hashes -r requirements/dist.txt
	@touch $@

.deploy-tools/stamp: requirements/deploy.txt tests/deploy/package.json tests/deploy/package-lock.json
	@echo "installing the tools that check manifests into .deploy-tools (a minute) ..."
	$(PYTHON) -m venv .deploy-tools
	.deploy-tools/bin/python $(PIP) --require-hashes -r requirements/deploy.txt
	cp tests/deploy/package.json tests/deploy/package-lock.json .deploy-tools/
	npm ci --prefix .deploy-tools --silent --no-audit --no-fund
	@touch $@

# Versions that run on Debian's Node 20. Nothing here is locked: only `make test-browser` runs them, on pages of this checkout.
.page-tools/stamp: Makefile
	@echo "installing axe and Lighthouse into .page-tools ..."
	npm install --prefix .page-tools --no-save --silent --no-audit --no-fund axe-core@4.14.1 lighthouse@12.8.2
	@touch $@
