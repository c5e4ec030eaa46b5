"""What holds for all tests."""

from __future__ import annotations

import signal

# A shell that starts a test run in the background has it ignore these, and every command the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
