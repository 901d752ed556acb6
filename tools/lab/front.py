# SPDX-License-Identifier: GPL-2.0
"""The commands that boot something."""

import host as hosts
import kernel_log
import machine
import modules
import qemu_host
from progress import say


def boot(order, kernel="stock"):
    """Boot the host that the order's processor calls for."""
    if kernel == "debug":
        import debug_kernel
        return debug_kernel.run(order)
    if order.cpu == "amd" or order.cpu == "intel" and machine.nested_hardware("vmx") and not order.counting:
        return qemu_host.run(order)
    import bochs_host
    return bochs_host.run(order)


def prepare(options):
    """Build what a host needs before it boots."""
    if options.kernel == "debug":
        import debug_kernel
        debug_kernel.build_modules()
    elif not getattr(options, "no_build", False):
        modules.build()
    modules.stock()


def verdict(outcome):
    """The exit status of a run: the command's own, unless the kernel complained."""
    if outcome.complaints:
        say(f"!! the kernel complained ({outcome.kernel_log}):\n"
            + kernel_log.excerpt(outcome.kernel_log.read_text(errors="replace")))
        return outcome.status or 99
    return outcome.status


def host(options):
    """Run one command in a host."""
    prepare(options)
    order = hosts.Order(command=options.command, cpu=options.cpu, modules=options.modules,
                        introspection=bool(options.introspection), timeout=options.timeout, counting=options.counting)
    return verdict(boot(order, options.kernel))


def shell(options):
    """Give a prompt in an AMD host."""
    prepare(options)
    say(".. booting; /kvmi is this checkout, read-only; leave with `exit`")
    import terminal
    with terminal.raw():
        outcome = boot(hosts.Order(interactive=True, name="shell", introspection=bool(options.introspection)),
                       options.kernel)
    return verdict(outcome)


def run(options):
    """A scene: a host, one guest or two, the tool."""
    import scene
    return scene.main(options.cpu, options.scene)


def test(options):
    """Every test."""
    import testing
    return testing.main(options)
