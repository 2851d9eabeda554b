# Each target does its own set-up in .venv (or in VENV=...): a bare checkout needs nothing else.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

# llama.cpp built for exactly this processor crashes on some virtual machines; AVX2 is as fast.
export CMAKE_ARGS ?= -DGGML_NATIVE=OFF
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The tests start hundreds of programs: each would compile the whole package for itself.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test vllm-installed test-vllm test-vllm-v2 attack bench check check-all coverage docs release-check clean

demo: $(VENV)/.installed-demo
	@$(BIN)/energy-guard demo

# Two processes: most tests wait for one thread of an engine. Where there are more threads of OpenMP
# than processors, they wait for each other in loops: a logistic regression took 18 times as long.
# In the order of tests/conftest.py; of its own accord xdist ends with the files of few long tests.
test: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# vLLM excludes the versions of the other tests. Its CPU build, with what it needs and no more:
# about 2.5 GB, and pip has to find the CPU build of torch.
VLLM_VENV ?= .venv-vllm
vllm-installed:
	@test -x $(VLLM_VENV)/bin/python || $(PYTHON) -m venv $(VLLM_VENV)
	@$(VLLM_VENV)/bin/python -m pip install --quiet --no-deps --requirement benchmarks/environments/vllm.lock

test-vllm: vllm-installed
	OMP_NUM_THREADS=1 $(VLLM_VENV)/bin/python -m pytest -W default tests/backends/vllm

# The same on vLLM's V2 model runner, which needs Triton: Triton's interpreter runs its
# kernels on a CPU. Triton lies apart: it is 1 GB, and of no use to the others.
test-vllm-v2: VLLM_TRITON := $(abspath $(VLLM_VENV))/triton
test-vllm-v2: vllm-installed
	@test -d $(VLLM_TRITON) || $(VLLM_VENV)/bin/python -m pip install --quiet --no-deps --target $(VLLM_TRITON) triton==3.9.0
	OMP_NUM_THREADS=1 PYTHONPATH=$(CURDIR)/tests/backends/vllm/interpreted:$(VLLM_TRITON) \
	  $(VLLM_VENV)/bin/python -m pytest -W default tests/backends/vllm

# ARGS, such as ARGS='--only profiles --seed 7': one kind, other attacks. See docs/results.md.
attack: $(VENV)/.installed-test
	@PYTHONPATH=.:tests $(BIN)/python -m attack_from_outside $(ARGS)

bench: $(VENV)/.installed-demo $(VENV)/.installed-transformers
	@$(BIN)/energy-guard bench
	@$(BIN)/energy-guard bench --backend transformers

check: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy examples/*.py examples/langchain_agent examples/langchain_chat examples/langchain_rag examples/langchain_server

# The documentation as a site, in site/; warnings are errors. In an environment of its own: what
# builds a site needs no engine, and a page is made from the commands without one.
docs:
	@$(MAKE) --no-print-directory VENV=$(VENV)-docs $(VENV)-docs/.installed-docs
	@NO_MKDOCS_2_WARNING=1 $(VENV)-docs/bin/mkdocs build --strict --quiet
	@echo "The site is in site/; begin with site/index.html."

# What .ci/run leaves out, or skips without a chromium: LangChain's newest releases, the oldest
# versions, a release, a browser, notebooks, the site, attacks, vLLM. All of them run, and one that
# fails is enough to fail. docs/check-all.md has what it said last.
check-all: $(VENV)/.installed-test
	@status=0; \
	for check in "VENV=$(VENV) .ci/langchain-newest" .ci/oldest .ci/release-check \
	    "$(BIN)/python -m pytest -q tests/server/test_page_in_browser.py tests/test_notebooks.py" \
	    "make docs VENV=$(VENV)" "make attack VENV=$(VENV)" "make test-vllm"; do \
	  echo "== $$check"; env $$check || status=1; \
	done; exit $$status

# Which lines the tests run, of every package that is shipped; programs that they start count, too.
# The core and what stands around it have a floor each, so that neither hides the other.
coverage: $(VENV)/.installed-test
	$(BIN)/python -m coverage erase
	OMP_NUM_THREADS=1 $(BIN)/python -m coverage run -m pytest -q $(ARGS)
	$(BIN)/python -m coverage combine --quiet
	@status=0; for part in energy_guard integrations; do \
	  $(BIN)/python -m coverage report --include="$$part/*" || status=1; \
	done; exit $$status

# Everything that a release has to be: see the file. It leaves the packages in dist/.
release-check:
	@.ci/release-check

$(VENV)/.installed-%: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV).$(if $(filter docs,$*),, The first time llama.cpp is built: about five minutes.)"
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$*]'
	@# Its bounds on transformers are older than what is tested here; it works all the same.
	@if [ $* = test ]; then $(BIN)/python -m pip install --quiet --no-deps langchain-huggingface==1.2.3; fi
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-docs $(VLLM_VENV) dist site
