"""The trace that a call belongs to, where the app traces at all."""

import sys
from typing import Protocol, cast


class _SpanContext(Protocol):
    trace_id: int
    span_id: int
    trace_flags: int
    is_valid: bool


class _Span(Protocol):
    def get_span_context(self) -> _SpanContext: ...


class _Trace(Protocol):
    def get_current_span(self) -> _Span: ...


def traceparent() -> str | None:
    """Return the W3C trace context of the current span; None where nobody traces.

    OpenTelemetry is looked up, not imported: it is optional, and an app that uses it has loaded it.
    """
    module = sys.modules.get("opentelemetry.trace")
    if module is None:
        return None
    span = cast("_Trace", module).get_current_span().get_span_context()
    if not span.is_valid:
        return None
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"
