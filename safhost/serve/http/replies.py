"""A `Reply` as the body of an HTTP response: JSON, behind it the bytes of outputs that go in binary."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

from safhost.serve.http.requests import Outputs
from safhost.serve.service import Service
from safhost.serve.tensors import bytes_of, elements
from safhost.serve.types import Code, Reply, ServeError, Tensor

STATUS = {Code.OK: 200, Code.INTERNAL: 500, Code.NOT_FOUND: 404, Code.UNAVAILABLE: 503, Code.UNIMPLEMENTED: 501,
          Code.UNAUTHENTICATED: 401, Code.PERMISSION_DENIED: 403}
"""What is not here is 400, as the reference server has it."""

_dumps = json.JSONEncoder(separators=(",", ":")).encode
Body = tuple[list[Any], int | None]
"""Parts of a body, and the length of the JSON among them when binary data follow it."""


def body_of(reply: Reply, outputs: Outputs, service: Service, request_id: str) -> Body:
    """Raises the reply's error, or ServeError when an output finds no place."""
    if reply.error is not None:
        raise reply.error
    if outputs.placement is None and not reply.parameters:
        binary, default = outputs.binary, outputs.default_binary
        if all([binary.get(tensor.name, default) for tensor in reply.outputs]):
            return _binary_body(reply, request_id)
    document: dict[str, Any] = {"model_name": reply.model, "model_version": reply.version}
    if request_id:
        document = {"id": request_id, **document}
    if reply.parameters:
        document["parameters"] = reply.parameters
    placed: Any = ([(tensor, None) for tensor in reply.outputs] if outputs.placement is None
                   else service.place(reply, outputs.placement).outputs)
    spans = outputs.placement.spans if outputs.placement is not None else {}
    described = document["outputs"] = []
    parts: list[Any] = [b""]
    for tensor, data in placed:
        entry: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.array.shape)}
        if tensor.name not in spans:
            if outputs.binary.get(tensor.name, outputs.default_binary):
                raw = bytes_of(tensor) if data is None else data
                entry["parameters"] = {"binary_data_size": len(raw)}
                if len(raw):
                    parts.append(raw)
            else:
                entry["data"] = _json_data(tensor)
        described.append(entry)
    text = _dumps(document).encode()
    parts[0] = text
    if outputs.placement is not None and outputs.placement.inputs:
        # what lies in the client's memory is copied now, so that it can be told whether it was there
        parts = [bytes(part) for part in parts]
        outputs.placement.check()
    return parts, len(text) if len(parts) > 1 else None


_KNOWN = 512
_heads: dict[Any, bytes] = {}
"""JSON of answers that are all binary, by what it says: most are alike."""


def _binary_body(reply: Reply, request_id: str) -> Body:
    parts: list[Any] = []
    key: tuple[Any, ...] = (reply.model, reply.version)
    data_bytes = 0
    for tensor in reply.outputs:
        data = bytes_of(tensor)
        parts.append(data)
        data_bytes += len(data)
        key += (tensor.name, tensor.datatype, tensor.array.shape, len(data))
    head = _heads.get(key)
    if head is None:
        head = _dumps({"model_name": reply.model, "model_version": reply.version, "outputs": [
            {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.array.shape),
             "parameters": {"binary_data_size": len(data)}}
            for tensor, data in zip(reply.outputs, parts, strict=True)]}).encode()
        if len(_heads) >= _KNOWN:
            _heads.clear()
        _heads[key] = head
    if request_id:
        head = b'{"id":%b,%b' % (_dumps(request_id).encode(), head[1:])
    return [head, *parts], len(head) if data_bytes else None


def _json_data(tensor: Tensor) -> list[Any]:
    if tensor.datatype in ("FP16", "BF16"):
        raise ServeError(Code.INVALID_ARGUMENT, f"sending {tensor.datatype} data via JSON is not supported. Please use "
                         "the binary data format for output")
    flat = tensor.array.reshape(-1).tolist()
    if tensor.datatype == "BYTES":
        return [item.decode("utf-8", "replace") for item in flat]
    assert len(flat) == elements(tensor.array.shape)
    return flat


def chosen_encoding(accept: str) -> str:
    """Of "gzip", "deflate" and "identity", the one that an Accept-Encoding header likes best."""
    best, weight = "identity", 0.0
    for item in accept.split(","):
        name, _, quality = item.strip().partition(";q=")
        try:
            value = float(quality) if quality else 1.0
        except ValueError:
            continue
        if name in ("identity", "deflate", "gzip") and value > weight:
            best, weight = name, value
    return best


def compressed(data: bytes, encoding: str) -> bytes:
    """``data`` as "gzip" or "deflate" (zlib's form of it, as HTTP means it), fast rather than small."""
    return gzip.compress(data, 1) if encoding == "gzip" else zlib.compress(data, 1)


def decompressed(data: bytes, encoding: str, limit: int) -> bytes:
    """The body of a request; ServeError when it is broken or longer than ``limit``."""
    if encoding not in ("gzip", "deflate"):
        raise ServeError(Code.UNIMPLEMENTED, "Unsupported compression type")
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 32)  # of either form, by its head
    try:
        out = unpack.decompress(data, limit)
    except zlib.error:
        if data[:2] != b"\x1f\x8b" and data[:1] != b"\x78":
            return b""  # not compressed at all: there is nothing in it, as the reference server sees it
        raise ServeError(Code.INTERNAL, "encountered inconsistent stream state during decompression") from None
    if unpack.unconsumed_tail or not unpack.eof:
        why = f"more than {limit} bytes" if unpack.unconsumed_tail else "the end is missing"
        raise ServeError(Code.INVALID_ARGUMENT, f"the request cannot be decompressed: {why}")
    return out


__all__ = ["STATUS", "Body", "body_of", "chosen_encoding", "compressed", "decompressed"]
