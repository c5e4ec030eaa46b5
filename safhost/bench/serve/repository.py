"""The identity model for each server: outputs are inputs, so that what is measured is the server.

The same shapes everywhere: `small` is the 15 FP32 of a trigger cell, `facile` FACILE's 18 FP32 a row with batches up to
16,000, `alone` and `grouped` take a fixed time an execution, without and with dynamic batching.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

EXECUTION_US = 400
"""What an execution of `alone` and `grouped` takes, whatever its batch: as a card's start and wait do."""

MAX_BATCH = 16_000


@dataclass(frozen=True, slots=True)
class Shape:
    """A model: rows of ``width`` FP32, or UINT8."""

    name: str
    width: int
    max_batch: int = MAX_BATCH
    extra: str = ""
    datatype: str = "FP32"


_DELAY = f'parameters {{ key: "delay_us" value {{ string_value: "{EXECUTION_US}" }} }}\n'
SMALL = Shape("small", 15)
FACILE = Shape("facile", 18)
ALONE = Shape("alone", 15, 16, _DELAY)
GROUPED = Shape("grouped", 15, 16, _DELAY + "dynamic_batching { max_queue_delay_microseconds: 100 }\n")
SHAPES = (SMALL, FACILE, ALONE, GROUPED)

TRITON_MODEL = '''\
import json
import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.delay_s = int(config.get("parameters", {}).get("delay_us", {}).get("string_value", 0)) / 1e6

    def execute(self, requests):
        if self.delay_s:
            time.sleep(self.delay_s)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", pb_utils.get_input_tensor_by_name(
            request, "INPUT").as_numpy())]) for request in requests]
'''

MLSERVER_MODEL = '''\
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Identity(MLModel):
    async def load(self) -> bool:
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        given = payload.inputs[0]
        return InferenceResponse(model_name=self.name, outputs=[ResponseOutput(
            name="OUTPUT", shape=given.shape, datatype=given.datatype, data=given.data, parameters=given.parameters)])
'''

KSERVE_SERVER = '''\
import sys

import kserve
from kserve import InferOutput, InferResponse


class Identity(kserve.Model):
    def __init__(self, name):
        super().__init__(name)
        self.ready = True

    def predict(self, payload, headers=None, response_headers=None):
        given = payload.inputs[0]
        output = InferOutput("OUTPUT", given.shape, given.datatype)
        output.set_data_from_numpy(given.as_numpy(), binary_data=True)
        return InferResponse(payload.id, self.name, [output])


if __name__ == "__main__":
    http_port, grpc_port, *names = sys.argv[1:]
    kserve.ModelServer(http_port=int(http_port), grpc_port=int(grpc_port), workers=1, enable_latency_logging=False,
                       access_log_format=None).start([Identity(name) for name in names])
'''


def write_triton(folder: Path, backend: str) -> Path:
    """Triton's layout, for its Python backend ("python") or our identity backend ("identity")."""
    for shape in SHAPES:
        version = folder / shape.name / "1"
        version.mkdir(parents=True, exist_ok=True)
        (folder / shape.name / "config.pbtxt").write_text(
            f'name: "{shape.name}"\nbackend: "{backend}"\nmax_batch_size: {shape.max_batch}\n'
            f'input [ {{ name: "INPUT" data_type: TYPE_FP32 dims: [ {shape.width} ] }} ]\n'
            f'output [ {{ name: "OUTPUT" data_type: TYPE_FP32 dims: [ {shape.width} ] }} ]\n'
            f'instance_group [ {{ count: 1 kind: KIND_CPU }} ]\n{shape.extra}')
        if backend == "python":
            (version / "model.py").write_text(TRITON_MODEL)
    return folder


def write_mlserver(folder: Path, grpc_port: int, http_port: int, metrics_port: int) -> Path:
    """MLServer's layout: settings, a folder a model; models run in the server's own process, which is its fastest."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text(json.dumps({
        "host": "127.0.0.1", "http_port": http_port, "grpc_port": grpc_port, "metrics_port": metrics_port,
        "parallel_workers": 0, "grpc_max_message_length": 1 << 30, "debug": False}))
    (folder / "identity.py").write_text(MLSERVER_MODEL)
    for shape in (SMALL, FACILE):
        (folder / shape.name).mkdir(exist_ok=True)
        (folder / shape.name / "model-settings.json").write_text(json.dumps(
            {"name": shape.name, "implementation": "identity.Identity"}))
    return folder


def write_kserve(folder: Path) -> Path:
    """The script that KServe's server is started with."""
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "serve_identity.py"
    script.write_text(KSERVE_SERVER)
    return script
