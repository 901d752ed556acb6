# SPDX-License-Identifier: GPL-2.0
"""The lab's commands and their options."""

import argparse
import sys

import machine
from failure import Failure
from progress import say


def _modules(_options):
    import modules
    modules.build()
    modules.stock()
    return 0


def _host(options):
    import front
    return front.host(options)


def _shell(options):
    import front
    return front.shell(options)


def _run(options):
    import front
    return front.run(options)


def _test(options):
    import front
    return front.test(options)


def _apply(options):
    import apply
    return apply.main(options.tree)


def _selftests(_options):
    import selftests
    _names, failure = selftests.build()
    if failure:
        raise failure
    return 0


def _tool(_options):
    import tool
    tool.build()
    return 0


def _qemu(_options):
    import qemu_build
    qemu_build.build()
    return 0


def _unused_cost(_options):
    import unused_cost
    return unused_cost.main()


def _bench(options):
    import bench
    return bench.main(options.cpus)


def _soak(options):
    import soak
    return soak.main(options)


def _arguments():
    parser = argparse.ArgumentParser(prog="lab", description=__doc__)
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")

    def add(name, function, text):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(function=function)
        return command

    def kernel_option(command):
        command.add_argument("--kernel", choices=["stock", "debug"], default="stock", help="which kernel boots")

    add("modules", _modules, "build the three KVM modules into build/modules")
    add("selftests", _selftests, "build the selftests into build/selftests")
    add("tool", _tool, "build the command-line tool as build/kvmi")
    add("qemu", _qemu, "build QEMU with introspection as build/qemu/qemu-system-x86_64")
    add("unused-cost", _unused_cost, "check what the hook sites cost while nothing is hooked")
    command = add("bench", _bench, "count what introspection costs, in instructions, exits and flushes")
    command.add_argument("--cpus", default="amd,intel", help="which hosts: amd, intel")
    command = add("soak", _soak, "restrict and release a guest's pages at random, for a while")
    command.add_argument("--cpu", choices=["amd", "intel", "amd-bochs"], default="amd")
    command.add_argument("--seconds", type=int, default=600, help="how long, by the host's clock")
    command.add_argument("--seed", type=int, default=1, help="of the random operations")
    kernel_option(command)
    command = add("host", _host, "boot a host, run a command in it, return its status")
    command.add_argument("--cpu", choices=["amd", "intel", "amd-bochs"], default="amd")
    command.add_argument("--modules", choices=["ours", "stock"], default="ours")
    command.add_argument("--introspection", type=int, choices=[0, 1], default=1, help="kvm.introspection")
    command.add_argument("--timeout", type=int, default=0, help="seconds until the host is stopped")
    command.add_argument("--counting", action="store_true", help="a time-stamp counter that counts instructions")
    command.add_argument("--no-build", action="store_true", help="use what is in build/ as it is")
    kernel_option(command)
    command.add_argument("command", help="what to run, by sh -c, as root in /")
    command = add("shell", _shell, "boot an AMD host and give a prompt in it")
    command.add_argument("--introspection", type=int, choices=[0, 1], default=1)
    kernel_option(command)
    command = add("run", _run, "boot a host, start a guest in it, introspect it")
    command.add_argument("--cpu", choices=["amd", "intel"], default="amd")
    command.add_argument("--scene", choices=["one-vm", "two-vms"], default="one-vm",
                         help="where the tool runs: in the host, or in a second guest")
    command = add("test", _test, "run every test")
    command.add_argument("--legs", default="unit,amd,intel,amd-bochs", help="which parts: unit, amd, intel, amd-bochs")
    command.add_argument("--only", default="", help="only the selftests whose name holds this")
    kernel_option(command)
    command = add("apply", _apply, "put our files and patches onto a kernel tree")
    command.add_argument("tree")
    return parser


def main(words):
    """Run one command; the result is the exit status."""
    options = _arguments().parse_args(words)
    try:
        if options.name != "apply":
            machine.check_rights()
        return options.function(options)
    except Failure as failure:
        sys.stdout.flush()
        say(f"!! {failure}")
        return failure.status
    except KeyboardInterrupt:
        say("!! interrupted")
        return 130
