# SPDX-License-Identifier: GPL-2.0
# The front door. All logic is in tools/lab; `python3 tools/lab --help` tells the rest.

CPU ?= amd
MODULES ?= ours
INTROSPECTION ?= 1
KERNEL ?= stock
SCENE ?= one-vm
LEGS ?= unit,amd,intel,amd-bochs
TIMEOUT ?= 0
CPUS ?= amd,intel
SECONDS ?= 600
SEED ?= $(shell date +%s)
CMD ?= true

LAB := python3 tools/lab

help:
	@echo 'make run                       boot a host, start a guest in it, introspect it; CPU=amd|intel'
	@echo '                               SCENE=two-vms: the tool runs in a second guest (AMD)'
	@echo 'make test                      run every test; LEGS=unit,amd,intel,amd-bochs, ONLY=name,'
	@echo '                               KERNEL=debug narrow or change it'
	@echo 'make modules                   build/modules/{kvm,kvm-amd,kvm-intel}.ko for the stock kernel'
	@echo 'make tool                      build/kvmi, the command-line tool'
	@echo 'make qemu                      build/qemu/qemu-system-x86_64, which hands guests to tools'
	@echo 'make selftests                 build/selftests/*'
	@echo 'make unused-cost               what the hook sites cost while nothing is hooked'
	@echo 'make bench                     what introspection costs, in instructions: the tables of kvmi-costs.rst;'
	@echo '                               CPUS=amd,intel'
	@echo 'make soak                      ten minutes of random restrictions, slots, logging and dying tools;'
	@echo '                               CPU=, KERNEL=debug, SECONDS=600, SEED=number'
	@echo "make host CPU=amd CMD='...'    boot a host, run a command as root in it, exit with its status"
	@echo '                               CPU=amd|intel|amd-bochs  MODULES=ours|stock  INTROSPECTION=1|0'
	@echo '                               KERNEL=stock|debug  TIMEOUT=seconds; this checkout is /kvmi in the host'
	@echo 'make shell                     boot an AMD host and give a prompt'
	@echo 'make apply KDIR=/path/to/linux put our files and patches onto a kernel tree'
	@echo 'make clean                     remove build/ (what is shared stays in ~/.cache/kvmi, or KVMI_CACHE)'

python:
	@command -v python3 >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get -qq update && apt-get -qqy install python3; } || \
		{ echo 'python3 is missing: install it'; exit 1; }

modules selftests tool qemu unused-cost: python
	@$(LAB) $@

run: python
	@$(LAB) run --cpu '$(CPU)' --scene '$(SCENE)'

test: python
	@$(LAB) test --legs '$(LEGS)' --kernel '$(KERNEL)' --only '$(ONLY)'

bench: python
	@$(LAB) bench --cpus '$(CPUS)'

soak: python
	@$(LAB) soak --cpu '$(CPU)' --kernel '$(KERNEL)' --seconds '$(SECONDS)' --seed '$(SEED)'

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

.PHONY: help python run modules selftests tool qemu unused-cost test bench soak host shell apply clean
.DEFAULT_GOAL := help
