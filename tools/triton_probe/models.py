"""The model repository of the probe, for Triton's Python backend and for our identity backend.

Both get the same config.pbtxt but for the backend line. Outputs are the inputs of the same position. The parameter
`delay_us` makes an execution take that long, so that queues fill.
"""

from __future__ import annotations

from pathlib import Path

PYTHON_MODEL = '''\
import json
import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.names = [(i["name"], o["name"]) for i, o in zip(config["input"], config["output"])]
        self.delay_s = int(config.get("parameters", {}).get("delay_us", {}).get("string_value", 0)) / 1e6

    def execute(self, requests):
        if self.delay_s:
            time.sleep(self.delay_s)
        replies = []
        for request in requests:
            outputs = []
            for source, target in self.names:
                if target in request.requested_output_names():
                    tensor = pb_utils.get_input_tensor_by_name(request, source)
                    outputs.append(pb_utils.Tensor(target, tensor.as_numpy()))
            replies.append(pb_utils.InferenceResponse(outputs))
        return replies
'''


def tensor(name: str, datatype: str, dims: str, extra: str = "") -> str:
    return f'{{ name: "{name}" data_type: TYPE_{datatype} dims: [ {dims} ] {extra} }}'


def pair(datatype: str = "FP32", dims: str = "4", extra: str = "") -> str:
    return f'input [ {tensor("IN", datatype, dims)} ]\noutput [ {tensor("OUT", datatype, dims, extra)} ]\n'


ONE = "instance_group [ { count: 1 kind: KIND_CPU } ]\n"
MODELS: dict[str, str] = {
    "plain": "max_batch_size: 8\n" + pair() + ONE,
    "loose": "max_batch_size: 8\n" + pair(dims="-1") + ONE,
    "single": "max_batch_size: 0\n" + pair(dims="2, 3") + ONE,
    "text": "max_batch_size: 8\n" + pair("STRING", "2") + ONE,
    "many": "max_batch_size: 4\n"
            f'input [ {tensor("A", "INT32", "2")}, {tensor("B", "UINT8", "3")}, {tensor("C", "BOOL", "1")} ]\n'
            f'output [ {tensor("X", "INT32", "2")}, {tensor("Y", "UINT8", "3")}, {tensor("Z", "BOOL", "1")} ]\n' + ONE,
    "wide": "max_batch_size: 4\n"
            f'input [ {tensor("A", "INT64", "2")}, {tensor("B", "FP64", "2")}, {tensor("C", "FP16", "2")} ]\n'
            f'output [ {tensor("X", "INT64", "2")}, {tensor("Y", "FP64", "2")}, {tensor("Z", "FP16", "2")} ]\n' + ONE,
    "ranked": "max_batch_size: 8\n" + pair(extra='label_filename: "labels.txt"') + ONE,
    "grouped": "max_batch_size: 8\n" + pair() + ONE +
               "dynamic_batching { preferred_batch_size: [ 4 ] max_queue_delay_microseconds: 1000 }\n",
    "busy": "max_batch_size: 1\n" + pair() + ONE + 'parameters { key: "delay_us" value { string_value: "300000" } }\n'
            "dynamic_batching { default_queue_policy { timeout_action: REJECT allow_timeout_override: true "
            "default_timeout_microseconds: 10000000 max_queue_size: 2 } }\n",
    "ordered": "max_batch_size: 1\n" + pair() + ONE +
               'parameters { key: "delay_us" value { string_value: "150000" } }\n'
               "dynamic_batching { priority_levels: 3 default_priority_level: 2 "
               "default_queue_policy { timeout_action: REJECT allow_timeout_override: true } }\n",
    "series": "max_batch_size: 4\n" + pair() + ONE +
              "sequence_batching { max_sequence_idle_microseconds: 60000000 direct { } }\n",
    "versions": "max_batch_size: 8\n" + pair() + ONE + "version_policy { specific { versions: [ 1, 3 ] } }\n",
    "spare": "max_batch_size: 8\n" + pair() + ONE,
}
"""Name to config.pbtxt without name and backend. All but `spare` are loaded at the start."""

WARMUP = {"four": bytes(16), "long": bytes(24), "short": bytes(3), "text": b"\x02\0\0\0ab\x01\0\0\0c"}
"""Files of `spare` for warm-up by name."""

BROKEN = 'name: "broken"\nmax_batch_size: 8\ninput [ { name: "IN" data_type: TYPE_FP99 dims: [ 4 ] } ]\n'


def write(folder: Path, backend: str) -> Path:
    """Fill ``folder`` for ``backend`` ("python": Triton's, or "identity": ours) and return it."""
    for name, config in MODELS.items():
        model = folder / name
        for version in (1, 2, 3) if name == "versions" else (1,):
            (model / str(version)).mkdir(parents=True, exist_ok=True)
            if backend == "python":
                (model / str(version) / "model.py").write_text(PYTHON_MODEL)
        (model / "config.pbtxt").write_text(f'name: "{name}"\nbackend: "{backend}"\n{config}')
    (folder / "ranked/labels.txt").write_text("up\ndown\nleft\nright\n")
    warmup = folder / "spare/warmup"
    warmup.mkdir(exist_ok=True)
    for name, content in WARMUP.items():
        (warmup / name).write_bytes(content)
    (folder / "broken/1").mkdir(parents=True, exist_ok=True)
    (folder / "broken/config.pbtxt").write_text(BROKEN)
    (folder / "nothing").mkdir(exist_ok=True)
    return folder
