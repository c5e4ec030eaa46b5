"""Planted bugs: one function of the running program replaced by a copy with one edit.

A check that cannot fail proves nothing. The simulation and the conformance suite are tried against programs that are
wrong in one place; this makes such a program, in this process and for as long as a ``with`` block lasts. A planting
that no longer fits the source is an error and never silently no bug at all.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from safhost.errors import SafError


class PlantingError(SafError):
    """A planted bug does not fit the source any more."""


@dataclass(frozen=True, slots=True)
class Planting:
    """``name``: what it is called. ``module`` and ``function`` (``Class.method`` or a plain function) say where;
    ``old`` must occur there exactly once and becomes ``new``. ``breaks`` says what goes wrong, for people."""

    name: str
    module: str
    function: str
    old: str
    new: str
    breaks: str


@contextlib.contextmanager
def planted(*plantings: Planting) -> Iterator[None]:
    """Run the block with these bugs in place, all of them gone afterwards.

    Plant first, build objects inside the block: some of them keep bound methods. Raises PlantingError.
    """
    with contextlib.ExitStack() as undo:
        for planting in plantings:
            owner, name, was, broken = _make(planting)
            for holder in (owner, *_importers(owner, name, was)):
                setattr(holder, name, broken)
                undo.callback(setattr, holder, name, was)
        yield


def _importers(owner: Any, name: str, was: Any) -> list[Any]:
    """Modules of ours that took a function into their own names (``from module import function``)."""
    return [module for module_name, module in list(sys.modules.items())
            if module_name.startswith("safhost.") and module is not owner and vars(module).get(name) is was]


def _make(planting: Planting) -> tuple[Any, str, Any, Any]:
    """(what holds the function, its name there, as it was, with the bug)."""
    module = importlib.import_module(planting.module)
    owner: Any = module
    *path, name = planting.function.split(".")
    try:
        for part in path:
            owner = getattr(owner, part)
        was = vars(owner)[name]
    except (AttributeError, KeyError):
        raise PlantingError(f"planted bug {planting.name}: no {planting.function} in {planting.module}",
                            "the program changed; plant it where the code is now") from None
    function: Any = was.__func__ if isinstance(was, staticmethod | classmethod) else was
    function = function.fget if isinstance(function, property) else function
    if not isinstance(function, FunctionType) or function.__code__.co_freevars:
        raise PlantingError(f"planted bug {planting.name}: {planting.function} is not a plain function",
                            "plant it in a function or method without variables of an enclosing function")
    source = textwrap.dedent(inspect.getsource(function))
    if source.count(planting.old) != 1:
        raise PlantingError(f"planted bug {planting.name}: {planting.old!r} occurs {source.count(planting.old)} times "
                            f"in {planting.function}", "the program changed; say anew what to replace")
    edited = source.replace(planting.old, planting.new)
    made: dict[str, Any] = {}
    exec(compile(edited, f"<planted {planting.name}>", "exec"), vars(module), made)
    broken = made[name]
    if isinstance(was, FunctionType):
        broken.__defaults__, broken.__kwdefaults__ = was.__defaults__, was.__kwdefaults__
    return owner, name, was, broken
