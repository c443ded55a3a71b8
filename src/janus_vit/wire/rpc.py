"""Method names and settings that both ends of the gRPC connection share. Imports no gRPC."""

from __future__ import annotations

SERVICE = "janus.v1.Janus"
HELLO = f"/{SERVICE}/Hello"
INFER = f"/{SERVICE}/Infer"
PROBE = f"/{SERVICE}/Probe"
LARGEST_PROBE_BYTES = 1_000_000
EXPECTED_WAIT = "janus-expected-wait-s"  # trailing metadata of a refusal, in seconds
MESSAGE_BYTES = "janus-message-bytes"  # metadata of a call: size of its message
TRACE = "traceparent"  # metadata of a request, W3C Trace Context
STREAM = "janus-stream-bin"  # metadata of a call, a serialised StreamReport
PRICE = "janus-price-bin"  # trailing metadata of a refusal, a serialised Price; "-bin" marks bytes

CONNECTION = [
    ("grpc.keepalive_time_ms", 10_000),  # a mobile link can disappear without closing the connection
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.bdp_probe", 0),  # pings that would size the window; the server's holds the largest payload
    # Neither end compresses messages. One megabyte can hold a gigabyte, which gRPC before 1.84 unpacks as a whole.
    ("grpc.per_message_decompression", 0),
]
