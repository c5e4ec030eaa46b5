"""Who is asked next, as a function of time and answers."""

from __future__ import annotations

from safhost.sonic.policy import REST_FIRST_S, REST_MOST_S, Next, Policy, Story, tell

S = 1_000_000_000


def story(deadline_ns: int | None = None) -> Story:
    return Story(0, deadline_ns)


def test_choose_takes_least_outstanding_then_least_used() -> None:
    policy = Policy(["a", "b", "c"], 3)
    assert [policy.choose(story(), 0).address for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]
    policy.answered(policy.servers[1])
    assert policy.choose(story(), 0).address == "b"


def test_failed_goes_to_another_server_then_local() -> None:
    policy, one = Policy(["a", "b"], 3), story()
    steps = []
    for _ in range(3):
        server = policy.choose(one, 0)
        steps.append((server.address, policy.failed(server, one, "UNAVAILABLE", "gone", 0)))
    assert steps == [("a", Next.RETRY), ("b", Next.RETRY), ("a", Next.LOCAL)]
    assert tell(one) == "a: UNAVAILABLE: gone; b: UNAVAILABLE: gone; a: UNAVAILABLE: gone"


def test_failed_server_rests_longer_each_time_and_is_tried_by_one_request() -> None:
    policy = Policy(["a", "b"], 9)
    now = 0
    rests = []
    for _ in range(8):
        one = story()
        policy.servers[1].outstanding = 1000  # a is asked whenever it is awake
        server = policy.choose(one, now)
        assert server.address == "a"
        policy.failed(server, one, "UNAVAILABLE", "", now)
        rests.append((server.rests_until_ns - now) / S)
        assert policy.choose(story(), now).address == "b"
        now = server.rests_until_ns
    assert rests == [min(REST_FIRST_S * 2 ** n, REST_MOST_S) for n in range(8)]
    assert policy.choose(story(), now).address == "a"
    assert policy.choose(story(), now).address == "b"  # the trial is under way
    policy.answered(policy.servers[0])
    assert policy.choose(story(), now).address == "a"


def test_server_that_is_away_for_hours_rests_no_longer() -> None:
    policy = Policy(["a"], 9)
    for _ in range(5000):
        one = story()
        policy.failed(policy.choose(one, 0), one, "UNAVAILABLE", "", 0)
    assert policy.servers[0].rests_until_ns == REST_MOST_S * S


def test_choose_asks_the_next_to_wake_when_all_rest() -> None:
    policy = Policy(["a", "b"], 9)
    for now, address in ((0, "a"), (S // 100, "b")):
        one = story()
        server = policy.choose(one, now)
        assert server.address == address
        policy.failed(server, one, "UNAVAILABLE", "", now)
    assert policy.choose(story(), S // 50).address == "a"


def test_failed_by_the_request_is_refused_and_no_rest() -> None:
    policy, one = Policy(["a"], 3), story()
    server = policy.choose(one, 0)
    assert policy.failed(server, one, "INVALID_ARGUMENT", "shape", 0) is Next.REFUSE
    assert server.rests_until_ns == 0
    assert server.outstanding == 0


def test_failed_past_the_deadline_goes_local() -> None:
    policy, one = Policy(["a", "b"], 9), story(S)
    server = policy.choose(one, 0)
    assert policy.failed(server, one, "DEADLINE_EXCEEDED", "", S) is Next.LOCAL
