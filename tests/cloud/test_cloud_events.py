"""What happens in a cloud, for whoever watches it: requests, batches, and what devices report of their streams."""

import pytest
from cloud_requests import check_events_of_a_stream, events_until, image_request
from patience import PATIENCE_S

from janus_vit.cloud.metrics import RequestRecord
from janus_vit.cloud.server import Cloud
from janus_vit.cloud.watching.events import EventBuffer
from janus_vit.errors import Rejected
from janus_vit.runtime.grpc_client import GrpcTransport
from janus_vit.wire.answer_check import Outputs
from janus_vit.wire.rpc import STREAM
from janus_vit.wire.stream_report import StreamReport


@pytest.fixture
def profile(make_profile):
    return make_profile(1e-5, model="small")


def test_a_device_tells_how_its_stream_goes_and_every_request_and_batch_is_an_event(model, profile):
    """With ingest processes, too: test_ingest_pool.py."""
    buffer = EventBuffer()
    with Cloud(model, profile, engine="eager", on_event=buffer.add) as cloud:
        check_events_of_a_stream(buffer, model, cloud.port, profile)


def test_a_report_that_cannot_be_read_changes_nothing(model, profile):
    buffer = EventBuffer()
    with Cloud(model, profile, engine="eager", on_event=buffer.add) as cloud:
        transport = GrpcTransport(f"127.0.0.1:{cloud.port}", Outputs(7), metadata=lambda: ((STREAM, b"\xff\xff"),))
        transport.infer(image_request(model), PATIENCE_S)
        transport.close()
        assert not any(isinstance(event, StreamReport) for event in events_until(buffer, RequestRecord))


def test_a_name_that_would_control_a_terminal_is_shown_without_what_does_so(model, profile):
    buffer = EventBuffer()
    with Cloud(model, profile, engine="eager", on_event=buffer.add) as cloud:
        transport = GrpcTransport(f"127.0.0.1:{cloud.port}", Outputs(7))
        with pytest.raises(Rejected, match="field device has characters"):
            transport.infer(image_request(model, device="a\x1b[2J\u202eb\n"), PATIENCE_S)
        transport.close()
        (record,) = [event for event in events_until(buffer, RequestRecord) if isinstance(event, RequestRecord)]
    assert record == RequestRecord("a\ufffd[2J\ufffdb\ufffd", "invalid", record.size_bytes)


def test_a_watcher_that_fails_stops_neither_answers_nor_the_engine(model, profile, caplog):
    def fail(event):
        raise OSError("the disk is full\nand so is the other one")

    with Cloud(model, profile, engine="eager", on_event=fail) as cloud:
        transport = GrpcTransport(f"127.0.0.1:{cloud.port}", Outputs(7))
        for _ in range(2):
            assert transport.infer(image_request(model), PATIENCE_S).answer.classes
        transport.close()
    assert "on_event or on_trace failed: OSError: the disk is full" in caplog.messages  # in one line


def test_a_buffer_that_nobody_reads_keeps_the_newest_events():
    buffer = EventBuffer()
    for number in range(70_000):
        buffer.add(number)
    events = buffer.take()
    assert len(events) == 65_536
    assert events[-1] == 69_999
    assert buffer.take() == []
