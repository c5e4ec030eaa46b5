"""What holds for all tests."""

from __future__ import annotations

import signal

# A shell that starts tests in the background has them ignore these, and every command they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
