"""What the server knows as JSON documents, with numbers as numbers (protobuf's own JSON writes 64-bit ones as text)."""

from __future__ import annotations

from typing import Any

from safhost.serve.types import IndexEntry, ModelMetadata, TensorSpec


def document_of(message: Any) -> dict[str, Any]:
    """``message`` as the reference server writes it: all plain fields, messages that are set, enums by name."""
    out: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            of_messages = field.message_type.fields_by_name["value"].message_type is not None
            out[field.name] = {key: document_of(value[key]) if of_messages else value[key] for key in value}
        elif field.is_repeated:
            out[field.name] = [_value_of(field, each) for each in value]
        elif not field.has_presence or message.HasField(field.name):
            out[field.name] = _value_of(field, value)
    return out


def _value_of(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return document_of(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known is not None else value
    return value


def statistics_of(rows: list[Any]) -> dict[str, Any]:
    """The statistics of models; every duration is written, also one that counts nothing yet."""
    return {"model_stats": [_complete(row) for row in rows]}


def _complete(row: Any) -> dict[str, Any]:
    out = document_of(row)
    stats = row.inference_stats
    out["inference_stats"] = {field.name: document_of(getattr(stats, field.name)) for field in stats.DESCRIPTOR.fields}
    for batch, written in zip(row.batch_stats, out["batch_stats"], strict=True):
        for name in ("compute_input", "compute_infer", "compute_output"):
            written[name] = document_of(getattr(batch, name))
    return out


def metadata_of(found: ModelMetadata) -> dict[str, Any]:
    return {"name": found.name, "versions": list(found.versions), "platform": found.platform,
            "inputs": [_spec(each) for each in found.inputs], "outputs": [_spec(each) for each in found.outputs]}


def _spec(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def index_of(entries: list[IndexEntry]) -> list[dict[str, str]]:
    """Only what an entry has: a model that was never loaded has no version and no state."""
    return [{"name": entry.name, **{name: getattr(entry, name) for name in ("version", "state", "reason")
                                    if getattr(entry, name)}} for entry in entries]


__all__ = ["document_of", "index_of", "metadata_of", "statistics_of"]
