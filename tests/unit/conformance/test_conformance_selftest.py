"""The suite's own test: planted bugs are caught by the clauses they break, and harmless ones are said to be missed."""

from __future__ import annotations

from safhost.conformance.selftest import make_model, self_test, try_faulty
from safhost.conformance.suite import FAIL, choose, run
from safhost.planting import Planting

_CARD = "safhost.lab.card_session"
_BUGS = (
    Planting("HELLO: forgets whose session it is", _CARD, "SessionUnit._hello",
             "session_open=shell.session is not None", "session_open=False", "HELLO lies about the session"),
    Planting("STRANGER: counts a card among its own kind", "safhost.lab.card_shell", "Shell.rx_dropped",
             "sum(self.drops) - self.drops[DropReason.DUPLICATE_BLOCK]", "sum(self.drops)",
             "a bug of another family than its name says"),
    Planting("HELLO: proves what it likes", _CARD, "SessionUnit._open", "hello_tag(channel.send_key, ",
             "hello_tag(channel.receive_key, ", "OPENED proves HELLO with the wrong key"),
    Planting("OPEN: nothing at all", _CARD, "SessionUnit.lease_left_ms", "max(0, ", "max(-0, ", "nothing"),
)


def test_bugs_are_caught_each_in_a_process_of_its_own() -> None:
    caught = {result.name: result.clauses for result in self_test(_BUGS, workers=2)}
    assert list(map(caught.get, [bug.name for bug in _BUGS])) == [("HELLO-4",), ("DROPS-2",), ("HELLO-7",), ()]


def test_a_bug_is_gone_after_it_was_tried() -> None:
    assert try_faulty(_BUGS[0]).clauses
    assert not [r for r in run(make_model(), choose(["HELLO"])) if r.verdict == FAIL]
