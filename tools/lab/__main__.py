# SPDX-License-Identifier: GPL-2.0
"""The lab: fetches, builds, boots and runs. `make help` shows the same commands with their variables."""

import sys

sys.dont_write_bytecode = True

import commands  # noqa: E402  (after the switch above, so that it covers every module)

if __name__ == "__main__":
    sys.exit(commands.main(sys.argv[1:]))
