# SPDX-License-Identifier: GPL-2.0
#
# What a person types. Every target is one call of a script that does the work; the module
# itself is described in Kbuild, which the kernel's build system reads instead of this file.
# Nothing is built beside the sources: each kernel has its own directory under build/.

.DEFAULT_GOAL := module
.DELETE_ON_ERROR:

# KVER is a release (6.12.117+deb12-amd64) or a series (6.12); KDIR a kernel's build tree.
KVER ?=
KDIR ?=
# Which kernels the tests run on, and which selftests (all when empty).
KERNELS ?= 6.1 6.12
TESTS ?=
export KERNELS TESTS

.PHONY: module
module: ## Build vmlab.ko for the running kernel, or for KVER=RELEASE|SERIES or KDIR=TREE
	+@tools/build $(if $(KDIR),--kdir '$(KDIR)') $(if $(KVER),--kver '$(KVER)')

.PHONY: selftests
selftests: ## Build the selftest programs into build/selftests
	+@$(MAKE) --no-print-directory -C selftests

.PHONY: tools
tools: ## Build the command `vmlab` and its preload library into build/tools
	+@$(MAKE) --no-print-directory -s -C tools/preload
	+@$(MAKE) --no-print-directory -s -C tools/vmlab

.PHONY: check
check: ## Run every test: builds, unit tests, static checks, selftests in guests
	@tools/check/run all

.PHONY: check-unit
check-unit: ## Run the user-space unit tests under ASan and UBSan
	@tools/check/run unit

.PHONY: check-static
check-static: ## Run the static checks: W=1 -Werror, sparse, checkpatch, shellcheck, house rules
	@tools/check/run static

.PHONY: check-selftests
check-selftests: ## Run the selftests in guests; KERNELS="6.1 6.12", TESTS="fault swap"
	@tools/check/run selftests

.PHONY: check-dkms
check-dkms: ## Run dkms add, build, install and remove in a throw-away place
	@tools/check/run dkms

.PHONY: check-debug
check-debug: ## Run the selftests on a kernel with KASAN, lockdep, kmemleak and more (first build: 30 min)
	@tools/check/run debug

.PHONY: check-kcsan
check-kcsan: ## Run the selftests on a kernel that looks for data races
	@tools/check/run kcsan

.PHONY: check-all
check-all: ## Run check, check-debug, check-kcsan and, where it exists, check-mutants
	@tools/check/run everything

.PHONY: coverage
coverage: ## Show which lines of the module the selftests run, and which not: build/coverage/
	@tools/check/run coverage

.PHONY: demo
demo: ## Run memtester and redis on memory that pages to a disk, in a guest, and show what happened
	@tools/demo/run

.PHONY: demo-apps
demo-apps: ## Run redis, python3, sqlite3, gcc and xz, unmodified, in pools too small for them
	@tools/demo/apps

.PHONY: install modules_install
install modules_install: ## Install through DKMS, for the running kernel or KVER=RELEASE
	@tools/install $(if $(KVER),--kver '$(KVER)')

.PHONY: clean
clean: ## Remove everything that was built here (not the cache of kernels and sources)
	@rm -rf build vmlab.ko

.PHONY: help
help: ## Show this list
	@printf 'Targets:\n'
	@sed -nE 's/^([a-z_-]+)( [a-z_-]+)?:.*## (.*)/\1|\3/p' $(firstword $(MAKEFILE_LIST)) | \
		while IFS='|' read -r target text; do printf '  %-17s %s\n' "$$target" "$$text"; done
