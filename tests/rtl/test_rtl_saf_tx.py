"""The transmit path: frames as the codec makes them, in order and without gaps."""

from __future__ import annotations

import pytest
import rtlsim


@pytest.mark.parametrize("part", ["mixed_traffic", "every_payload|waiting_messages|answers_of|data_frames_at",
                                  "slow_mac|link_down|frames_waiting|reset_in"])
def test_saf_tx_frames_equal_the_codecs(part):
    rtlsim.run_cocotb("saf_tx", tb="tb_saf_tx", public_depth=1, parameters={"NumMsg": 4}, testcase=part)
