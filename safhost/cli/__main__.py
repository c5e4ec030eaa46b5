"""``python -m safhost.cli``: the ``safhost`` command where its script is not installed."""

from safhost.cli import main

main()
