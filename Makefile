# Darkroom. `make demo` shows it at work, `make test` proves it, `make help` lists the targets.
#
# Every variant (compiler, sanitizer) has its own folder under build/, so they do not disturb each
# other:  make CC=clang   make SAN=address,undefined   make SAN=thread   make FAULTS=1

.DEFAULT_GOAL := all
SHELL := /bin/bash
CC := gcc
SAN ?=
FAULTS ?=
VERSION := 0.1.0
PREFIX ?= /usr/local
SYSCONFDIR ?= $(if $(filter /usr,$(PREFIX)),/etc,$(PREFIX)/etc)
UNITDIR ?= $(PREFIX)/lib/systemd/system
DESTDIR ?=

comma := ,
VARIANT := $(notdir $(CC))$(if $(SAN),-$(subst $(comma),-,$(SAN)))$(if $(FAULTS),-faults)
OUT := build/$(VARIANT)
# The plain build puts the three programs in the root, every other one in its own folder.
BIN := $(if $(filter gcc,$(VARIANT)),.,$(OUT))

# ---- packages ----

# Flags of the libraries; made (and missing packages installed) once, then make starts anew with it.
ifneq ($(filter-out clean deps deps-test help format,$(or $(MAKECMDGOALS),all)),)
-include build/flags.mk
endif
build/flags.mk: tools/deps.sh tools/flags.sh
	@mkdir -p build
	@tools/deps.sh build
	@tools/flags.sh > $@.tmp && mv $@.tmp $@

deps: ## Install the Debian packages the build needs
	@tools/deps.sh build
deps-test: ## Install the Debian packages the tests need as well
	@tools/deps.sh test
	@tools/deps.sh promtool build/tools

# ---- flags ----

WARN := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Wvla -Wformat=2 -Werror
OPT := -O2 -g -fno-omit-frame-pointer
HARDEN := -fstack-protector-strong -fPIE -D_FORTIFY_SOURCE=2
ifneq ($(SAN),)
OPT := -O1 -g -fno-omit-frame-pointer -fsanitize=$(SAN) -fno-sanitize-recover=all
HARDEN := -fPIE
LDSAN := -fsanitize=$(SAN)
endif
CPPFLAGS := -D_GNU_SOURCE -DDARKROOM_VERSION='"$(VERSION)"' -I. $(if $(FAULTS),-DFSIO_FAULTS)
CFLAGS := -std=gnu11 $(OPT) $(HARDEN) $(WARN)
LDFLAGS := -pie -pthread -Wl,--as-needed -Wl,-z,relro,-z,now $(LDSAN)

# ---- what is built from what ----

SERVER_LIBS = $(LIB_MHD) $(LIB_GNUTLS) $(LIB_UV) $(LIB_SQLITE) $(LIB_JANSSON) $(LIB_CRYPTO) $(LIB_EXPAT) $(LIB_CURL) -lm
WORKER_LIBS = $(LIB_VIPS) $(LIB_SECCOMP) $(LIB_CRYPTO) -lm
CLI_LIBS    = $(LIB_S3) $(LIB_CURL) $(LIB_JANSSON) $(LIB_CRYPTO) $(LIB_EXPAT) -lm

# Modules that belong to one program and not to the folder's archive.
WORKER_SRC := functions/worker_main.c functions/image.c functions/image_encode.c functions/sandbox.c \
              functions/fn_thumbnail.c functions/fn_metadata.c functions/invoke.c \
              $(wildcard functions/image_*.c)
CLI_SRC := $(wildcard pipeline/cli_*.c) $(wildcard objectstore/remote*.c)
FRONT_SRC := base/http_mhd_front.c
SERVER_SRC := pipeline/darkroomd_main.c $(FRONT_SRC)

WORKER_SRC := $(wildcard $(sort $(WORKER_SRC)))
lib_src = $(filter-out $(WORKER_SRC) $(CLI_SRC) $(SERVER_SRC),$(wildcard $(1)/*.c))
obj = $(patsubst %.c,$(OUT)/%.o,$(1))

LIBS := $(foreach d,pipeline metadata objectstore functions base,$(OUT)/lib$(d).a)

PROGRAMS := $(BIN)/darkroomd $(BIN)/darkroom-worker $(BIN)/darkroom
all: $(PROGRAMS) ## Build darkroomd, darkroom-worker and darkroom

define archive
$(OUT)/lib$(1).a: $(call obj,$(call lib_src,$(1)))
	@rm -f $$@
	@$(AR) rcs $$@ $$^
endef
$(foreach d,base objectstore metadata functions pipeline,$(eval $(call archive,$(d))))

$(OUT)/%.o: %.c build/flags.mk Makefile
	@mkdir -p $(@D)
	@echo "  CC   $(VARIANT) $<"
	@$(CC) $(CPPFLAGS) $(INC_$(firstword $(subst /, ,$<))) $(CFLAGS) -MMD -MP -c $< -o $@

$(BIN)/darkroomd: $(call obj,$(SERVER_SRC)) $(LIBS)
	@echo "  LINK $@"
	@$(CC) $(LDFLAGS) -o $@ $^ $(SERVER_LIBS)
ifneq ($(filter thread,$(SAN)),)
# The worker has no threads but libvips', whose locks the thread sanitizer does not know.
$(BIN)/darkroom-worker: FORCE
	@$(MAKE) --no-print-directory SAN= CC=gcc $(@F)
	@mkdir -p $(@D)
	@cp --remove-destination $(@F) $@
FORCE:
else
$(BIN)/darkroom-worker: $(call obj,$(WORKER_SRC)) $(OUT)/libfunctions.a $(OUT)/libbase.a
	@echo "  LINK $@"
	@$(CC) $(LDFLAGS) -o $@ $^ $(WORKER_LIBS)
endif
$(BIN)/darkroom: $(call obj,$(CLI_SRC)) $(LIBS)
	@echo "  LINK $@"
	@$(CC) $(LDFLAGS) -o $@ $^ $(CLI_LIBS)

# Planted bugs (base/plant.h) for the crash tests:  make build/gcc/plant-no_sync/darkroomd
# The server as it is, but for the files that know how to forget a sync, an error or a check.
PLANT_SRC := base/db.c base/db_sync.c base/fsio.c base/http_guard.c objectstore/object.c \
             objectstore/reader.c objectstore/blob.c objectstore/scrub.c pipeline/outbox.c \
             pipeline/queue.c pipeline/queue_count.c pipeline/result.c
$(OUT)/plant-%/darkroomd: $(PLANT_SRC) base/plant.h base/db_priv.h $(call obj,$(SERVER_SRC)) $(LIBS)
	@mkdir -p $(@D)
	@echo "  LINK $@"
	@$(CC) $(CPPFLAGS) -DPLANT_$(shell echo $* | tr a-z A-Z) $(INC_base) $(CFLAGS) $(LDFLAGS) \
	    -o $@ $(PLANT_SRC) $(call obj,$(SERVER_SRC)) $(LIBS) $(SERVER_LIBS)
# The worker too.
PLANT_WORKER_SRC := functions/image.c
PLANT_WORKER_OBJ = $(call obj,$(filter-out $(PLANT_WORKER_SRC),$(WORKER_SRC)))
$(OUT)/plant-%/darkroom-worker: $(PLANT_WORKER_SRC) base/plant.h $(call obj,$(WORKER_SRC)) \
		$(OUT)/libfunctions.a $(OUT)/libbase.a
	@mkdir -p $(@D)
	@echo "  LINK $@"
	@$(CC) $(CPPFLAGS) -DPLANT_$(shell echo $* | tr a-z A-Z) $(INC_functions) $(CFLAGS) $(LDFLAGS) \
	    -o $@ $(PLANT_WORKER_SRC) $(PLANT_WORKER_OBJ) $(OUT)/libfunctions.a $(OUT)/libbase.a \
	    $(WORKER_LIBS)
$(OUT)/plant-%/darkroom: $(BIN)/darkroom
	@cp --remove-destination $< $@
PLANTS := $(foreach p,no_sync no_fsync early_ack early_read ignore_sync_error ignore_link_error \
    ignore_write_error no_check no_fence unheld drop_event no_queue_limit no_header_deadline \
    no_connection_limit no_lanes,$(OUT)/plant-$(p)/darkroomd)

# ---- tests ----

UNIT_SRC := $(wildcard tests/base/test_*.c tests/objectstore/test_*.c tests/metadata/test_*.c \
              tests/functions/test_*.c tests/pipeline/test_*.c)
ifneq ($(filter thread,$(SAN)),)
UNIT_SRC := $(filter-out tests/functions/test_image%,$(UNIT_SRC)) # as for darkroom-worker
endif
UNIT_BIN := $(patsubst tests/%.c,$(OUT)/tests/%,$(UNIT_SRC))
TEST_HELP := $(call obj,$(filter-out tests/lib/badworker.c,$(wildcard tests/lib/*.c)) $(FRONT_SRC))
TEST_LIBS = $(SERVER_LIBS) $(LIB_CMOCKA)

$(OUT)/tests/%: $(OUT)/tests/%.o $(TEST_HELP) $(LIBS)
	@echo "  LINK $@"
	@$(CC) $(LDFLAGS) -o $@ $< $(TEST_HELP) $(LIBS) $(LIBS) $(TEST_LIBS)
# Tests of the worker's own modules bring libvips in, and codecs to make what libvips cannot write.
WORKER_OBJ := $(call obj,$(filter-out functions/worker_main.c,$(WORKER_SRC)))
$(OUT)/tests/functions/test_image%: $(OUT)/tests/functions/test_image%.o $(TEST_HELP) $(LIBS) \
		$(WORKER_OBJ)
	@echo "  LINK $@"
	@$(CC) $(LDFLAGS) -o $@ $< $(TEST_HELP) $(WORKER_OBJ) $(LIBS) $(WORKER_LIBS) $(TEST_LIBS) \
	    -ljpeg -lheif

$(OUT)/tests/pipeline/test_cli_%: $(OUT)/tests/pipeline/test_cli_%.o \
		$(OUT)/pipeline/cli_%.o $(OUT)/libbase.a
	@echo "  LINK $@"
	@$(CC) $(LDFLAGS) -o $@ $^ $(LIB_JANSSON) $(LIB_CRYPTO) $(LIB_CMOCKA) -lm

# A worker program that misbehaves on purpose, in the real worker's sandbox if it is asked to.
BADWORKER := $(OUT)/tests/lib/badworker
ifneq ($(filter thread,$(SAN)),)
$(BADWORKER): FORCE
	@$(MAKE) --no-print-directory SAN= CC=gcc build/gcc/tests/lib/badworker
	@mkdir -p $(@D)
	@cp --remove-destination build/gcc/tests/lib/badworker $@
else
$(BADWORKER): $(call obj,tests/lib/badworker.c functions/sandbox.c) $(OUT)/libfunctions.a \
		$(OUT)/libbase.a
	@echo "  LINK $@"
	@$(CC) $(LDFLAGS) -o $@ $^ $(LIB_SECCOMP) $(LIB_CRYPTO) -lm
endif

# Preloaded into the server by tests/crash/faults.py, never with the address sanitizer (see
# tests/run), and by tests/e2e/syncs.py.
FAULT_SHIM := build/gcc/tests/crash/fault_shim.so
$(FAULT_SHIM): tests/crash/fault_shim.c
	@mkdir -p $(@D)
	@echo "  LINK $@"
	@gcc -O2 -Wall -Wextra -Werror -shared -fPIC -o $@ $<

# An open loop of requests, for tests/load.
OPENLOAD := $(OUT)/tests/load/openload
$(OPENLOAD): $(call obj,tests/load/openload.c tests/lib/put_head.c) $(OUT)/libbase.a
	@echo "  LINK $@"
	@$(CC) $(LDFLAGS) -o $@ $^ $(LIB_CRYPTO)

unit-programs: $(UNIT_BIN) $(BADWORKER)

# Fuzz targets: everything instrumented by clang, see tests/fuzz/fuzz.h.
FUZZ_SAN := fuzzer-no-link,address,undefined
FUZZ_BIN := $(patsubst tests/%.c,$(OUT)/tests/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_SECONDS ?= 20
$(OUT)/tests/fuzz/%: $(OUT)/tests/fuzz/%.o $(call obj,tests/lib/fakereq.c $(FRONT_SRC)) $(LIBS)
	@echo "  LINK $@"
	@$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS) $(SERVER_LIBS)
fuzz-targets: $(FUZZ_BIN)
fuzz-programs:
	@! DARKROOM_TOP=. tests/fuzz/run.sh --probe || \
	    $(MAKE) --no-print-directory CC=clang SAN=$(FUZZ_SAN) fuzz-targets

fuzz: ## Fuzz every reader of foreign bytes; FUZZ_SECONDS=n each, FUZZ="auth xml" these only
	@tools/deps.sh test
	@$(MAKE) --no-print-directory fuzz-programs
	@DARKROOM_TOP=. FUZZ_SECONDS=$(FUZZ_SECONDS) tests/fuzz/run.sh $(FUZZ) | \
	    tee build/fuzz.log; ! grep -q '^not ok' build/fuzz.log

check-unit: ## Unit tests with sanitizers on; seconds
	@tools/deps.sh test
	@$(MAKE) --no-print-directory SAN=address,undefined all unit-programs
	@tests/run unit build/$(notdir $(CC))-address-undefined

check-threads: all $(PLANTS) $(OPENLOAD) $(BADWORKER) $(FAULT_SHIM) ## Unit programs and servers under the thread sanitizer; up to an hour
	@tools/deps.sh test
	@tools/deps.sh promtool build/tools
	@$(MAKE) --no-print-directory CC=gcc SAN=thread all unit-programs \
	    build/gcc-thread/plant-no_lock/darkroomd
	@tests/run threads build/gcc-thread

check-addresses: all $(PLANTS) $(OPENLOAD) $(BADWORKER) $(FAULT_SHIM) ## Every script under the address and undefined sanitizers; up to an hour
	@tools/deps.sh test
	@tools/deps.sh promtool build/tools
	@$(MAKE) --no-print-directory CC=gcc SAN=address,undefined all \
	    $(foreach p,short_copy narrow,$(addprefix build/gcc-address-undefined/plant-$(p)/,\
	    darkroomd darkroom-worker darkroom))
	@tests/run addresses build/gcc-address-undefined

check-structure: all ## Headers alone, include graph, forbidden links and calls
	@tests/run structure

check-e2e: all $(BADWORKER) $(FAULT_SHIM) ## The three programs with real clients
	@tools/deps.sh test
	@tools/deps.sh promtool build/tools
	@tests/run e2e

check-crash: all $(PLANTS) $(FAULT_SHIM) ## kill -9, power cut, faults; COUNT=n kills
	@tools/deps.sh test
	@tests/run crash

check-fault: all $(PLANTS) $(FAULT_SHIM) ## Failing system calls (FAULTS=400), full disk, flipped bits
	@tools/deps.sh test
	@export SEED=$(or $(SEED),random) FAULTS=$(or $(FAULTS),400) ROUNDS=20 LOG_CUTS=200 LIMIT_SCRIPT=7200; code=0; \
	    for t in faults fulldisk bitflips; do tests/run tests/crash/$$t.py || code=1; done; \
	    exit $$code

soak-kill9: all ## kill -9 for longer: COUNT=200 kills
	@SEED=$(or $(SEED),random) COUNT=$(or $(COUNT),200) LIMIT_SCRIPT=7200 tests/run tests/crash/kill9.py
soak-powercut: all $(PLANTS) ## Power cuts for longer: POWERCUT_EXT4=60 POWERCUT_XFS=40 cuts
	@SEED=$(or $(SEED),random) POWERCUT_EXT4=$(or $(POWERCUT_EXT4),60) POWERCUT_XFS=$(or $(POWERCUT_XFS),40) \
	    LIMIT_SCRIPT=7200 tests/run tests/crash/powercut.py

check-load: all $(PLANTS) $(OPENLOAD) ## Overload, slow clients, backlog: the short forms
	@tools/deps.sh test
	@tests/run load

# Figures for RELIABILITY.md on their last lines; the machine should have nothing else to do.
SOAK = d=$$(mktemp -d) && trap 'rm -rf "$$d"' EXIT && cd $$d && DARKROOM_TOP=$(CURDIR)
soak-overload: all $(PLANTS) $(OPENLOAD) ## Ten times what it can do: OVERLOAD_SECONDS=300; live uploads before a backlog
	@$(SOAK) OVERLOAD_SECONDS=$(or $(OVERLOAD_SECONDS),300) $(CURDIR)/tests/load/overload.py
	@$(SOAK) BACKLOG_EVENTS=$(or $(BACKLOG_EVENTS),100000) $(CURDIR)/tests/load/backlog.py
soak-slow: all $(PLANTS) $(OPENLOAD) ## Slow clients: SLOW_CONNECTIONS=10000
	@$(SOAK) SLOW_CONNECTIONS=$(or $(SLOW_CONNECTIONS),10000) $(CURDIR)/tests/load/slow.py

soak-model: all ## Schedules against a model, histories against a register: MODEL_STEPS=n LINEAR_OPS=n
	@SEED=$(or $(SEED),random) MODEL_STEPS=$(or $(MODEL_STEPS),20000) LIMIT_SCRIPT=14400 tests/run tests/crash/model.py
	@SEED=$(or $(SEED),random) LINEAR_OPS=$(or $(LINEAR_OPS),100000) LINEAR_KILLS=$(or $(LINEAR_KILLS),100) \
	    LIMIT_SCRIPT=7200 tests/run tests/crash/linear.py

soak-verify: all ## verify finds each planted fault among OBJECTS=10000, EACH=4 of every sort
	@OBJECTS=$(or $(OBJECTS),10000) EACH=$(or $(EACH),4) SECONDS_MAX=900 LIMIT_SCRIPT=7200 \
	    tests/run tests/e2e/verify.py

soak-mutations: all ## Damaged pictures, each with its verdict: MUTATIONS=10000 SEED=1
	@MUTATIONS=$(or $(MUTATIONS),10000) SEED=$(or $(SEED),1) LIMIT_SCRIPT=7200 \
	    tests/run tests/e2e/mutations.py

LARGE_BYTES ?= 5368709120
soak-large: all ## 5 GB up and down in flat memory: LARGE_BYTES=n, and as much free disk
	@d=$$(mktemp -d) && trap 'rm -rf "$$d"' EXIT && cd $$d && \
	    echo "$$(($(LARGE_BYTES) / 1000000)) MB go to $$d, and 1 GB has to stay free" && \
	    DARKROOM_TOP=$(CURDIR) MULTIPART_SOAK_BYTES=$(LARGE_BYTES) \
	    $(CURDIR)/tests/e2e/multipart.py bucket large_in_flat_memory

soak-pictures: all ## Verdict, time and memory of every file: PICTURES=dir[:dir...]
	@d=$$(mktemp -d) && trap 'rm -rf "$$d"' EXIT && cd $$d && \
	    DARKROOM_TOP=$(CURDIR) PICTURES="$(abspath $(subst :, ,$(PICTURES)))" \
	    $(CURDIR)/tests/bench/soak_pictures.py

test: ## Everything CI runs
	@tools/deps.sh test
	@tools/deps.sh promtool build/tools
	@$(MAKE) --no-print-directory all $(BADWORKER) $(PLANTS) $(FAULT_SHIM) $(OPENLOAD)
	@$(MAKE) --no-print-directory CC=clang all
	@$(MAKE) --no-print-directory SAN=address,undefined all unit-programs
	@$(MAKE) --no-print-directory fuzz-programs
	@tests/run all

# ---- the rest ----

demo: all ## PUT the sample pictures, show their thumbnails and rows
	@samples/demo.sh
samples-sheet: all ## The sample pictures beside their thumbnails, to look at: build/samples-sheet
	@tools/deps.sh test
	@samples/sheet.py
run: all ## Serve in the foreground
	@./darkroomd
bench: all ## Ratios against peers, measured in this run
	@tools/deps.sh bench
	@tests/bench/run.sh
BENCH_QUEUE := build/gcc/tests/bench/queue
bench-queue: ## An event's cost at 10k, 100k, 1M waiting, and a plan: EVENTS=n OBJECTS=n
	@tools/deps.sh test
	@$(MAKE) --no-print-directory CC=gcc SAN= $(BENCH_QUEUE)
	@$(BENCH_QUEUE) $(or $(EVENTS),1000000) $(or $(OBJECTS),1000000)
bench-images: all ## Thumbnails against libjpeg-turbo, sharp, libvips and ImageMagick: PHOTOS=DIR
	@tools/deps.sh bench
	@tests/bench/run.sh images

man: all ## man/darkroom.1 from the option tables of the CLI
	@./darkroom man-page > man/darkroom.1

LINT_SRC = $(wildcard base/*.c objectstore/*.c metadata/*.c functions/*.c pipeline/*.c)
lint: build/flags.mk ## clang-tidy and cppcheck; .clang-tidy and tools/lint/cppcheck.supp say what is left out
	@tools/deps.sh lint
	@$(MAKE) --no-print-directory -k $(patsubst %.c,build/lint/%.ok,$(LINT_SRC))
	@cppcheck --quiet --error-exitcode=1 --enable=warning,performance,portability --std=c11 \
	    --library=posix --library=tools/lint/jansson.cfg -D_GNU_SOURCE -I. \
	    --suppressions-list=tools/lint/cppcheck.supp \
	    -j $(shell nproc) base objectstore metadata functions pipeline
build/lint/%.ok: %.c .clang-tidy
	@mkdir -p $(@D)
	@echo "  TIDY $<"
	@$(CC) $(CPPFLAGS) $(INC_$(firstword $(subst /, ,$<))) -MM -MP -MT $@ -MF $(@:.ok=.d) $<
	@clang-tidy --quiet $< -- $(CPPFLAGS) $(INC_$(firstword $(subst /, ,$<))) $(CFLAGS) 2>/dev/null
	@touch $@

format: ## clang-format all sources
	@clang-format -i $$(git ls-files '*.c' '*.h' | grep -v _list.h)

install: all ## Into $(DESTDIR)$(PREFIX)
	install -D -m 755 darkroomd $(DESTDIR)$(PREFIX)/bin/darkroomd
	install -D -m 755 darkroom $(DESTDIR)$(PREFIX)/bin/darkroom
	install -D -m 755 darkroom-worker $(DESTDIR)$(PREFIX)/libexec/darkroom/darkroom-worker
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions \
	    $(DESTDIR)$(PREFIX)/share/zsh/site-functions
	./darkroom completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/darkroom
	./darkroom completion zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_darkroom
	for m in man/*.1 man/*.8; do install -D -m 644 $$m \
	    $(DESTDIR)$(PREFIX)/share/man/man$${m##*.}/$${m##*/}; done
	install -d $(DESTDIR)$(UNITDIR)
	for u in service socket; do sed -e 's|@bindir@|$(PREFIX)/bin|; s|@sysconfdir@|$(SYSCONFDIR)|' \
	    packaging/darkroomd.$$u > $(DESTDIR)$(UNITDIR)/darkroomd.$$u; \
	    chmod 644 $(DESTDIR)$(UNITDIR)/darkroomd.$$u; done
	install -d -m 755 $(DESTDIR)$(SYSCONFDIR)/darkroom
	@# settings that somebody has made stay
	[ -e $(DESTDIR)$(SYSCONFDIR)/darkroom/darkroom.json ] || \
	    install -m 640 packaging/darkroom.json $(DESTDIR)$(SYSCONFDIR)/darkroom/darkroom.json
	install -D -m 644 packaging/darkroom.logrotate $(DESTDIR)$(SYSCONFDIR)/logrotate.d/darkroom

deb: ## Build and check the Debian package, in a copy of the tree: build/deb
	@tools/deps.sh deb
	@tests/slow/deb.sh build/deb
deb-install: ## Install that package in a bare Debian 12, serve, upgrade, purge; root
	@[ -e build/deb/darkroom_*.deb ] || $(MAKE) --no-print-directory deb
	@tools/deps.sh deb
	@tests/slow/deb_install.sh build/deb/darkroom_*.deb $(or $(CHROOT),build/deb-chroot)

clean: ## Remove what was built
	rm -rf build darkroomd darkroom-worker darkroom

help: ## This list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1|/' | column -t -s'|'

.PHONY: all deps deps-test unit-programs fuzz-targets fuzz-programs fuzz check-unit \
        check-threads check-addresses check-structure check-e2e check-crash check-fault soak-kill9 soak-model soak-verify soak-mutations \
        check-load soak-powercut soak-overload soak-slow soak-large soak-pictures test demo \
        samples-sheet run bench bench-queue bench-images man lint format install \
        deb deb-install clean help FORCE
.SECONDARY:

-include $(shell find $(OUT) build/lint -name '*.d' 2>/dev/null)
