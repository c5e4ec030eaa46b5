"""What holds for all tests."""

from __future__ import annotations

import os
import signal

from safhost import paths

# A shell that starts tests in the background has them ignore these, and every command they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Tests have folders of their own; what the first of them compiles serves all.
os.environ.setdefault(paths.CACHE_VARIABLE, str(paths.cache_dir()))
# Cards simulated from RTL are compiled once, not twice: tests run few cycles.
os.environ.setdefault("SAFHOST_RTL_QUICK", "1")
