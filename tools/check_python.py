"""Refuse an interpreter that is too old, or cannot make virtual environments, with one line that says what to do."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - this file exists to be run by an older one
    sys.exit(f"error: Python 3.11 or newer is needed, this is {sys.version.split()[0]} — make PYTHON=python3.11 …")
try:
    import ensurepip
    import venv
except ImportError as err:
    sys.exit(f"error: this Python lacks {err.name} — apt-get install python3-venv")
if not (ensurepip.__file__ and venv.__file__):
    sys.exit("error: this Python cannot make virtual environments — apt-get install python3-venv")
