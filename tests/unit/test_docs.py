"""The documentation says only what exists: files, anchors, commands and their options."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import click
import pytest

from safhost.cli import cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")),
         *sorted((ROOT / "kernels").rglob("*.md"))]
IDS = [str(page.relative_to(ROOT)) for page in PAGES]


@cache
def _anchors(page: Path) -> set[str]:
    text = page.read_text()
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)"', text))


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor and file.suffix == ".md":
            assert anchor in _anchors(file), f"{page.name}: {target}"


def _commands(page: Path) -> set[str]:
    """Calls of safhost in code blocks and code spans, up to a comment, a pipe or the end."""
    text = page.read_text()
    spans = re.findall(r"(?<!`)`(safhost [^`\n]+)`", text)
    lines = [m.strip() for m in re.findall(r"^ {4}(?:sudo )?(safhost .+)$", text.replace("\\\n", " "), re.MULTILINE)]
    return {re.split(r"\s+#|\s*[|&;…]", call)[0] for call in [*spans, *lines]}


def _check_call(call: str) -> None:
    """Every word up to the arguments is a command, every option one that it has."""
    command: click.Command = cli
    options = {name: option for option in cli.params for name in (*option.opts, *option.secondary_opts)}
    words = iter(call.split()[1:])
    for word in words:
        if word == "--":
            break
        if word.startswith("-") and len(word) > 1 and not word[1].isdigit():  # -1@70% is an argument
            name, _, value = word.partition("=")
            if name == "--help":
                continue
            assert name in options, f"{call}: {command.name} has no {name}"
            option = options[name]
            if not value and isinstance(option, click.Option) and not option.is_flag and not option.count:
                next(words, None)
        elif isinstance(command, click.Group):
            found = command.get_command(click.Context(command), word)
            assert found is not None or command.name == "cards", f"{call}: {command.name} has no {word}"
            if found is not None:
                command = found
                options |= {name: option for option in command.params
                            for name in (*option.opts, *option.secondary_opts)}


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_and_options_exist(page: Path) -> None:
    for call in _commands(page):
        _check_call(call)


def test_check_call_refuses_what_does_not_exist() -> None:
    _check_call("safhost --cluster lab program --no-commit x.saf")
    for call in ("safhost programm x.saf", "safhost lab upp", "safhost program --brodcast x.saf"):
        with pytest.raises(AssertionError):
            _check_call(call)


def test_pages_name_no_path_of_a_machine() -> None:
    for page in PAGES:
        assert not re.search(r"(?<![\w.])/(work|root|home/\w)", page.read_text()), page.name
