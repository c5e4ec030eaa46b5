"""The BLAKE2s unit against hashlib, safhost.wire.digest and safhost.wire.auth."""

from __future__ import annotations

import pytest
import rtlsim

TOP, TB = "crypto_probe", "tb_saf_crypto"


@pytest.mark.parametrize("testcase", ["hash_", "keys_|tag_|guard_|leaf_lengths|root_over|jobs_",
                                      "all_at_once|reset_|digests_"])
def test_crypto_clients_and_jobs_agree_with_hashlib(testcase):
    rtlsim.run_cocotb(TOP, tb=TB, testcase=testcase, public_depth=1)


def test_crypto_largest_leaves_and_root_keep_pace():
    rtlsim.run_cocotb(TOP, tb=TB, testcase="leaf_largest|root_largest", public_depth=1)
