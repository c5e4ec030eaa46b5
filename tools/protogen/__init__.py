"""protogen: one protocol definition in, one emitter per output.

``python -m tools.protogen`` rewrites every generated file; ``--check`` only compares, and names the stale
ones.
"""
