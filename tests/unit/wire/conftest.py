"""The normative vectors, read once a session."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "protocols" / "vectors"


def read_vectors(name):
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def frames():
    return read_vectors("frames.json")


@pytest.fixture(scope="session")
def paper_frames():
    return read_vectors("paper.json")["frames"]


@pytest.fixture(scope="session")
def malformed():
    return read_vectors("malformed.json")["frames"]


@pytest.fixture(scope="session")
def sequences():
    return read_vectors("sequences.json")["sequences"]


@pytest.fixture(scope="session")
def crypto():
    return read_vectors("crypto.json")


@pytest.fixture(scope="session")
def write_pcap():
    """Write frames into a classic pcap file, one a second."""
    import struct

    def write(path, raws):
        with open(path, "wb") as out:
            out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
            for second, raw in enumerate(raws):
                out.write(struct.pack("<IIII", second, 0, len(raw), len(raw)) + raw)

    return write
