"""`janus-vit device`: run a stream of frames within the SLA, with the help of a cloud."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from janus_vit.cli.common.console import Stop, human_console, messages, milliseconds, plain_table, say, wait_for_signal
from janus_vit.cli.common.live import StreamView
from janus_vit.cli.common.loading import (
    ImageSize,
    Stride,
    Task,
    TextVectorFile,
    check_source,
    load,
    load_engine,
    read_texts,
    stream_for,
)
from janus_vit.cli.common.measure import NO_ACCURACY, read_accuracy, read_or_measure
from janus_vit.cli.common.options import (
    DEFAULT_MODEL,
    DEFAULT_POLICY,
    AccuracyFile,
    AsJson,
    EngineName,
    ModelName,
    PolicyName,
    Private,
    ProfileFile,
    Sla,
    SourceSpec,
    Threads,
    check_positive,
    parse_duration,
    read_bytes,
    use_threads,
)
from janus_vit.errors import InputError
from janus_vit.model.engines.registry import AUTO, check_engine
from janus_vit.planning.policies.presets import check_policy

if TYPE_CHECKING:
    import grpc
    from rich.console import Console

    from janus_vit.records.summary import Summary
    from janus_vit.sources.frames import Sample, Source


def device(
    cloud: Annotated[str, typer.Option("--cloud", metavar="HOST:PORT", help="Where the command cloud serves.")],
    source: SourceSpec = "builtin",
    sla: Sla = "300ms",
    model: ModelName = DEFAULT_MODEL,
    task: Task = None,
    image_size: ImageSize = None,
    stride: Stride = 4,
    text_vectors: TextVectorFile = None,
    policy: PolicyName = DEFAULT_POLICY,
    profile: ProfileFile = None,
    accuracy: AccuracyFile = None,
    private: Private = False,
    fps: Annotated[
        float | None, typer.Option("--fps", metavar="F", help="Begin F frames a second at most; default: back to back.")
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option("--frames", metavar="N", min=1, help="Stop after N; the built-in frames start again if fewer."),
    ] = None,
    records: Annotated[
        Path | None, typer.Option("--records", metavar="FILE", help="Write one JSON record a frame to this file.")
    ] = None,
    as_json: AsJson = False,
    engine: EngineName = AUTO,
    threads: Threads = None,
    tls_ca: Annotated[
        Path | None, typer.Option("--tls-ca", metavar="FILE", help="Certificates (PEM) to trust; connects with TLS.")
    ] = None,
) -> None:
    """Answer a stream of frames within the SLA, whatever the network does.

    Ctrl-C ends the stream after the present frame; the summary follows.

    \b
    Example:    janus-vit device --cloud HOST:50051 --source photos/
    To a pipe:  janus-vit device --cloud HOST:50051 --frames 100 --json
    """
    from janus_vit.records.summary import Tally
    from janus_vit.records.writer import RecordWriter, to_record
    from janus_vit.runtime.connect import connect
    from janus_vit.runtime.grpc_client import check_address
    from janus_vit.sources.streams import true_label

    sla_s = parse_duration(sla, "--sla")
    check_policy(policy)
    check_address(cloud)
    interval_s = 0.0 if fps is None else 1 / check_positive(fps, "--fps", "10")
    credentials = _credentials(tls_ca)
    check_source(source)
    check_engine(engine)
    use_threads(threads)
    loaded = load(model, task, image_size)
    texts = read_texts(text_vectors, loaded)
    labels = loaded.labels if texts is None else texts.labels
    samples = stream_for(loaded, source, stride, frames)
    runner = load_engine(loaded, engine)
    known = read_accuracy(accuracy, loaded, runner.precision)
    writer = None if records is None else RecordWriter(records, labels)
    measured = read_or_measure(profile, loaded, runner, samples)
    console = messages()
    with console.status(f"connecting to {cloud}") if console.is_terminal else nullcontext():
        connected = connect(
            loaded, cloud, sla_s, measured, policy, not private, credentials=credentials, accuracy=known, engine=runner
        )
    if known is None and policy == DEFAULT_POLICY:
        say(console, NO_ACCURACY)
    say(console, f"connected to {cloud}, SLA {milliseconds(sla_s)} ms; Ctrl-C ends the stream")
    view = StreamView(labels, samples.length)
    tally = Tally()
    with wait_for_signal() as stop:
        try:
            with closing(connected), closing(writer) if writer else nullcontext(), view.shown():
                for sample in _paced(samples, interval_s, stop):
                    outcome = connected.infer(sample.frame)
                    if texts is not None:
                        outcome = replace(outcome, answer=texts.label(outcome.answer))
                    tally.add(outcome, true_label(sample, loaded))
                    if writer is not None:
                        writer.write(outcome, sample.name, true_label(sample, loaded))
                    if as_json:
                        record = to_record(outcome, labels, sample.name, true_label(sample, loaded))
                        print(json.dumps(record), flush=True)
                    view.show(sample.name, outcome)
        finally:  # also when the camera is pulled out
            _print_summary(tally.summary(), samples, human_console(as_json))


def _paced(samples: Source, interval_s: float, stop: Stop) -> Iterator[Sample]:
    """Samples, each fetched no earlier than its turn, until there are no more or somebody stops."""
    began_s, following = time.perf_counter(), iter(samples)
    for number in count():
        stop.wait(max(0.0, began_s + number * interval_s - time.perf_counter()))
        sample = None if stop.asked else next(following, None)
        if sample is None:
            return
        yield sample


def _print_summary(summary: Summary | None, samples: Source, console: Console) -> None:
    if summary is None:
        say(console, "no frame was run")
        return
    table = plain_table("summary", "")
    table.add_row("frames", f"{summary.frames}")
    table.add_row("over the SLA", f"{summary.violation_ratio:.1%}")
    for what, seconds in (("mean", summary.mean_s), ("median", summary.median_s), ("99th percentile", summary.p99_s)):
        table.add_row(f"latency, {what}", f"{milliseconds(seconds)} ms")
    table.add_row("throughput", f"{summary.throughput_fps:.3g} frames/s")
    table.add_row("fallbacks to the device", f"{summary.fallbacks}")
    for what, share in (("right answers", summary.accuracy), ("right and in time", summary.in_time_accuracy)):
        if share is not None:
            table.add_row(what, f"{share:.1%}")
    for kind, share in summary.kinds.items():
        table.add_row(f"sent: {kind}", f"{share:.1%}")
    if samples.skipped:
        table.add_row("images skipped", f"{len(samples.skipped)}")
    console.print(table)


def _credentials(tls_ca: Path | None) -> grpc.ChannelCredentials | None:
    import grpc

    if tls_ca is None:
        return None
    trusted = read_bytes(tls_ca)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(tls_ca)
    except ssl.SSLError as error:
        raise InputError(f"{tls_ca}: holds no certificate in PEM form: check the file") from error
    return grpc.ssl_channel_credentials(trusted)
