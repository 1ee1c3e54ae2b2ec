"""The messages of OTLP with the attributes of spans left as bytes: what comes again and again is then read once.

On the wire a message inside another one is bytes with a length, so a field may be declared as either. Everything else,
also what is inside resources, scopes, events and links, is as OpenTelemetry declares it.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from opentelemetry.proto.trace.v1 import trace_pb2

_FILE = "tracewatch/otlp/shallow.proto"
_PACKAGE = "tracewatch.otlp.shallow"
_ONE = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
_MANY = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
_BYTES = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
_ATTRIBUTES = "attributes"


def _copied(source: Any, name: str, inner: dict[str, str]) -> descriptor_pb2.DescriptorProto:
    """A message with the fields of that one; those named in `inner` hold messages of ours."""
    message = descriptor_pb2.DescriptorProto(name=name)
    for each in source.fields:
        field = message.field.add()
        each_proto = descriptor_pb2.DescriptorProto()
        source.CopyToProto(each_proto)
        field.CopyFrom(next(one for one in each_proto.field if one.name == each.name))
        if each.name in inner:
            field.type_name = f".{_PACKAGE}.{inner[each.name]}"
    return message


def _request() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name=_FILE, package=_PACKAGE, syntax="proto3")
    file.dependency.append(trace_pb2.DESCRIPTOR.name)
    file.dependency.extend(each.name for each in trace_pb2.DESCRIPTOR.dependencies)
    span = _copied(trace_pb2.Span.DESCRIPTOR, "Span", {})
    pairs = next(each for each in span.field if each.name == _ATTRIBUTES)
    pairs.type, pairs.label = _BYTES, _MANY
    pairs.ClearField("type_name")
    programs = descriptor_pb2.DescriptorProto(name="Request")
    programs.field.add(
        name="resource_spans", number=1, label=_MANY, type=11, type_name=f".{_PACKAGE}.Program", json_name="programs"
    )
    file.message_type.extend(
        (
            span,
            _copied(trace_pb2.ScopeSpans.DESCRIPTOR, "Scoped", {"spans": "Span"}),
            _copied(trace_pb2.ResourceSpans.DESCRIPTOR, "Program", {"scope_spans": "Scoped"}),
            programs,
        )
    )
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Request"))


Request: Any = _request()
"""ExportTraceServiceRequest, with each attribute of a span as the bytes of its KeyValue."""
