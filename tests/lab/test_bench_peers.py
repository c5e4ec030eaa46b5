"""The peers' arena on real interfaces: receivers have a network of their own, programs deliver, blast counts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from safhost.bench.peer_server import PeerServer
from safhost.bench.peers import PEERS
from safhost.errors import LinkError

pytestmark = pytest.mark.lab
RECEIVERS = 2


def _file(folder: Path) -> Path:
    path = folder / "file"
    path.write_bytes(os.urandom(300_001))
    return path


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.skipif(
        not all(map(shutil.which, peer.programs)), reason=f"optional peer: apt install {peer.package}"))
    for name, peer in PEERS.items()])
def test_peer_delivers_the_file_to_every_receiver(name: str, tmp_path: Path) -> None:
    with PeerServer(RECEIVERS, 1500, tmp_path) as server:
        result = server.run_peer(name, PEERS[name].settings(1500)[0], _file(tmp_path))
    assert "failure" not in result
    assert result["verified"] == RECEIVERS
    assert result["seconds"] > 0
    assert not list((tmp_path / "received").iterdir())


def test_blast_reaches_every_ring_without_loss(tmp_path: Path) -> None:
    with PeerServer(RECEIVERS, 1500, tmp_path) as server:
        result = server.run_blast(_file(tmp_path), 1, 1472, 8 << 20, 20e6)
    assert result["lost"] == 0
    assert result["bytes"] == 300_000
    assert result["frames_sent"] == -(-300_000 // 1472)
    assert result["seconds"] > 0


def test_blast_says_how_many_frames_a_small_ring_lost(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(8_000_000))
    with PeerServer(RECEIVERS, 1500, tmp_path) as server:
        result = server.run_blast(path, 0, 64, 1 << 16, 0.0)
    assert result["frames_sent"] == 125_000
    assert result["lost"] == result["drops"]
    assert (result["seconds"] is None) == (result["lost"] > 0)


def test_too_many_receivers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="300 receivers"), PeerServer(300, 1500, tmp_path):
        pass
