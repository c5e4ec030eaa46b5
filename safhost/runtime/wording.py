"""What the core says of cards by their keys, said by the names people use."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from safhost.errors import SafError
from safhost.runtime.identity import Names


class Wording:
    """Rewrites results, progress and errors of the core."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def result(self, result: dict[str, Any]) -> dict[str, Any]:
        """A copy with names in ``cards``, ``failed``, ``done`` and ``card``, and in the texts below them."""
        name = self._names.name
        out = dict(result)
        if isinstance(out.get("cards"), dict):
            out["cards"] = {name(k): self._card(k, v) for k, v in out["cards"].items()}
        if isinstance(out.get("failed"), dict):
            out["failed"] = {name(k): self._text(str(v), (k,)) for k, v in out["failed"].items()}
        if isinstance(out.get("done"), list):
            out["done"] = [name(k) for k in out["done"]]
        if isinstance(out.get("card"), str) and out["card"]:
            out["card"] = name(out["card"])
        return out

    def text(self, text: str) -> str:
        """A text with names for the keys of cards in it."""
        return self._text(text, list(self._names.by_key))

    def error(self, error: SafError) -> dict[str, Any]:
        """The JSON form of an error."""
        return self._said(error.to_dict(), list(self._names.by_key))

    def _card(self, key: str, info: Any) -> Any:
        if not isinstance(info, dict) or not info.get("error"):
            return info
        error = info["error"]
        return info | {"error": self._said(error, [key]) if isinstance(error, dict) else self._text(str(error), (key,))}

    def _said(self, data: dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
        out = self.result(data)
        for field in ("message", "hint"):
            out[field] = self._text(str(out.get(field, "")), keys)
        return out

    def _text(self, text: str, keys: Iterable[str]) -> str:
        for key in keys:
            name = self._names.by_key.get(key, key)
            if name != key and key in text:
                # where a card is meant: "card KEY…" and "…; KEY: …"; a serial may be a word that stands elsewhere
                pattern = rf"(?:(?<=card )|(?<=; )){re.escape(key)}(?![\w@/]|[.:-]\w)"
                text = re.sub(pattern, name.replace("\\", r"\\"), text)
        return text
