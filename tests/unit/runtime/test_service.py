"""Operations of the service over a hub in memory with virtual cards: what comes back, and what must not be left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from runtime_rig import Connection, Rig, fails, make_image, shared

from safhost.errors import (
    CardError,
    CardLost,
    CommandFailed,
    ConfigError,
    DeadlineExceeded,
    ImageError,
    LocalProtocolError,
    PartialError,
    PrFailed,
    SchedulingError,
)
from safhost.plan.layout import plan_arguments
from safhost.runtime.messages import SharedMemory
from safhost.runtime.service import MAX_ARGUMENT_BYTES
from safhost.wire.generated import ReadSpace


def unit_of(image, a, b, kernel=0):
    """Memory and parameters of a vadd unit, as the client makes them."""
    spec = list(image.package.kernels.values())[kernel]
    plan = plan_arguments(spec, spec.bind(a, b), 0, 1 << 62)
    memory = SharedMemory.create(plan.end)
    for write in plan.writes:
        memory.array[write.address:write.address + write.array.nbytes] = write.array.reshape(-1).view(np.uint8)
    return memory, plan, {
        "digest": image.digest_root.hex(), "kernel": kernel, "arguments": plan.block.hex(),
        "relocations": [a.csr_offset for a in spec.kernel_args if a.kind == "buffer"],
        "inputs": [[w.address, w.array.nbytes] for w in plan.writes],
        "outputs": [[r.address, r.length_bytes] for r in plan.reads], "global": list(plan.global_size),
        "local": list(plan.local_size), "work_dim": len(plan.global_size)}


# -- looking -----------------------------------------------------------------------------------------------


def test_info_says_cluster_interfaces_and_drops(rig):
    info = rig.ask("info")
    assert [info[k] for k in ("cluster", "version", "local", "suite", "cards")] == ["test", "1.0", False, 0, 2]
    assert [(i["name"], i["up"], i["mtu"]) for i in info["interfaces"]] == [("h0", True, 1500)]
    assert info["interfaces"][0]["rx_frames"] > 0
    assert info["drops"] == {}
    assert info["jobs"] == 0
    rig.hosts[0]._hub.deliver(rig.ports[0].link, np.zeros((1, 60), np.uint8) | 255, np.array([60]))
    rig.pump()
    assert sum(rig.ask("info")["drops"].values()) == 1


def test_cards_are_named_in_order_of_their_serials(make_rig):
    rig = make_rig(3)
    cards = rig.ask("cards")["cards"]
    assert {c["name"]: c["serial"] for c in cards} == {"c1": "VC0000", "c2": "VC0001", "c3": "VC0002"}
    assert all(c["state"] == "available" and c["key"] == "none" and c["kernels"] == [] for c in cards)


def test_names_outlive_the_host(make_rig, tmp_path):
    rig = make_rig(2)
    rig.ask("cards")
    rig.ask("rename", card="c2", name="front")
    again = Rig(rig.folder, 2)
    assert {c["name"] for c in again.ask("cards")["cards"]} == {"c1", "front"}
    assert again.identity.generation > rig.identity.generation
    again.close()


def test_discover_solicits_and_lists_within_the_window(rig):
    began = rig.now_ns
    connection, number = rig.begin("discover", seconds=0.5)
    rig.run(lambda: connection.answer(number))
    assert [c["name"] for c in connection.answer(number)["result"]["cards"]] == ["c1", "c2"]
    assert 0.5e9 <= rig.now_ns - began < 1e9


def test_discover_opens_no_session_in_a_process_of_its_own(make_rig):
    rig = make_rig(2, local=True)
    assert [c["state"] for c in rig.ask("discover", seconds=0.2)["cards"]] == ["listed", "listed"]
    rig.sleep(2)
    assert all(c.channel is None for c in rig.core.sessions.by_mac.values())


def test_discover_reports_cards_that_come(make_rig):
    rig = make_rig(1)
    connection, number = rig.begin("discover", seconds=3)
    rig.add_card(7)
    rig.run(lambda: connection.answer(number))
    assert any(e["card"]["serial"] == "VC0007" for e in connection.events(number))


def test_local_cluster_opens_sessions_with_the_first_work(make_rig):
    rig = make_rig(2, local=True)
    result = rig.ask("run")
    assert sorted(result["done"]) == ["c1", "c2"]


def test_counters_are_read_over_the_wire(rig):
    counters = rig.ask("counters", card="c1")
    assert counters["registers"]["pr_compat_id"] == 0x5AF00001
    assert counters["registers"]["rx_frames"] > 0
    assert counters["drops"]["bad_tag"] == 0


def test_kernels_lists_images_with_manifests_and_cards(rig, vadd):
    assert rig.ask("kernels")["images"] == []
    rig.program(vadd, ["c2"])
    (image,) = rig.ask("kernels")["images"]
    assert image["digest"] == vadd.digest_root.hex()
    assert image["manifest"]["name"] == "vadd"
    assert image["cards"] == ["c2"]


def test_subscribe_reports_every_change_until_it_is_cancelled(rig):
    connection, number = rig.begin("subscribe")
    rig.add_card(9)
    rig.run(lambda: any(e["card"]["serial"] == "VC0009" and e["card"]["state"] == "available"
                        for e in connection.events(number)))
    rig.begin("cancel", connection=connection, target=number)
    assert connection.answer(number)["error"]["message"] == "cancelled"
    heard = len(connection.messages)
    rig.ports[0].unplug()
    rig.sleep(12)
    assert len(connection.messages) == heard


# -- names -------------------------------------------------------------------------------------------------


def test_rename_and_groups_select_cards(make_rig):
    rig = make_rig(4)
    rig.ask("rename", card="VC0003", name="Back")
    rig.ask("groups", name="front", members=["c[1-2]"])
    assert rig.ask("groups")["groups"] == {"front": ["c[1-2]"]}
    assert sorted(rig.ask("run", cards="front")["done"]) == ["c1", "c2"]
    assert sorted(rig.ask("run", cards=["back", "c3"])["done"]) == ["Back", "c3"]
    rig.ask("groups", name="front", members=None)
    assert rig.ask("groups")["groups"] == {}


@pytest.mark.parametrize("name", ["", "a b", "c[1]", "all", "ALL", "@x", "x" * 33, "-a", "a,b", "*"])
def test_rename_to_what_cannot_be_a_name_is_refused(rig, name):
    with pytest.raises((ConfigError, LocalProtocolError)):
        rig.ask("rename", card="c1", name=name)
    assert {c["name"] for c in rig.ask("cards")["cards"]} == {"c1", "c2"}


def test_rename_to_a_name_in_use_is_refused(rig):
    with fails(ConfigError, "taken"):
        rig.ask("rename", card="c1", name="C2")
    with fails(ConfigError, "serial of another card"):
        rig.ask("rename", card="c1", name="vc0001")
    rig.ask("groups", name="front", members=["c1"])
    with fails(ConfigError, "taken"):
        rig.ask("rename", card="c1", name="Front")


@pytest.mark.parametrize("members", ["c1", [], [1], [""], {"a": 1}])
def test_group_of_nonsense_is_refused(rig, members):
    with pytest.raises(ConfigError):
        rig.ask("groups", name="g", members=members)
    assert rig.ask("groups")["groups"] == {}


def test_keys_changed_reads_the_key_file_again(rig, tmp_path, monkeypatch):
    monkeypatch.setattr(type(rig.cluster), "keys_path", tmp_path / "none.yaml")
    assert rig.ask("keys_changed") == {"keys": 0}


# -- program -----------------------------------------------------------------------------------------------


def test_program_reports_progress_by_names_and_the_result(make_rig, tmp_path):
    rig = make_rig(3)
    image = make_image(tmp_path, pad=3_000_004)
    memory = shared(image.payload)
    connection, number = rig.begin("program", memory, **rig.program_params(image))
    memory.close()
    rig.run(lambda: connection.answer(number))
    result = connection.answer(number)["result"]
    assert sorted(result["done"]) == sorted(result["cards"]) == ["c1", "c2", "c3"]
    assert result["bytes"] == 3_000_004
    assert result["digest"] == image.digest_root.hex()
    assert result["failed"] == {}
    events = connection.events(number)
    phases = [e["phase"] for e in events]
    assert phases == sorted(phases, key=["hash", "open", "send", "repair", "commit"].index)
    assert {"hash", "commit"} <= set(phases)
    assert {name for e in events for name in e["cards"]} == {"c1", "c2", "c3"}
    assert all(0 <= e["sent_bytes"] <= e["total_bytes"] for e in events if e["phase"] in ("hash", "send"))
    assert rig.ask("cards")["cards"][0]["image_name"] == "vadd"


def test_program_one_card_leaves_the_others_alone(rig, vadd):
    assert rig.program(vadd, "c2")["done"] == ["c2"]
    assert [c["kernels"] for c in rig.ask("cards")["cards"]] == [[], ["vadd"]]


def test_program_again_sends_no_data(rig, vadd):
    rig.program(vadd)
    before = [p.data_frames for p in rig.ports]
    assert all(before)
    assert rig.program(vadd)["frames_sent"] == 0
    assert [p.data_frames for p in rig.ports] == before


def test_program_stage_only_does_not_load(rig, vadd):
    result = rig.program(vadd, commit=False)
    assert {c["state"] for c in result["cards"].values()} == {"staged"}
    assert [c["kernels"] for c in rig.ask("cards")["cards"]] == [[], []]


def test_recommit_loads_what_is_staged_and_sends_no_data(rig, vadd, tmp_path):
    rig.program(vadd)
    other = make_image(tmp_path, "ptrans")
    rig.program(other)
    before = [p.data_frames for p in rig.ports]
    assert sorted(rig.ask("recommit", digest=vadd.digest_root.hex())["done"]) == ["c1", "c2"]
    assert [p.data_frames for p in rig.ports] == before
    assert [c["kernels"] for c in rig.ask("cards")["cards"]] == [["vadd"], ["vadd"]]


def test_recommit_of_what_no_card_holds_is_refused(rig, vadd):
    with pytest.raises((PartialError, CardError, SchedulingError)) as caught:
        rig.ask("recommit", digest=vadd.digest_root.hex())
    assert "VC000" not in str(caught.value.to_dict())
    assert [p.data_frames for p in rig.ports] == [0, 0]


def test_program_with_a_wrong_digest_is_refused_before_a_frame(rig, vadd):
    before = [h.counters()["tx_frames"] for h in rig.hosts]
    with fails(ImageError, "digest"):
        rig.program(vadd, digest="00" * 32)
    assert [h.counters()["tx_frames"] for h in rig.hosts] == before
    assert [p.data_frames for p in rig.ports] == [0, 0]


def test_program_a_large_image_with_a_wrong_digest_is_refused_too(rig, tmp_path):
    image = make_image(tmp_path, pad=2_000_000)
    with fails(ImageError, "digest"):
        rig.program(image, digest="11" * 32)
    assert [p.data_frames for p in rig.ports] == [0, 0]


def test_program_for_another_shell_is_refused_before_data(rig, vadd):
    with fails(PartialError, "none of 2 cards") as caught:
        rig.program(vadd, pr_compat_id=0x12345678)
    assert set(caught.value.failed) == {"c1", "c2"}
    assert "VC0000" not in str(caught.value.to_dict())
    assert [p.data_frames for p in rig.ports] == [0, 0]


def test_program_too_large_for_the_slot_is_refused(rig, tmp_path):
    image = make_image(tmp_path, pad=(8 << 20) + 64)
    with pytest.raises(PartialError, match="do not fit"):
        rig.program(image)


def test_program_failing_on_one_card_is_partial_and_named(make_rig, vadd):
    rig = make_rig(3)
    rig.ports[1].card.inject("pr_error")
    with pytest.raises(PartialError) as caught:
        rig.program(vadd)
    error = caught.value
    assert error.exit_code == 3
    assert sorted(error.done) == ["c1", "c3"]
    assert list(error.failed) == ["c2"]
    assert error.failed["c2"].startswith("card c2: partial reconfiguration failed")
    result = error.result
    assert result["cards"]["c2"]["state"] == "failed"
    assert result["cards"]["c2"]["error"]["card"] == "c2"
    assert result["cards"]["c2"]["error"]["message"].startswith("card c2:")
    assert "VC0001" not in f"{error.to_dict()} {result['failed']} {result['cards']}"


def test_program_failing_on_the_only_card_is_its_error(make_rig, vadd):
    rig = make_rig(1)
    rig.ports[0].card.inject("pr_crc")
    with fails(PrFailed, "card c1: partial reconfiguration failed: pr_crc_error"):
        rig.program(vadd)


def test_card_that_dies_in_the_middle_of_a_broadcast_is_named(make_rig, tmp_path):
    rig = make_rig(3)
    image = make_image(tmp_path, pad=2_000_000)
    rig.ports[2].card.inject("crash", state="receiving")
    with pytest.raises(PartialError) as caught:
        rig.program(image)
    assert sorted(caught.value.done) == ["c1", "c2"]
    assert list(caught.value.failed) == ["c3"]


def test_program_progress_names_a_card_that_failed(make_rig, tmp_path):
    rig = make_rig(2)
    image = make_image(tmp_path, pad=1_500_000)
    rig.ports[1].card.inject("crash", state="receiving")
    memory = shared(image.payload)
    connection, number = rig.begin("program", memory, **rig.program_params(image))
    memory.close()
    rig.run(lambda: connection.answer(number))
    assert "VC000" not in str([e["cards"] for e in connection.events(number)])


@pytest.mark.parametrize("manifest", [5, [], {}, {"name": "x", "kernels": [7]}, {"name": "x", "kernels": []}])
def test_program_with_a_bad_manifest_is_refused_and_not_kept(rig, vadd, manifest):
    with pytest.raises(ConfigError):
        rig.program(vadd, manifest=manifest)
    assert list((rig.folder / "manifests").iterdir()) == []


def test_manifest_file_that_is_damaged_hides_the_kernels_only(rig, vadd):
    rig.program(vadd)
    (path,) = (rig.folder / "manifests").iterdir()
    path.write_text('{"kernels": 5}')
    rig.service.manifests._known.clear()
    assert [c["kernels"] for c in rig.ask("cards")["cards"]] == [[], []]
    assert rig.ask("kernels")["images"][0]["manifest"] is None


# -- write and read ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 63, 64, 1473, 65_536, 300_001, 3_000_000])
def test_write_then_read_gives_the_same_bytes(rig, length):
    data = np.random.default_rng(length).integers(0, 256, length, np.uint8)
    memory = shared(data)
    result = rig.ask("write", memory, address=4096, cards=["c1", "c2"])
    assert result["done"] == ["c1", "c2"]
    memory.close()
    for card in ("c1", "c2"):
        out = SharedMemory.create(length)
        assert rig.ask("read", out, card=card, address=4096)["bytes"] == length
        assert (out.array == data).all()
        out.close()
    assert not rig.ports[0].card.memory.role.view(4096 + length, 64).any()


def test_write_reports_progress_by_names(rig):
    memory = SharedMemory.create(5_000_000)
    connection, number = rig.begin("write", memory, address=0)
    memory.close()
    rig.run(lambda: connection.answer(number))
    assert {n for e in connection.events(number) for n in e["cards"]} <= {"c1", "c2"}


def test_write_past_the_end_of_ddr_is_refused(rig):
    memory = SharedMemory.create(128)
    with fails(PartialError, "do not fit"):
        rig.ask("write", memory, address=(64 << 20) - 64)
    memory.close()


def test_read_past_the_end_of_ddr_is_refused(rig):
    memory = SharedMemory.create(128)
    with fails(CardError, "card c1: has 67108864 bytes of DDR"):
        rig.ask("read", memory, card="c1", address=(64 << 20) - 64)
    with fails(CardError, "refused"):
        rig.ask("read", memory, card="c1", space=int(ReadSpace.SHELL_REGISTERS), address=1 << 40)
    memory.close()


@pytest.mark.parametrize("address", [1, 63, 4097])
def test_write_to_an_unaligned_address_is_exact(rig, address):
    data = np.arange(1, 1001, dtype=np.uint16).astype(np.uint8) | 1
    memory = shared(data)
    rig.ask("write", memory, address=address, cards="c1")
    role = rig.ports[0].card.memory.role
    assert (role.view(address, 1000) == data).all()
    assert not role.view(0, address).any()
    assert not role.view(address + 1000, 64).any()
    memory.close()


def test_nothing_to_write_or_read_is_said(rig):
    for op, more in (("write", {}), ("read", {"card": "c1"})):
        memory = SharedMemory.create(0)
        with fails(ConfigError, "nothing to"):
            rig.ask(op, memory, address=0, **more)
        memory.close()


# -- run, units, kill --------------------------------------------------------------------------------------


def test_run_the_empty_kernel_alone_and_as_a_group(rig):
    assert rig.ask("run", cards=["VC0000"])["cards"]["c1"]["state"] == "done"
    assert sorted(rig.ask("run", group=True)["done"]) == ["c1", "c2"]


def test_run_an_unknown_kernel_is_the_cards_error(rig, vadd):
    with fails(CommandFailed, "card c1: kernel 3 ended with no_role"):
        rig.ask("run", cards=["c1"], kernel=3)
    rig.program(vadd)
    with fails(CommandFailed, "card c1: kernel 3 ended with unknown_kernel"):
        rig.ask("run", cards=["c1"], kernel=3)


def test_unit_computes_on_a_card(rig, vadd):
    rig.program(vadd)
    a = np.random.default_rng(1).random(10_000, np.float32)
    memory, plan, params = unit_of(vadd, a, 2 * a)
    result = rig.ask("unit", memory, **params)
    assert result["card"] in ("c1", "c2")
    assert result["attempts"] == 1
    (read,) = plan.reads
    out = memory.array[read.address:read.address + read.length_bytes].view(np.float32)
    assert (out == a + 2 * a).all()
    memory.close()


def test_unit_on_chosen_cards_only(rig, vadd):
    rig.program(vadd)
    a = np.ones(64, np.float32)
    for name in ("c2", "c2", "c1"):
        memory, _, params = unit_of(vadd, a, a)
        assert rig.ask("unit", memory, cards=[name], **params)["card"] == name
        memory.close()


def test_unit_moves_to_another_card_when_its_own_dies(rig, vadd):
    rig.program(vadd)
    a = np.ones(1000, np.float32)
    for port in rig.ports:
        port.held = []
    memory, plan, params = unit_of(vadd, a, a)
    connection, number = rig.begin("unit", memory, **params)
    rig.run(lambda: any(p.held for p in rig.ports))
    victim = next(p for p in rig.ports if p.held)
    other = next(p for p in rig.ports if p is not victim)
    other.held = None
    victim.unplug()
    rig.run(lambda: connection.answer(number))
    result = connection.answer(number)["result"]
    assert result["attempts"] == 2
    (read,) = plan.reads
    assert (memory.array[read.address:read.address + read.length_bytes].view(np.float32) == 2).all()
    memory.close()
    rig.sleep(15)


def test_unit_without_a_card_that_runs_the_image_is_refused(rig, vadd):
    memory, _, params = unit_of(vadd, np.ones(4, np.float32), np.ones(4, np.float32))
    with fails(SchedulingError, "no card runs image"):
        rig.ask("unit", memory, **params)
    rig.program(vadd, "c1")
    with fails(SchedulingError, "no card runs image"):
        rig.ask("unit", memory, cards=["c2"], **params)
    memory.close()


def test_kill_ends_a_kernel_that_hangs(rig, vadd):
    rig.program(vadd)
    for port in rig.ports:
        port.card.inject("hang_kernel", times=9)
    a = np.ones(64, np.float32)
    memory, _, params = unit_of(vadd, a, a)
    connection, number = rig.begin("unit", memory, cards=["c1"], **params)
    memory.close()
    rig.sleep(1)
    assert rig.ports[0].card.snapshot()["slots"][0]["state"] == "running"
    rig.ports[0].card.inject("clear")
    rig.ask("kill", card="c1")
    rig.run(lambda: connection.answer(number))
    assert connection.answer(number)["result"]["attempts"] >= 2


def test_kernel_past_its_deadline_is_ended_and_named(rig, vadd):
    rig.program(vadd)
    rig.ports[0].card.inject("hang_kernel", times=9)
    memory, _, params = unit_of(vadd, np.ones(4, np.float32), np.ones(4, np.float32))
    with pytest.raises((CommandFailed, DeadlineExceeded, SchedulingError), match=r"c1|deadline"):
        rig.ask("unit", memory, cards=["c1"], deadline_ms=200, **params)
    memory.close()


def test_release_gives_the_lease_back(rig):
    rig.ask("release", cards=["c2"])
    rig.sleep(1)
    assert [p.card.snapshot()["session"] is not None for p in rig.ports] == [True, False]
    rig.ask("release")
    rig.sleep(1)
    assert [p.card.snapshot()["session"] for p in rig.ports] == [None, None]


# -- cards that are not there ------------------------------------------------------------------------------


def test_no_cards_is_one_line_with_what_to_do(make_rig):
    rig = make_rig(0)
    for op in ("run", "release"):
        if op == "run":
            with fails(CardError, "no card to use (none announced itself)") as caught:
                rig.ask(op)
            assert caught.value.hint
        else:
            rig.ask(op)
    assert rig.ask("cards") == {"cards": []}
    assert rig.ask("kernels") == {"images": []}
    assert rig.ask("discover", seconds=0.1) == {"cards": []}


def test_cards_that_may_not_be_used_are_listed_with_the_reason(make_rig, vadd):
    rig = make_rig(2, suites={1: bytes(32)})
    cards = {c["name"]: c for c in rig.ask("cards")["cards"]}
    assert cards["c2"]["state"] == "listed"
    assert cards["c2"]["key"] == "missing"
    assert "suite" in cards["c2"]["why"]
    assert rig.ask("run")["done"] == ["c1"]
    with fails(CardError, "card c2: is listed"):
        rig.ask("run", cards=["c2"])
    with fails(CardError, "card c2: is listed"):
        rig.program(vadd, "c2")
    for op in ("counters", "kill"):
        with fails(CardError, "card c2: is listed"):
            rig.ask(op, card="c2")


def test_unknown_card_says_which_are_near(rig):
    rig.ask("cards")
    for op, params in (("run", {"cards": ["c9"]}), ("kill", {"card": "c9"}), ("rename", {"card": "c9", "name": "x"}),
                       ("release", {"cards": ["c9"]}), ("counters", {"card": "c9"})):
        with fails(ConfigError, "no card is called 'c9'") as caught:
            rig.ask(op, **params)
        assert caught.value.hint


def test_one_card_is_wanted_but_several_are_meant(rig):
    for op in ("kill", "counters"):
        with fails(ConfigError, "'all' means 2 cards"):
            rig.ask(op, card="all")


def test_card_lost_while_it_is_read_is_named(rig):
    memory = SharedMemory.create(1 << 20)
    connection, number = rig.begin("read", memory, card="c1", address=0)
    rig.ports[0].card.inject("crash")
    rig.run(lambda: connection.answer(number))
    error = connection.answer(number)["error"]
    assert error["type"] in ("CardLost", "DeadlineExceeded")
    assert "card c1" in error["message"]
    assert "VC0000" not in str(error)
    memory.close()


def test_errors_name_cards_by_whole_names_only(make_rig):
    from safhost.runtime.wording import Wording

    rig = make_rig(0)
    rig.service.names.rename("VC1", "front")
    rig.service.names.rename("02:5a:f0:00:00:01", "m")
    rig.service.names.rename("is", "odd")
    said = Wording(rig.service.names).error(CardLost("is lost", "", "VC10"))
    assert said["message"] == "card VC10: is lost"
    said = Wording(rig.service.names).error(CardLost("is lost", "", "VC1"))
    assert (said["message"], said["card"]) == ("card front: is lost", "front")
    assert Wording(rig.service.names).error(CardLost("is lost", "", "is"))["message"] == "card odd: is lost"
    said = Wording(rig.service.names).error(DeadlineExceeded("card 02:5a:f0:00:00:01: no answer"))
    assert said["message"] == "card m: no answer"


# -- bad parameters ----------------------------------------------------------------------------------------

_BAD = [
    ("nonsense", {}, False), ("", {}, False), ("request", {}, False),
    ("discover", {"seconds": -1}, False), ("discover", {"seconds": float("inf")}, False),
    ("discover", {"seconds": float("nan")}, False), ("discover", {"seconds": "1"}, False),
    ("discover", {"seconds": 1e9}, False), ("cancel", {}, False), ("counters", {}, False),
    ("counters", {"card": 5}, False), ("counters", {"card": ["c1"]}, False),
    ("rename", {}, False), ("rename", {"card": "c1"}, False), ("rename", {"card": "c1", "name": 5}, False),
    ("groups", {"name": 5}, False), ("kill", {}, False), ("kill", {"card": {}}, False),
    ("release", {"cards": 5}, False), ("release", {"cards": [5]}, False), ("release", {"cards": []}, False),
    ("run", {"cards": 5}, False), ("run", {"cards": [[]]}, False), ("run", {"cards": []}, False),
    ("run", {"cards": [{}]}, False), ("run", {"kernel": -1}, False), ("run", {"kernel": 1 << 16}, False),
    ("run", {"kernel": "x"}, False), ("run", {"kernel": True}, False), ("run", {"arguments": "zz"}, False),
    ("run", {"arguments": 5}, False), ("run", {"arguments": "00" * (MAX_ARGUMENT_BYTES + 1)}, False),
    ("run", {"arguments": "00" * MAX_ARGUMENT_BYTES, "group": True}, False), ("run", {"global": [1, 2, 3, 4]}, False),
    ("run", {"global": [-1]}, False), ("run", {"global": [1 << 32]}, False), ("run", {"global": "x"}, False),
    ("run", {"local": [1.5]}, False), ("run", {"work_dim": 0}, False), ("run", {"work_dim": 4}, False),
    ("run", {"deadline_ms": 1 << 32}, False), ("run", {"deadline_ms": -1}, False), ("run", {"group": 1}, False),
    ("program", {}, False), ("program", {}, True), ("program", {"digest": "00", "pr_compat_id": 1}, True),
    ("program", {"digest": 5, "pr_compat_id": 1}, True), ("program", {"digest": "00" * 32}, True),
    ("program", {"digest": "00" * 32, "pr_compat_id": -1}, True),
    ("program", {"digest": "00" * 32, "pr_compat_id": 1 << 32}, True),
    ("program", {"digest": "00" * 32, "pr_compat_id": 1, "cards": [5]}, True),
    ("program", {"digest": "00" * 32, "pr_compat_id": 1, "deadline_s": float("inf")}, True),
    ("program", {"digest": "00" * 32, "pr_compat_id": 1, "commit": "yes"}, True),
    ("recommit", {}, False), ("recommit", {"digest": "00"}, False),
    ("recommit", {"digest": "00" * 32, "cards": 3}, False),
    ("recommit", {"digest": "00" * 32, "deadline_s": -1}, False),
    ("write", {}, False), ("write", {}, True), ("write", {"address": -1}, True), ("write", {"address": 1 << 64}, True),
    ("write", {"address": "x"}, True), ("write", {"address": 0, "cards": 7}, True),
    ("write", {"address": 0, "deadline_s": "x"}, True), ("write", {"address": 1 << 63}, True),
    ("read", {}, False), ("read", {"card": "c1"}, True), ("read", {"address": 0}, True),
    ("read", {"card": "c1", "address": -1}, True), ("read", {"card": "c1", "address": 1 << 64}, True),
    ("read", {"card": "c1", "address": (1 << 64) - 1}, True), ("read", {"card": "c1", "address": 0, "space": 77}, True),
    ("read", {"card": "c1", "address": 0, "space": "x"}, True), ("unit", {}, False), ("unit", {}, True),
]


@pytest.mark.parametrize("case", range(len(_BAD)))
def test_bad_parameters_are_answered_with_an_error(case, shared_rig, caplog):
    op, params, with_memory = _BAD[case]
    rig = shared_rig
    memory = SharedMemory.create(100) if with_memory else None
    with pytest.raises((LocalProtocolError, ConfigError, CardError, ImageError, PartialError)) as caught:
        rig.ask(op, memory, **params)
    assert caught.value.message
    if memory is not None:
        memory.close()
    assert "went wrong" not in caplog.text
    assert not rig.service._jobs
    assert rig.ask("info")["cards"] == 2


def test_unit_with_bad_parameters_is_answered_with_an_error(rig, vadd, caplog):
    rig.program(vadd)
    a = np.ones(64, np.float32)
    good = unit_of(vadd, a, a)
    size = good[0].length
    bad = [{"inputs": 5}, {"inputs": [5]}, {"inputs": [[0]]}, {"inputs": [[-1, 4]]}, {"inputs": [[0, 0]]},
           {"inputs": [[0, size + 1]]}, {"inputs": [["a", 4]]}, {"outputs": [[size, 1]]}, {"outputs": {}},
           {"digest": "00"}, {"digest": None}, {"kernel": 1 << 16}, {"kernel": None}, {"arguments": 5},
           {"arguments": "00" * (MAX_ARGUMENT_BYTES + 1)}, {"relocations": 5}, {"relocations": [-1]},
           {"relocations": [1 << 20]}, {"relocations": ["x"]}, {"relocations": [28]}, {"global": [0.5]},
           {"work_dim": 9},
           {"deadline_ms": -5}, {"cards": [1]}, {"arguments": "ff" * 28}, {"cards": []}]
    for change in bad:
        with pytest.raises((LocalProtocolError, ConfigError)):
            rig.ask("unit", good[0], **(good[2] | change))
        assert not rig.service._jobs, change
    assert "went wrong" not in caplog.text
    assert rig.ask("unit", good[0], **good[2])["attempts"] == 1
    good[0].close()


@pytest.mark.parametrize("lengths", [[], [1, 2], ["x"], [1 << 70], [-1], [2.5], [None], "x", [True], [101]])
def test_lengths_that_do_not_match_the_descriptor_are_refused(rig, lengths):
    memory = SharedMemory.create(100)
    with pytest.raises(LocalProtocolError):
        rig.ask("write", memory, address=0, lengths=lengths)
    memory.close()


def test_every_operation_is_asked_for_here(rig):
    text = "".join(p.read_text(encoding="utf-8") for p in Path(__file__).parent.glob("test_*.py"))
    missing = [op for op in rig.service._ops if f'"{op}"' not in text]
    assert missing in ([], ["program"])  # which the rig asks for


def test_internal_mistake_is_an_answer_and_a_log_line(rig, monkeypatch, caplog):
    monkeypatch.setattr(rig.service, "resolve", lambda wanted: 1 // 0)
    with pytest.raises(Exception, match="run went wrong inside: ZeroDivisionError"):
        rig.ask("run")
    assert "ZeroDivisionError" in caplog.text


# -- clients that go ---------------------------------------------------------------------------------------


def gone(rig, connection):
    """As the server does when a client's socket closes."""
    connection.gone = True
    connection.send = lambda message: None
    for job in rig.service.jobs_of(connection):
        rig.service.cancel(job)


@pytest.mark.parametrize("rounds", [0, 1, 3, 10, 40])
def test_client_that_vanishes_leaves_nothing(make_rig, tmp_path, rounds):
    rig = make_rig(2)
    image = make_image(tmp_path, pad=2_000_000)
    connection = Connection()
    memory = shared(image.payload)
    rig.begin("program", memory, connection, **rig.program_params(image))
    rig.begin("write", memory, connection, address=0)
    rig.begin("read", memory, connection, card="c1", address=0)
    rig.begin("run", connection=connection)
    rig.begin("subscribe", connection=connection)
    rig.begin("discover", connection=connection, seconds=600)
    memory.close()
    for _ in range(rounds):
        rig.pump()
    gone(rig, connection)
    assert not rig.service._jobs
    rig.run(lambda: not rig.core.requests and not rig.service.hasher.busy)
    rig.sleep(3)
    rig.check_empty()
    assert rig.ask("run")["done"]
    assert rig.program(image)["done"]


def test_client_that_vanishes_while_its_write_is_hashed_starts_nothing(rig):
    memory = SharedMemory.create(8 << 20)
    connection = Connection()
    rig.begin("write", memory, connection, address=0)
    memory.close()
    assert rig.service.hasher.busy
    gone(rig, connection)
    rig.run(lambda: not rig.service.hasher.busy)
    rig.sleep(1)
    assert [p.data_frames for p in rig.ports] == [0, 0]


def test_client_that_vanishes_while_cards_settle_starts_nothing(make_rig):
    rig = make_rig(2, local=True)
    memory = SharedMemory.create(4096)
    connection = Connection()
    rig.begin("write", memory, connection, address=0)
    rig.begin("run", connection=connection)
    memory.close()
    gone(rig, connection)
    rig.sleep(2)
    assert [p.data_frames for p in rig.ports] == [0, 0]
    assert all(c.counters["commands"] == 0 for c in rig.core.sessions.by_mac.values())


def test_cancel_takes_a_waiting_unit_back(rig, vadd):
    rig.program(vadd)
    for port in rig.ports:
        port.held = []
    a = np.ones(64, np.float32)
    connection = Connection()
    numbers = []
    for _ in range(8):
        memory, _, params = unit_of(vadd, a, a)
        numbers.append(rig.begin("unit", memory, connection, **params)[1])
        memory.close()
    rig.run(lambda: sum(len(p.held) for p in rig.ports) >= 2)
    for number in numbers:
        rig.begin("cancel", connection=connection, target=number)
    rig.run(lambda: all(connection.answer(n) for n in numbers))
    assert {connection.answer(n)["error"]["message"] for n in numbers} == {"cancelled"}
    assert not rig.core.requests
    assert not rig.core.unit_queue
    for port in rig.ports:
        for job in port.held:
            port.finish(job)
        port.held = None
    rig.sleep(2)


def test_cancel_of_nothing_is_answered(rig):
    for target in (12345, "x", None, [1], {}):
        assert rig.ask("cancel", target=target) == {"cancelled": False}


def test_close_answers_what_still_stands(make_rig, tmp_path):
    rig = Rig(tmp_path, 1)
    connection, number = rig.begin("subscribe")
    other, unit = rig.begin("discover", seconds=60)
    rig.close()
    assert connection.answer(number)["error"]["message"] == other.answer(unit)["error"]["message"] == "cancelled"


# -- memory ------------------------------------------------------------------------------------------------


def sizes(rig):
    """Entries of all tables that requests pass through."""
    core, service = rig.core, rig.service
    cards = list(core.sessions.by_mac.values())
    return {
        "jobs": len(service._jobs), "waiting": len(service._waiting), "subscribers": len(service._subscribers),
        "requests": len(core.requests), "units": len(core.unit_queue), "reads": len(core.read_queue),
        "transfers": len(core.transfers.active), "pumping": len(core._pumping), "drops": len(core.drops),
        "names": len(service.names.by_key), "manifests": len(service.manifests._known),
        "pending": sum(len(c.pending) for c in cards), "card_units": sum(len(c.units) for c in cards),
        "card_reads": sum(len(c.reads) for c in cards), "run_waiting": sum(len(c.run_waiting) for c in cards),
        "open_queue": sum(len(c.open_queue) for c in cards), "ddr_live": sum(len(c.ddr_live) for c in cards),
        "ddr_waiting": sum(len(c.ddr_waiting) for c in cards), "ddr_used": sum(c.ddr.used_bytes for c in cards),
        "ddr_free": sum(len(c.ddr._free) for c in cards), "staging": sum(len(c.staging) for c in cards)}


@pytest.mark.parametrize("rounds", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_thousands_of_commands_leave_no_table_larger(rig, vadd, rounds):
    rig.program(vadd)
    a = np.ones(16, np.float32)
    memory, _, params = unit_of(vadd, a, a)
    connection = Connection()

    def some(units, runs):
        for _ in range(units):
            rig.begin("unit", memory, connection, **params)
        for i in range(runs):
            rig.begin("run", connection=connection, cards=["VC0000", "VC0001"], group=i % 2 == 0)
        rig.run(lambda: not rig.service._jobs and not rig.core.requests)
        assert all("result" in m for m in connection.messages), connection.messages[:3]
        connection.messages.clear()

    some(100, 100)
    before = sizes(rig)
    heap = len(rig.core.timers._heap)
    for _ in range(rounds):
        some(200, 900)  # 2,000 on the cards
    rig.sleep(1)
    assert sizes(rig) == before
    assert len(rig.core.timers._heap) <= heap + 1_000 * rounds
    memory.close()
