"""SONIC's client: inference as a service, called without waiting (acquire), collected when it is there (produce).

After SONIC of the CMS software (arXiv:1904.08986, arXiv:2007.10359): a module hands its inputs over and the thread
goes on with other work; retries, other servers and at last a local CPU model see to it that an answer comes.

    from safhost import sonic

    client = sonic.Client(["node1:8001", "node2:8001"], "facile", deadline_s=0.5, fallback=my_cpu_model)
    pending = client.acquire({"INPUT": rows})        # returns at once
    ...                                              # other modules of the event
    outputs = pending.produce()                      # or: await pending; or a callback
    outputs["OUTPUT"], outputs.server                # server: None when the local model answered

Needs safhost[serve]. Errors:

    SafError
    └── SonicError        no server and no local model gave an answer; its message tells of every attempt
        └── SonicRefused  a server says that the request itself is wrong: nothing would help
"""

from safhost.sonic.client import Client, Counts
from safhost.sonic.local import onnx_model, xgboost_model
from safhost.sonic.pending import Outputs, Pending
from safhost.sonic.policy import SonicError, SonicRefused
from safhost.sonic.producer import Producer, run

__all__ = ["Client", "Counts", "Outputs", "Pending", "Producer", "SonicError", "SonicRefused", "onnx_model", "run",
           "xgboost_model"]
