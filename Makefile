.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

# Settings of one run: make run RATE=200 ACCOUNTS=20000
export_if = $(if $($(1)),export $(2)=$($(1));)
launcher = PYTHONPATH=common:local .venv/bin/python -m launcher
python_path = common:connectors:flask:producer:spark:local
pytest = .venv/bin/python -m pytest
export SPARK_JARS_DIR := $(CURDIR)/.local/lib/spark

##@ Setup

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Fetch Python packages and jars (once; later only compares stamps)
	@bash local/setup.sh

.PHONY: setup-tests
setup-tests:
	@bash local/setup.sh tests

.PHONY: doctor
doctor: setup ## Check this machine, for containers too: PASS or FAIL, with the fix
	@$(launcher) doctor

.PHONY: clean
clean: ## Stop the pipeline and remove its data and logs (keeps downloads)
	@if [ -x .venv/bin/python ]; then $(launcher) clean; fi

##@ Run

.PHONY: run
run: setup ## Start the whole pipeline on this machine; RATE= ACCOUNTS= WITHOUT=
	@$(call export_if,RATE,FRAUD__SIMULATOR__RATE_PER_S) \
	$(call export_if,ACCOUNTS,FRAUD__SIMULATOR__ACCOUNTS) \
	export PYTHONPATH=common:local; exec .venv/bin/python -m launcher run --without "$(WITHOUT)"

.PHONY: stop
stop: ## End it from another terminal
	@$(launcher) stop

.PHONY: status
status: ## One line per service
	@$(launcher) status

.PHONY: replay
replay: setup ## Play DATA= through a pipeline of its own; SPEED=1 (max: no waiting) OUT=
	@$(if $(DATA),,echo "DATA= must name a labelled file" >&2; exit 2;) \
	PYTHONPATH=common:local exec .venv/bin/python -m launcher.replay --data "$(DATA)" \
	  --speed "$(or $(SPEED),1)" --out "$(or $(OUT),.local/results)"

##@ Containers

# docker-compose 1.29, or else the plugin.
compose = $(shell command -v docker-compose || echo docker compose)

.PHONY: up
up: ## The same in containers; returns at once, dashboard on http://localhost:5000
	@$(call export_if,RATE,FRAUD__SIMULATOR__RATE_PER_S) \
	$(call export_if,ACCOUNTS,FRAUD__SIMULATOR__ACCOUNTS) $(compose) up -d --build

.PHONY: down
down: ## Remove the containers; data stay in volumes (docker-compose down -v: delete them)
	@$(compose) down

.PHONY: logs
logs: ## Follow the logs of the containers
	@$(compose) logs -f --tail 50

.PHONY: ps
ps: ## State of each container
	@$(compose) ps

##@ Test

.PHONY: test
test: lint types test-unit test-java test-contract test-spark test-web test-stack test-compose ## Everything that CI runs, in this order

.PHONY: lint
lint: setup-tests ## Check style; changes nothing
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

.PHONY: types
types: setup-tests ## Check types (strict)
	.venv/bin/mypy
	MYPYPATH=cassandra .venv/bin/mypy cassandra/erase.py cassandra/migrate.py cassandra/passwords.py cassandra/roles.py

.PHONY: test-unit test-contract test-spark test-web test-stack
test-unit: setup-tests ## Pure functions
test-contract: setup-tests ## Schema, tables, configuration and documents agree
test-spark: setup-tests ## The detection job on a local Spark
test-web: setup-tests ## The dashboard
test-stack: setup-tests ## Real servers, real faults
test-unit test-contract test-spark test-web test-stack: test-%:
	$(pytest) tests/$*

.PHONY: test-compose
test-compose: setup-tests ## The same in containers, skipped without an engine; CI=true starts one; CHAOS=5
	@bash tests/compose/run.sh

.PHONY: drill
drill: setup ## Kill, freeze and cut off each part under load; SHORT=1 FAULTS=cassandra:kill KILLS=20 RATE= OUT=
	@$(call export_if,RATE,FRAUD__SIMULATOR__RATE_PER_S) \
	$(call export_if,ACCOUNTS,FRAUD__SIMULATOR__ACCOUNTS) \
	PYTHONPATH=common:local exec .venv/bin/python -m drill --out "$(results)" $(if $(SHORT),--short) \
	  $(if $(FAULTS),--faults "$(FAULTS)") $(if $(KILLS),--kills $(KILLS)) $(if $(SEED),--seed $(SEED))

.PHONY: test-java
test-java: setup-tests ## The Cassandra sink for Kafka Connect
	mvn --batch-mode --quiet --no-transfer-progress -f connectors/sink/pom.xml package

##@ Model

# Four simulated hours unless DATA= names a labelled file, or SOURCE=cassandra the raw transactions
# of the running pipeline; the same rows and SEED give the same model.
training_data = $(or $(DATA),.local/training.parquet)

.PHONY: train-model
train-model: setup-tests ## Train on simulated history, DATA= or SOURCE=cassandra; SEED= OUT=
	$(if $(DATA)$(SOURCE),,PYTHONPATH=$(python_path) .venv/bin/python -m simulator export \
	  --minutes 240 --out $(training_data) $(if $(SEED),--seed $(SEED)))
	PYTHONPATH=$(python_path) .venv/bin/python -m training \
	  $(if $(SOURCE),--source $(SOURCE),--data $(training_data)) $(if $(SEED),--seed $(SEED)) $(if $(OUT),--out $(OUT))

versions = PYTHONPATH=common:spark .venv/bin/python -m detection.versions
version_or_exit = $(if $(VERSION),,echo "VERSION= must name a version; see make models" >&2; exit 2;)

.PHONY: models
models: ## Every version with figures of its card, and what it is used as
	@$(versions) list

.PHONY: shadow
shadow: ## Let VERSION= score beside the live model and record what it would raise; empty: off
	@$(versions) shadow $(if $(VERSION),"$(VERSION)",--off)

.PHONY: compare
compare: ## Alerts of the live model against those of the shadow; HOURS=1
	@PYTHONPATH=common:flask .venv/bin/python -m dashboard.compare --hours "$(or $(HOURS),1)"

.PHONY: promote
promote: ## Make VERSION= live; the running job takes it at its next batch
	@$(version_or_exit) $(versions) promote "$(VERSION)"

.PHONY: rollback
rollback: ## Make the previous version live again
	@$(versions) rollback

##@ Measure

evaluate = PYTHONPATH=$(python_path) .venv/bin/python -m evaluation
results = $(or $(OUT),.local/results)

.PHONY: evaluate
evaluate: setup-tests ## Quality of detection on simulated worlds or DATA=; MODEL= CHECKS=1 BATCHES=recorded OUT=
	$(evaluate) --out "$(results)" $(if $(CHECKS),--checks) $(if $(DATA),--data "$(DATA)") \
	  $(if $(MODEL),--model $(MODEL)) $(if $(WORLDS),--worlds $(WORLDS)) \
	  $(if $(BATCHES),--$(BATCHES) "$(results)")

.PHONY: evaluate-stationarity
evaluate-stationarity: setup-tests ## The same hour by hour: a day at the usual pace, hours at 50 times that
	$(evaluate) --out "$(results)" --worlds day --by-hour
	$(evaluate) --out "$(results)" --worlds fast --by-hour

.PHONY: bench-micro-batch
bench-micro-batch: setup-tests ## Time of a micro-batch and of its parts; RATE=1000 ACCOUNTS=20000
	PYTHONPATH=$(python_path):. .venv/bin/python tests/bench/micro_batch.py \
	  $(if $(RATE),--rate $(RATE)) $(if $(ACCOUNTS),--accounts $(ACCOUNTS))

.PHONY: soak
soak: setup-tests ## A long run with hostile records, then verify; MINUTES=30 RATE=1000 ACCOUNTS=20000
	PYTHONPATH=$(python_path):. .venv/bin/python tests/bench/soak.py --out "$(results)" \
	  $(if $(MINUTES),--minutes $(MINUTES)) $(if $(RATE),--rate $(RATE)) \
	  $(if $(ACCOUNTS),--accounts $(ACCOUNTS))

.PHONY: evaluate-handbook evaluate-sparkov
evaluate-handbook: setup-tests ## Detection on the Fraud Detection Handbook's data: DATA= OUT=
evaluate-sparkov: setup-tests ## Detection on data made by Sparkov: DATA= OUT=
evaluate-handbook evaluate-sparkov: evaluate-%:
	@$(if $(DATA),,echo "DATA= must name the data set, a folder or a parquet file" >&2; exit 2;) \
	PYTHONPATH=$(python_path):. exec .venv/bin/python -m tests.evaluation $* \
	  --data "$(DATA)" --out "$(or $(OUT),.local/results)"

##@ Operate

.PHONY: verify
verify: ## Account for every record, recompute every result; exit 1 on a difference; OUT=
	@mkdir -p "$(results)"; PYTHONPATH=common:spark .venv/bin/python -m verification --out "$(results)"

.PHONY: dlq
dlq: ## Dead letters; SHOW=0/17, REINJECT=all, a reason or 0/17, FORCE=1; PURGE= the same, BEFORE=
	@PYTHONPATH=common:connectors .venv/bin/python -m deadletters $(if $(SHOW),--show "$(SHOW)") \
	  $(if $(REINJECT),--reinject "$(REINJECT)") $(if $(FORCE),--force) \
	  $(if $(PURGE),--purge "$(PURGE)") $(if $(BEFORE),--before "$(BEFORE)")

.PHONY: backup
backup: ## Copy data, checkpoint and models of the stopped pipeline to the folder OUT=
	@$(if $(OUT),,echo "OUT= must name a folder to make" >&2; exit 2;) $(launcher) backup "$(OUT)"

.PHONY: restore
restore: setup ## Go back to the backup in FROM=, after make clean
	@$(if $(FROM),,echo "FROM= must name the folder of a backup" >&2; exit 2;) $(launcher) restore "$(FROM)"

.PHONY: erase
erase: setup ## Delete the rows of ACCOUNT= from Cassandra
	@$(if $(ACCOUNT),,echo "ACCOUNT= must name an account" >&2; exit 2;) \
	PYTHONPATH=common exec .venv/bin/python cassandra/erase.py -- "$$ACCOUNT"

.PHONY: format
format: setup-tests ## Format the code
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

.PHONY: update-pins
update-pins: ## Renew the hashes of Python packages and jars (needs uv)
	bash local/update-pins.sh
