"""Survival of named conditions: every byte right, and repair that costs hardly more than it must."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from safhost.cli.sim_tables import survive as command
from safhost.errors import ConfigError
from safhost.sim import Impairment, survive
from safhost.sim.survive import CONDITIONS, GOAL_RATIO, Condition, loss_conditions, mean_loss, survey, union_bound

SIZE = 400_000
BY_NAME = {condition.name: condition for condition in CONDITIONS}


@pytest.mark.parametrize(("loss", "bound"), [(0.0, 1.0), (1e-4, 1.002), (0.01, 1.18), (0.1, 2.08), (0.3, 3.49)])
def test_union_bound_of_twenty_cards_is_the_known_one(loss, bound):
    assert union_bound([loss] * 20) == pytest.approx(bound, abs=0.005)


def test_union_bound_of_one_bad_card_is_its_own():
    assert union_bound([0.5, *[0.0] * 19]) == pytest.approx(2.0)


def test_mean_loss_counts_bursts_by_their_length():
    assert mean_loss(Impairment(loss=0.1)) == pytest.approx(0.1)
    assert mean_loss(Impairment(burst=0.002, burst_frames=50)) == pytest.approx(0.1 / 1.1)


@pytest.mark.parametrize("name", [name for name in BY_NAME if name != "corruption"])
def test_condition_is_survived_with_every_byte_right(name):
    outcome = survive.survive(BY_NAME[name], seed=1, cards=6, size_bytes=SIZE)
    assert not outcome.wrong
    assert outcome.blocks > 0


def test_corruption_behind_the_fcs_is_survived():
    outcome = survive.survive(BY_NAME["corruption"], seed=1, cards=3, size_bytes=SIZE)
    assert not outcome.wrong


def test_blackout_strikes_in_the_middle_and_the_job_completes_by_itself():
    outcome = survive.survive(BY_NAME["blackout"], seed=2, cards=3, size_bytes=SIZE)
    assert not outcome.wrong
    assert 60 < outcome.programmed_s < 62
    assert outcome.per_block > 1, "nothing was lost: it was no blackout"


def test_wrong_byte_in_a_card_is_noticed():
    """The judge itself: a job on a card whose staged image was spoiled after it was verified."""
    condition = Condition("clean", "")

    class Spoiled(survive._Job):
        def _images(self):
            node = self.sim.cards["c01"]
            node.card.memory.staging[0].view(100, 1)[:] ^= 1
            return super()._images()

    sim = survive.Simulation(1, cards=2)
    try:
        assert "other bytes" in Spoiled(sim, condition, survive.make_image(20_000), 1).run(units=True)
    finally:
        sim.close()


def test_transmissions_of_a_block_stay_near_the_union_bound():
    rows = survey(loss_conditions(), range(1, 4), cards=20, size_bytes=1_000_000, units=False)
    assert [row.wrong for row in rows] == [""] * 4
    assert {row.condition.name: row.ratio for row in rows if row.ratio > GOAL_RATIO} == {}


def test_condition_that_is_not_survived_is_reported_and_not_raised():
    dark = Condition("dark", "nothing ever gets through", Impairment(loss=1.0))
    outcome = survive.survive(dark, cards=2, size_bytes=20_000)
    assert outcome.wrong.startswith("program")


def test_command_prints_a_table_and_json():
    runner = CliRunner()
    table = runner.invoke(command, ["clean", "duplication", "--cards", "2", "--size", "50kB", "--seeds", "1"])
    assert table.exit_code == 0, table.output
    assert "duplication" in table.output
    found = runner.invoke(command, ["loss", "--cards", "2", "--size", "50kB", "--seeds", "2", "--json"])
    row, = json.loads(found.stdout)["conditions"]
    assert row["verdict"] == "ok"
    assert row["seeds"] == [1, 2]


def test_command_names_the_conditions_that_there_are():
    found = CliRunner().invoke(command, ["fog"])
    assert isinstance(found.exception, ConfigError)
    assert "blackout" in found.exception.hint
