"""The normative frames of protocols/vectors: ``python -m tools.vectors [--check]`` writes or compares them.

Everything is worked out from fixed names, so that every run gives the same bytes.
"""
