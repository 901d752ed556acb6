# SPDX-License-Identifier: GPL-2.0
# The front door. All logic is in tools/lab; `python3 tools/lab --help` tells the rest.

CPU ?= amd
MODULES ?= ours
INTROSPECTION ?= 1
KERNEL ?= stock
LEGS ?= unit,amd,intel
TIMEOUT ?= 0
CMD ?= true

LAB := python3 tools/lab

help:
	@echo 'make run                       boot a host, start a guest in it, introspect it'
	@echo 'make test                      run every test; LEGS=unit,amd,intel, ONLY=name, KERNEL=debug narrow or change it'
	@echo 'make modules                   build/modules/{kvm,kvm-amd,kvm-intel}.ko for the stock kernel'
	@echo 'make tool                      build/kvmi, the command-line tool'
	@echo 'make selftests                 build/selftests/*'
	@echo 'make unused-cost               what the hook sites cost while nothing is hooked'
	@echo "make host CPU=amd CMD='...'    boot a host, run a command as root in it, exit with its status"
	@echo '                               CPU=amd|intel|amd-bochs  MODULES=ours|stock  INTROSPECTION=1|0'
	@echo '                               KERNEL=stock|debug  TIMEOUT=seconds; this checkout is /kvmi in the host'
	@echo 'make shell                     boot an AMD host and give a prompt'
	@echo 'make apply KDIR=/path/to/linux put our files and patches onto a kernel tree'
	@echo 'make clean                     remove build/ (what is shared stays in ~/.cache/kvmi, or KVMI_CACHE)'

python:
	@command -v python3 >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get -qq update && apt-get -qqy install python3; } || \
		{ echo 'python3 is missing: install it'; exit 1; }

run modules selftests tool unused-cost: python
	@$(LAB) $@

test: python
	@$(LAB) test --legs '$(LEGS)' --kernel '$(KERNEL)' --only '$(ONLY)'

host: python
	@$(LAB) host --cpu '$(CPU)' --modules '$(MODULES)' --introspection '$(INTROSPECTION)' --kernel '$(KERNEL)' \
		--timeout '$(TIMEOUT)' "$$CMD"
host: export override CMD := $(value CMD)

shell: python
	@$(LAB) shell --introspection '$(INTROSPECTION)' --kernel '$(KERNEL)'

apply: python
	@$(LAB) apply '$(KDIR)'

clean:
	rm -rf build

.PHONY: help python run modules selftests tool unused-cost test host shell apply clean
.DEFAULT_GOAL := help
