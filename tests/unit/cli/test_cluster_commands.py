"""Commands that talk to a cluster: what they ask of it, and what they print for people, pipes and programs."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safhost.cli import discover as discover_module
from safhost.errors import DaemonError
from safhost.plan.image import build_image
from safhost.plan.kernelspec import KernelPackage

Call = Callable[..., Any]

KERNEL = """\
name: vadd
sources: [vadd.cl]
kernels:
- name: vadd
  args:
  - {name: A, kind: buffer, dtype: float32, shape: [n], direction: in}
  - {name: B, kind: buffer, dtype: float32, shape: [n], direction: in}
  - {name: C, kind: buffer, dtype: float32, shape: [n], direction: out}
  - {name: n, kind: scalar, dtype: uint32}
  global: [n]
"""


@pytest.fixture
def kernel_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "vadd"
    folder.mkdir()
    (folder / "kernel.yaml").write_text(KERNEL)
    (folder / "vadd.cl").write_text("__kernel void vadd(__global float*a,__global float*b,__global float*c,uint n){}")
    return folder


@pytest.fixture
def image(kernel_dir: Path, tmp_path: Path) -> Path:
    build_image(kernel_dir, tmp_path / "vadd.saf", 100_000)
    return tmp_path / "vadd.saf"


def test_discover_prints_a_row_a_card_and_names_the_cluster(lab: Call, cluster: Any) -> None:
    cluster.fakes[2].info.update(state="listed", why="its key is not known here", name="evil\x1b[2J")
    result = lab("discover", "--seconds", "250ms")
    assert ("discover", 0.25) in cluster.calls
    assert result.lines[0] == "cluster lab: 3 cards"
    assert [line.split()[0] for line in result.lines[1:4]] == ["card", "c1", "c2"]
    assert "12ba:0385" in result.lines[2]
    assert "\x1b" not in result.out + result.err
    assert "its key is not known here" in result.err


def test_discover_json_is_one_document(lab: Call) -> None:
    document = lab("discover", "--json").json
    assert document["cluster"] == "lab"
    assert [card["serial"] for card in document["cards"]] == ["VC0001", "VC0002", "VC0003"]


def test_discover_watch_prints_only_what_is_new_as_json_lines(lab: Call, cluster: Any,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = iter(range(7))

    def discover(seconds: float = 1.0, on_event: Any = None) -> list[dict[str, Any]]:
        turn = next(rounds, None)
        if turn is None:
            raise KeyboardInterrupt
        if turn == 2:
            cluster.fakes[0].info["boot_nonce"] = "1" * 32
        return [dict(card.info) for card in cluster.fakes[: 1 + (0 < turn < 4)]]

    monkeypatch.setattr(cluster, "discover", discover)
    result = lab("discover", "--watch", "--json")
    events = [json.loads(line) for line in result.lines]
    assert [(e["event"], e["card"]["name"]) for e in events] == [
        ("seen", "c1"), ("seen", "c2"), ("rebooted", "c1"), ("gone", "c2")]
    assert result.code == 130


def test_cards_lists_states_and_filters(lab: Call, cluster: Any) -> None:
    cluster.fakes[1].info.update(state="lost", why="silent for 10 s")
    result = lab("cards")
    assert result.lines[0] == "cluster lab: 3 cards: 2 available, 1 lost"
    assert "silent for 10 s" in result.lines[3]
    assert len(lab("cards", "--card", "c[1-2]").lines) == 4
    assert [c["name"] for c in lab("cards", "--card", "front", "--json").json["cards"]] == ["c1", "c2"]


def test_cards_counters_show_drops_by_reason_of_host_and_card(lab: Call, cluster: Any) -> None:
    cluster.failing["c3"] = "lost"
    rows = [" ".join(line.split()) for line in lab("cards", "--counters").lines[2:]]
    assert "- host dropped: bad_tag 4" in rows
    assert "c1 card dropped: bad_session 1" in rows
    assert "c1 host retries 2" in rows
    assert not any("duplicate" in row or "truncated" in row for row in rows)
    document = lab("cards", "--counters", "--json").json
    assert document["host_drops"]["bad_tag"] == 4
    assert document["cards"][0]["drops"] == {"bad_session": 1, "duplicate": 0}
    assert document["cards"][2]["counters_error"] == "card c3: no session"


def test_cards_unknown_selector_is_exit_2_and_says_what_is_near(lab: Call) -> None:
    result = lab("cards", "--card", "c4")
    assert result.code == 2
    assert "no card is called 'c4'" in result.err


def test_rename_goes_by_serial(lab: Call, cluster: Any) -> None:
    assert lab("cards", "rename", "c2", "left").out == "cluster lab: c2 is now left\n"
    assert ("rename", "VC0002", "left") in cluster.calls
    assert lab("cards", "rename", "c[1-2]", "x").code == 2


def test_group_sets_lists_and_removes(lab: Call, cluster: Any) -> None:
    assert lab("cards", "group", "mine", "c[1-2]", "c3", "--json").json["groups"] == {"mine": ["c[1-2]", "c3"]}
    assert lab("cards", "group", "bad", "c9").code == 2
    assert "mine" in lab("cards", "group").out
    assert lab("cards", "group", "mine", "--remove").code == 0
    assert "mine" not in cluster.known_groups


def test_program_all_cards_broadcasts_and_reports(lab: Call, cluster: Any, image: Path) -> None:
    result = lab("program", str(image))
    options = {"commit": True, "force": False, "broadcast": True}
    assert cluster.calls[-1] == ("program", str(image), ["c1", "c2", "c3"], options)
    assert result.lines[0] == "cluster lab: vadd.saf (100 kB) to 3 cards"
    assert result.lines[-1].startswith("3 cards programmed in 1.25 s, verified after 1.00 s")
    plain = result.err.splitlines()
    assert plain[0].startswith("vadd.saf: hashing the image")
    assert any("500 MB/s" in line and "3 receiving" in line for line in plain)


def test_program_options_reach_the_cluster(lab: Call, cluster: Any, image: Path) -> None:
    lab("program", str(image), "--card", "c2", "--no-commit", "--force", "--deadline", "2m")
    assert cluster.calls[-1][2:] == (["c2"], {"commit": False, "force": True, "broadcast": False, "deadline_s": 120.0})
    lab("program", str(image), "--card", "c[1-2]", "--no-broadcast")
    assert cluster.calls[-1][3]["broadcast"] is False


def test_program_json_is_silent_on_stderr(lab: Call, image: Path) -> None:
    result = lab("program", str(image), "--json")
    assert result.err == ""
    assert result.json["done"] == ["c1", "c2", "c3"]
    assert len(result.json["digest"]) == 64


def test_program_partial_names_cards_and_exits_3(lab: Call, cluster: Any, image: Path) -> None:
    cluster.failing["c2"] = "lost in the middle"
    result = lab("program", str(image))
    assert result.code == 3
    assert [line.split() for line in result.lines[-3:]] == [
        ["c1", "done", "-"], ["c3", "done", "-"], ["c2", "failed", "lost", "in", "the", "middle"]]
    error = lab("program", str(image), "--json").json["error"]
    assert (error["type"], error["done"]) == ("PartialError", ["c1", "c3"])
    assert error["failed"] == {"c2": "lost in the middle"}


def test_program_leaves_out_cards_that_cannot_be_used_and_says_so(lab: Call, cluster: Any, image: Path) -> None:
    cluster.fakes[0].info.update(state="listed", why="no key")
    result = lab("program", str(image))
    assert cluster.calls[-1][2] == ["c2", "c3"]
    assert "c1 is left out: no key" in result.err
    for card in cluster.fakes:
        card.info.update(state="listed", why="no key")
    result = lab("program", str(image))
    assert result.code == 3
    assert "none of the 3 cards of cluster lab can be used: no key" in result.err
    cluster.fakes.clear()
    assert "has no cards" in lab("program", str(image)).err


def test_program_bad_image_is_refused_before_anything_is_asked(lab: Call, cluster: Any, image: Path) -> None:
    image.write_bytes(image.read_bytes()[:-1])
    assert lab("program", str(image)).code == 2
    assert lab("program", "none.saf").code == 2
    assert "build an image of it" in lab("program", str(image.parent)).err
    assert cluster.calls == []


def test_program_takes_an_image_of_the_store(lab: Call, cluster: Any, image: Path, call: Call) -> None:
    assert call("image", "import", str(image), "--name", "mine").code == 0
    assert lab("program", "mine").code == 0
    assert "state/images/objects" in cluster.calls[-1][1]
    assert "no image is called other" in lab("program", "other").err


def test_write_then_read_bytes_npy_and_stdin(lab: Call, cluster: Any, tmp_path: Path,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(8, dtype=np.float32)
    np.save(tmp_path / "a.npy", values)
    result = lab("write", "c[1-2]", "64KiB", str(tmp_path / "a.npy"))
    assert result.out == "cluster lab: 32 B at 0x10000 written and verified on c1, c2 in 0.500 s\n"
    assert cluster.memory["c2", 65536] == values.tobytes()
    assert lab("read", "c1", "0x10000", "32", "-o", str(tmp_path / "b.npy"), "--dtype", "float32").code == 0
    assert np.array_equal(np.load(tmp_path / "b.npy"), values)
    assert lab("read", "c1", "0x10000", "8", "--json").json["hex"] == values.tobytes()[:8].hex()
    assert lab("read", "c1", "0x10000", "8", "--dtype", "float32", "--json").json["values"] == [0.0, 1.0]
    assert lab("read", "c1", "0x10000", "12", "--dtype", "float32").out == "[0. 1. 2.]\n"
    stdin = io.TextIOWrapper(io.BytesIO(b"abc\xff"))
    monkeypatch.setattr("sys.stdin", stdin)
    assert lab("write", "c1", "0", "-").code == 0
    assert cluster.memory["c1", 0] == b"abc\xff"
    lab("read", "c1", "0", "4", "-o", str(tmp_path / "raw"))
    assert (tmp_path / "raw").read_bytes() == b"abc\xff"


def test_read_into_a_pipe_is_raw(lab: Call, cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.memory["c1", 0] = b"\x00\xff\n"
    pipe = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(pipe))
    assert lab("read", "c1", "0", "3").code == 0
    assert pipe.getvalue() == b"\x00\xff\n"


@pytest.mark.parametrize(("argv", "part"), [
    (["write", "c1", "zero", "f"], "not a number of bytes"),
    (["write", "c1", "0", "none.bin"], "cannot read none.bin"),
    (["read", "c[1-2]", "0", "4"], "means 2 cards"),
    (["read", "c1", "0", "5", "--dtype", "float32"], "not a whole number of float32"),
    (["read", "c1", "0", "4", "--dtype", "float99"], "not a type"),
    (["read", "c1", "-4", "4"], ""),
])
def test_bad_arguments_of_write_and_read_are_exit_2(lab: Call, argv: list[str], part: str) -> None:
    result = lab(*argv)
    assert result.code == 2
    assert part in result.err


def test_kill_resets_and_names_those_that_failed(lab: Call, cluster: Any) -> None:
    assert lab("kill", "c[1-2]").out == "cluster lab: role reset on c1, c2\n"
    cluster.failing["c2"] = "lost"
    result = lab("kill", "all", "--json")
    assert result.code == 3
    assert result.json["error"]["done"] == ["c1", "c3"]


def test_run_with_random_inputs_and_files(lab: Call, cluster: Any, kernel_dir: Path, tmp_path: Path) -> None:
    cluster.package = KernelPackage.load(kernel_dir)
    inputs = ("--in", "A=random", "--in", "B=arange", "--arg", "n=5")
    result = lab("run", "vadd", *inputs, "--out", str(tmp_path / "c.npy"))
    assert result.code == 0, result.err
    total = np.load(tmp_path / "c.npy")
    assert total.shape == (5,)
    assert np.all(np.abs(total - np.arange(5)) <= 100)
    again = lab("run", "vadd", *inputs, "--out", f"C={tmp_path / 'd.raw'}", "--card", "c2", "--json")
    assert np.array_equal(np.fromfile(tmp_path / "d.raw", np.float32), total)
    assert again.json["outputs"] == [{"name": "C", "dtype": "float32", "shape": [5], "bytes": 20,
                                      "file": str(tmp_path / "d.raw")}]
    assert cluster.calls[-1] == ("kernel", "vadd", "c2", {"n": 5})
    np.save(tmp_path / "a.npy", np.ones(3, np.float32))
    np.full(3, 2, np.float32).tofile(tmp_path / "b.raw")
    result = lab("run", "0", "--in", f"A={tmp_path / 'a.npy'}", "--in", f"B={tmp_path / 'b.raw'}")
    assert "3 3 3" in result.out


@pytest.mark.parametrize(("argv", "part"), [
    (["--in", "A=random"], "input B of vadd is missing"),
    (["--in", "A=random", "--in", "B=random"], "depends on n — --arg n="),
    (["--in", "X=random", "--in", "A=zeros", "--in", "B=zeros"], "vadd has no input X — vadd(A: float32[n]"),
    (["--in", "A"], "is not NAME=VALUE"),
    (["--arg", "n=many"], "is not a number"),
    (["--arg", "n=1", "--arg", "n=2"], "given twice"),
    (["--in", "A=zeros", "--in", "B=none.npy", "--arg", "n=2"], "cannot read none.npy"),
    (["--card", "all", "--in", "A=zeros", "--in", "B=zeros", "--arg", "n=2"], "means 3 cards"),
])
def test_run_bad_arguments_say_what_the_kernel_wants(lab: Call, cluster: Any, kernel_dir: Path, argv: list[str],
                                                     part: str) -> None:
    cluster.package = KernelPackage.load(kernel_dir)
    result = lab("run", "vadd", *argv)
    assert result.code == 2
    assert part in result.err


def test_validate_prints_steps_with_units(lab: Call) -> None:
    result = lab("validate", "c1")
    assert result.code == 0
    assert "12 µs" in result.out
    assert "1.5 GB/s" in result.out
    assert result.lines[-1] == "1 card passed"


def test_validate_failed_step_is_exit_3(lab: Call, cluster: Any) -> None:
    cluster.steps.append({"name": "pr", "ok": False, "value": None, "unit": "", "detail": "CRC_ERROR"})
    result = lab("validate", "c1")
    assert result.code == 3
    assert "step 'pr' failed" in result.err
    document = lab("validate", "c[1-2]", "--json")
    assert document.code == 3
    assert document.json["ok"] is False
    assert document.json["cards"]["c2"]["steps"][2]["detail"] == "CRC_ERROR"


def test_validate_card_that_dies_keeps_the_steps_before(lab: Call, cluster: Any) -> None:
    cluster.failing["c1"] = "no answer"
    document = lab("validate", "c1", "--json").json
    assert [step["ok"] for step in document["cards"]["c1"]["steps"]] == [True, True, False]


def test_connection_refused_is_the_daemons_error(lab: Call, cluster: Any) -> None:
    cluster.raises = DaemonError("no daemon of cluster lab", "safhost daemon --cluster lab")
    result = lab("cards")
    assert result.code == 5
    assert result.err == "error: no daemon of cluster lab — safhost daemon --cluster lab\n"


def test_short_digest_hides_an_empty_one() -> None:
    assert discover_module.short_digest("0" * 64) == ""
    assert discover_module.short_digest("ab" * 32) == "abababababab"
