# SPDX-License-Identifier: GPL-2.0
"""The one exception of the lab."""


class Failure(Exception):
    """Something that the user should read as one message, without a traceback."""

    def __init__(self, message, status=1):
        super().__init__(message)
        self.status = status
