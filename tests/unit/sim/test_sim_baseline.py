"""The paper's plain protocol beside ours, in the same simulation."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from safhost.cli.sim_tables import baseline as command
from safhost.errors import ConfigError
from safhost.sim.baseline import HUNG, OUTCOMES, RIGHT, WRONG, compare, trial
from safhost.sim.images import make_image
from safhost.sim.network import Impairment

IMAGE = make_image(300_000)


@pytest.mark.parametrize("profile", ["paper", "saf"])
def test_without_loss_both_protocols_are_right(profile):
    found = trial(profile, 0.0, 1, cards=3, image=IMAGE)
    assert found.cards == (RIGHT,) * 3
    assert found.seconds < 0.1


def test_loss_hangs_cards_of_the_paper_and_none_of_ours():
    rows = compare([0.003], 2, 8, 300_000)
    paper, ours = rows
    assert paper.counts[HUNG] > 4
    assert paper.jobs_right == 0.0
    assert ours.counts == {RIGHT: 16}
    assert ours.jobs_right == 1.0


def test_repeated_frames_make_the_paper_wrong_without_a_word():
    twice = Impairment(duplicate=0.01)
    rows = compare([0.0], 2, 8, 300_000, besides=twice)
    paper, ours = rows
    assert paper.counts[WRONG] > 0
    assert ours.counts == {RIGHT: 16}


def test_trial_is_the_same_again():
    assert trial("paper", 0.001, 5, cards=4, image=IMAGE) == trial("paper", 0.001, 5, cards=4, image=IMAGE)


def test_command_prints_a_table_and_json():
    runner = CliRunner()
    options = ["--cards", "2", "--loss", "0,0.01", "--trials", "1", "--size", "100kB"]
    table = runner.invoke(command, options)
    assert table.exit_code == 0, table.output
    assert all(f"{name}: {text}" in table.output for name, text in OUTCOMES.items())
    rows = json.loads(runner.invoke(command, [*options, "--json"]).stdout)["rows"]
    assert [(row["loss"], row["profile"]) for row in rows] == [
        (0.0, "paper"), (0.0, "saf"), (0.01, "paper"), (0.01, "saf")]


def test_command_refuses_losses_that_are_none():
    found = CliRunner().invoke(command, ["--loss", "all"])
    assert isinstance(found.exception, ConfigError)
