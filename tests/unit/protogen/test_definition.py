"""A wrong definition is refused, with its spot."""

import copy
import json
import re

import pytest
import yaml

from tools.protogen import __main__ as program
from tools.protogen.model import SPEC_PATH, SpecError, load
from tools.protogen.source import line_of, read_yaml, spot

GOOD = yaml.safe_load(SPEC_PATH.read_text(encoding="utf-8"))


@pytest.fixture
def refused(tmp_path):
    """Change the definition and return what `load` says about it."""

    def check(change):
        raw = copy.deepcopy(GOOD)
        change(raw)
        path = tmp_path / "saf.yaml"
        path.write_text(json.dumps(raw, indent=1), encoding="utf-8")  # JSON is YAML, and quick
        with pytest.raises(SpecError) as caught:
            load(path)
        return str(caught.value)

    return check


def opcode(raw, name):
    return next(o for o in raw["opcodes"] if o["name"] == name)


def field(raw, struct, name):
    return next(f for f in raw["structs"][struct]["fields"] if f["name"] == name)


def test_the_definition_itself_is_accepted(tmp_path):
    assert load().structs["opened"].size == 440


@pytest.mark.parametrize(("change", "words"), [
    (lambda r: r.pop("suites"), "'suites' is a required property"),
    (lambda r: r.update(extra=1), "'extra' was unexpected"),
    (lambda r: opcode(r, "poll").update(way="up"), r"opcodes\[\d+\]\.way: 'up' is not one of"),
    (lambda r: opcode(r, "poll").update(code=256), r"opcodes\[\d+\]\.code: 256 is greater"),
    (lambda r: opcode(r, "poll").update(tagged="yes"), r"opcodes\[\d+\]\.tagged: 'yes' is not of type 'boolean'"),
    (lambda r: field(r, "ready", "status").update(type="u24x!"), r"structs\.ready\.fields\[0\]\.type"),
    (lambda r: r["constants"][0].pop("source"), r"constants\[0\]: 'source' is a required"),
    (lambda r: r["registers"]["list"][1].update(address=9), r"registers\.list\[1\]\.address: 9 is not a multiple"),
    (lambda r: r["cryptography"]["frame_tag"].update(person="much too long"), r"cryptography\.frame_tag\.person"),
    (lambda r: r["enums"]["card_state"]["values"][0].update(name="No Role"),
     r"enums\.card_state\.values\[0\]\.name: 'No Role' does not match"),
])
def test_schema_violations_are_refused_with_line_and_spot(refused, change, words):
    message = refused(change)
    assert re.match(r"line \d+: ", message)
    assert re.search(words, message), message


@pytest.mark.parametrize(("change", "words"), [
    (lambda r: r["structs"]["poll"]["fields"].pop(), "structs.poll: 4 bytes is not a multiple of 8"),
    (lambda r: field(r, "alive", "role_epoch").update(type="u16"), "structs.alive.lease_left_ms: u32 at offset 6"),
    (lambda r: field(r, "ready", "state").update(enum="mood"), "structs.ready.state: unknown enum 'mood'"),
    (lambda r: field(r, "opened", "slots").update(type="group_member"), "structs.opened.slots: unknown type"),
    (lambda r: r["structs"]["data"]["fields"].append({"name": "more", "type": "u8"}),
     "structs.data.more: stands behind"),
    (lambda r: r["structs"]["kill"]["fields"][1].update(name="role_epoch"),
     "structs.kill: a field name is there twice"),
    (lambda r: r["header"]["control"].pop(), "header.control: 32 bytes is not header_bytes"),
    (lambda r: opcode(r, "poll").update(code=0x30), "code 0x30 is there twice"),
    (lambda r: opcode(r, "poll").update(name="close"), "opcodes.close: the name is there twice"),
    (lambda r: opcode(r, "poll").update(payload="pool"), "opcodes.poll: unknown payload 'pool'"),
    (lambda r: opcode(r, "poll").update(answer="pool"), "opcodes.poll: unknown answer 'pool'"),
    (lambda r: opcode(r, "poll").update(ethertypes=["imagine"]), "opcodes.poll: unknown EtherType 'imagine'"),
    (lambda r: opcode(r, "poll").update(ethertypes=["result"]), "opcodes.poll: h2c opcode on c2h EtherType"),
    (lambda r: r["ethertypes"][0].update(value=0x80AA), "ethertypes: value 32938 is there twice"),
    (lambda r: r["enums"]["status"]["values"][1].update(value=0), "enums.status.values: value 0 is there twice"),
    (lambda r: r["constants"][1].update(name="tag_bytes"), "constants: name 'tag_bytes' is there twice"),
    (lambda r: r["profiles"]["paper"]["layouts"]["image"].update(struct="raw"),
     "paper.layouts.image: unknown struct"),
    (lambda r: r["profiles"]["paper"]["layouts"]["image"].update(ethertype="x"),
     "paper.layouts.image: unknown EtherType"),
])
def test_contradictions_are_refused_with_their_spot(refused, change, words):
    assert words in refused(change)


def test_a_key_given_twice_is_refused_with_its_line():
    with pytest.raises(SpecError, match=r"line 3: key 'a' is there twice"):
        read_yaml("a: 1\nb: 2\na: 3\n")


def test_a_syntax_error_is_refused_with_its_line():
    with pytest.raises(SpecError, match="line 2"):
        read_yaml("a: 1\n b: 2\n")


def test_spots_and_lines():
    text = "a:\n  - x: 1\n  - y: 2\nb: {c: 3}\n"
    assert spot(("a", 1, "y")) == "a[1].y"
    assert spot(()) == "the whole file"
    paths = [("a",), ("a", 1), ("a", 1, "y"), ("b", "c"), ("a", 7), ("z",)]
    assert [line_of(text, path) for path in paths] == [1, 3, 3, 4, 1, 1]


def test_the_program_reports_a_wrong_definition_and_writes_nothing(monkeypatch, capsys):
    def fail():
        raise SpecError("line 7: opcodes[0].way: 'up' is not one of …")

    monkeypatch.setattr(program, "load", fail)
    assert program.main([]) == 2
    assert "protocols/saf.yaml: line 7" in capsys.readouterr().err
