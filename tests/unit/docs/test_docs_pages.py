"""What README and docs/ show is true to the program: links, command lines, Python, YAML."""

from __future__ import annotations

import ast
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import safhost
from safhost.cli import cli
from safhost.cli.context import SafCommand, Settings
from safhost.client import Card, Cluster, Kernel
from safhost.config import parse_config
from safhost.plan.kernelspec import KernelPackage

TOP = Path(__file__).resolve().parents[3]
PAGES = sorted(
    [TOP / "README.md", TOP / "CHANGELOG.md", *(TOP / "docs").glob("*.md"), *(TOP / "kernels").glob("**/*.md")]
)
NAMES = [str(page.relative_to(TOP)) for page in PAGES]
ALL_PAGES = pytest.mark.parametrize("page", PAGES, ids=NAMES)

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_LINK = re.compile(r"(?<!\!)\[[^\]\n]+\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_PREFIX = re.compile(r"(?:\$ |sudo |\w+=\S+ )*safhost(?= |$)")
_SEPARATORS = {"&", "|", ";", "&&", "||", ">", ">>", "<"}


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """(language, text) of fenced blocks, and of indented ones with language ``indented``."""
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        yield found[1], found[2]
    block: list[str] = []
    before = ""
    for line in [*_FENCE.sub("", text).splitlines(), "end"]:
        if line.startswith("    ") and (block or not before.strip()):
            block.append(line)
        elif block and not line.strip():
            block.append("")
        elif block:
            yield "indented", textwrap.dedent("\n".join(block))
            block = []
        before = line


def words(line: str) -> list[str]:
    """A shell line as words up to the first pipe or redirection, without comment and ellipsis."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found = []
    for word in lexer:
        if word in _SEPARATORS:
            break
        found.append(word)
    return [word for word in found if word != "…"]


def command_lines(page: Path) -> Iterator[list[str]]:
    """Arguments of every line of a block that calls safhost. Lines of output do not begin so."""
    for language, text in blocks(page):
        if language not in ("", "sh", "console", "indented"):
            continue
        for line in text.replace("\\\n", " ").splitlines():
            begin = _PREFIX.match(line.strip())
            if begin:
                yield words(line.strip()[begin.end():])


def anchors(page: Path) -> set[str]:
    """Anchors of a page: its headings as GitHub names them, and explicit ids."""
    text = page.read_text(encoding="utf-8")
    found = set(re.findall(r'<a id="([^"]+)">', text))
    for heading in re.findall(r"^#+ (.+)$", _FENCE.sub("", text), re.M):
        found.add(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-"))
    return found


@ALL_PAGES
def test_relative_links_resolve(page: Path) -> None:
    broken = []
    for target in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


@pytest.fixture
def parse_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands are parsed down to the last option, and nothing is run."""
    monkeypatch.setattr(click.Command, "invoke", lambda self, ctx: None)
    monkeypatch.setattr(SafCommand, "invoke", lambda self, ctx: None)
    monkeypatch.setattr(Settings, "start_logging", lambda self: None)


@ALL_PAGES
@pytest.mark.usefixtures("parse_only")
def test_command_lines_parse(page: Path) -> None:
    wrong = []
    for args in command_lines(page):
        try:
            cli.main(args, prog_name="safhost", standalone_mode=False, obj=Settings())
        except click.ClickException as err:
            wrong.append(f"safhost {' '.join(args)}: {err.format_message()}")
    assert not wrong


def mentioned(args: list[str]) -> str:
    """What is wrong with a command that the text mentions, perhaps without its arguments; empty if nothing."""
    command: click.Command = cli
    options = {option for param in cli.params for option in (*param.opts, *param.secondary_opts)}
    context = click.Context(cli)
    for word in args:
        if isinstance(command, click.Group) and not word.startswith("-") and word.islower():
            found = command.get_command(context, word)
            if found is None:
                return "" if command.invoke_without_command else f"no command {word}"
            command = found
            options |= {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
        elif word.startswith("--") and word not in ("--help", "--") and word.partition("=")[0] not in options:
            return f"no option {word}"
    return ""


@ALL_PAGES
def test_commands_in_the_text_exist(page: Path) -> None:
    wrong = []
    for code in _CODE.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        begin = _PREFIX.match(code)
        if begin and (why := mentioned([w for w in words(code[begin.end():]) if not w.startswith("NAME")])):
            wrong.append(f"{code}: {why}")
    assert not wrong


@ALL_PAGES
def test_python_compiles_and_names_what_exists(page: Path) -> None:
    kinds = {"safhost": safhost, "cluster": Cluster, "card": Card, "kernel": Kernel}
    for language, text in blocks(page):
        if language != "python":
            continue
        tree = ast.parse(text, str(page))
        compile(tree, str(page), "exec")
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in kinds:
                assert hasattr(kinds[node.value.id], node.attr), ast.unparse(node)


def test_readme_has_a_python_example() -> None:
    assert any(language == "python" and "safhost.connect" in text for language, text in blocks(TOP / "README.md"))


@ALL_PAGES
def test_configurations_are_valid(page: Path) -> None:
    for language, text in blocks(page):
        if language in ("indented", "yaml") and text.startswith(("clusters:", "default_cluster:")):
            assert parse_config(text, str(TOP / "config.yaml")).clusters


def test_the_kernel_of_the_tutorial_loads(tmp_path: Path) -> None:
    found = dict(blocks(TOP / "docs" / "own-kernel.md"))
    (tmp_path / "axpy.cl").write_text(found["c"])
    (tmp_path / "kernel.yaml").write_text(found["yaml"])
    package = KernelPackage.load(tmp_path)
    assert list(package.kernels) == ["axpy"]
    (spec,) = package.kernels.values()
    signature = re.search(r"void axpy\((.*?)\)", found["c"], re.S)
    assert signature is not None
    assert [part.split()[-1].lstrip("*") for part in signature[1].split(",")] == [arg.name for arg in spec.args]


def test_what_the_tests_look_at_is_there() -> None:
    lines = [args for page in PAGES for args in command_lines(page)]
    assert len(lines) > 40
    assert {"README.md", "docs/architecture.md", "docs/protocol-reference.md"} <= set(NAMES)
