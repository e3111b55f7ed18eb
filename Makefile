PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

# Jobs of Flink, of which each is a JVM, killed and started again: apart, by test-stream.
STREAM_TESTS := tests/integration/streaming tests/integration/flink tests/integration/applying/test_apply_with_flink.py tests/conformance/test_expressions_on_flink.py
# On Spark: the conformance suite, and what else there is of it. They have Pythons of their own, for a JVM stays in them.
SPARK_TESTS := tests/integration/spark tests/conformance/test_expressions_on_spark.py
# What starts clusters and servers of its own, or takes minutes: one after another, by test-spark.
TORCH_TESTS := tests/integration/torch
SPARK_ALONE := $(addprefix tests/integration/spark/test_,$(addsuffix .py,backfill catalog_tables cluster connect submit))

FLINK := zipline/engines/flink/zipline-flink.jar

.PHONY: demo demo-stream flink test test-stream test-spark test-torch bench bench-feast bench-online bench-soak bench-spark bench-stream lint setup clean

demo: $(VENV)/.demo
	$(BIN)/zipline demo

# Kafka, Flink and LMDB on this machine: a JDK and Maven are needed.
demo-stream: $(VENV)/.dev $(FLINK)
	$(BIN)/zipline demo --stream

# JVMs of all but Spark live for seconds: half of their time would go to a compiler whose code is never worth it.
SHORT := JAVA_TOOL_OPTIONS="-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m"
PARALLEL := -n 2 --dist loadfile --no-loadscope-reorder

test: $(VENV)/.dev lint $(FLINK)
	$(SHORT) $(BIN)/python -m pytest $(PARALLEL) $(addprefix --ignore=,$(SPARK_TESTS) $(STREAM_TESTS) $(TORCH_TESTS))
	ZIPLINE_ENGINES=spark $(BIN)/python -m pytest $(PARALLEL) tests/integration/spark tests/conformance -k spark $(addprefix --ignore=,$(SPARK_ALONE))

# The conformance suite is one streaming job, for which its tests are called twice: in one process.
test-stream: $(VENV)/.dev $(FLINK)
	$(SHORT) $(BIN)/python -m pytest $(PARALLEL) $(STREAM_TESTS)
	$(SHORT) ZIPLINE_ENGINES=flink $(BIN)/python -m pytest tests/conformance -k flink --ignore=tests/conformance/test_expressions_on_flink.py

test-spark: $(VENV)/.dev
	$(BIN)/python -m pytest $(SPARK_ALONE)

# torch comes with several gigabytes of CUDA: beside the environment, and only for its own tests.
test-torch: $(VENV)/.dev build/torch/torch
	PYTHONPATH=build/torch $(BIN)/python -m pytest $(TORCH_TESTS)

build/torch/torch:
	@echo "installing torch into build/torch (once, several gigabytes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --target build/torch torch
	@touch $@

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev
	$(BIN)/python -m tests.performance

bench-online: $(VENV)/.dev
	$(BIN)/python -m tests.performance.online
	$(BIN)/python -m tests.performance.caching
	$(BIN)/python -m tests.performance.serving

# Feast is installed into build/feast, never into our environment.
bench-feast: $(VENV)/.dev
	$(BIN)/python -m tests.performance.feast

# Ten minutes under load, and ten million keys.
bench-soak: $(VENV)/.dev
	$(BIN)/python -m tests.performance.soak
	$(BIN)/python -m tests.performance.memory

# Kafka to LMDB and to Redis by a job of Flink, beside plain Flink SQL into a black hole.
bench-stream: $(VENV)/.dev $(FLINK)
	$(BIN)/python -m tests.performance.streaming
	$(BIN)/python -m tests.performance.streaming_many
	$(BIN)/python -m tests.performance.freshness
	$(BIN)/python -m tests.performance.hot_key

bench-spark: $(VENV)/.dev
	$(BIN)/python -m tests.performance.spark

# What of the streaming job is Java. Maven keeps what it fetches below build/: a cache of poms without jars breaks Spark.
flink: $(FLINK)

$(FLINK): zipline/engines/flink/java/pom.xml $(shell find zipline/engines/flink/java/src -type f)
	mvn -q -B -Dmaven.repo.local=$(CURDIR)/build/maven -f $< package
	cp zipline/engines/flink/java/target/zipline-flink-*.jar $@

setup: $(VENV)/.dev

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing into $(VENV) (once, a few minutes at most)"
	@$(INSTALL) '.[demo]'
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing into $(VENV) (once, a few minutes at most)"
	@$(INSTALL) '.[cassandra,client,demo,flink,kafka,postgresql,redis,s3,serve,spark,dev]'
	@touch $@ $(VENV)/.demo

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; (3, 11) <= v < (3, 13) or sys.exit("Python 3.11 or 3.12 is needed, this is %d.%d: make PYTHON=python3.11 ..." % v[:2])'
	@$(PYTHON) -m venv $(VENV) || { echo "the venv module is missing: apt-get install python3-venv" >&2; exit 1; }

clean:
	rm -rf $(VENV) .zipline build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
