"""What the classifier says of a frame is what the reference says: proven, and the proof is seen to fail."""

from __future__ import annotations

import pytest

from tools.rtl.prove import NotProven, prove

FIELDS, JUDGE = "saf_rx_fields_formal", "saf_rx_judge_formal"


@pytest.mark.parametrize("top", [FIELDS, JUDGE])
def test_classifier_s_verdict_is_proven(top):
    prove(top)


@pytest.mark.slow
@pytest.mark.parametrize(("top", "old", "new"), [
    (FIELDS, "mac_rx_data_i[63:16] == cfg_i.mac0", "mac_rx_data_i[63:24] == cfg_i.mac0[47:8]"),
    (FIELDS, "vlan_ours_q <= tagged_vlan_q && ", "vlan_ours_q <= "),
    (FIELDS, "last_q <= take && mac_rx_eop_i && !mac_rx_error_i", "last_q <= take && mac_rx_eop_i"),
    (JUDGE, "if (!own_q && !bcast_q) drop_o", "if (!own_q) drop_o"),
    (JUDGE, "(etype_q != EtNone && size_q >= 14'd14)", "(size_q >= 14'd14)"),
    (JUDGE, "17'(size_q) > wanted_q && size_q > MinFrameSize", "17'(size_q) > wanted_q && size_q >= MinFrameSize"),
    (JUDGE, "else if (!is_data && !belongs_q)", "else if (!is_data && belongs_q)"),
])
def test_classifier_s_proof_of_a_wrong_design_fails(top, old, new):
    with pytest.raises(NotProven, match="proof did fail"):
        prove(top, {"saf_rx_parse.sv": (old, new)}, max_steps=2)
