"""`janus-vit device`: run a stream of frames within an SLA, with the help of a cloud."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from janus_vit.cli.common.console import (
    StopFlag,
    human_console,
    messages,
    milliseconds,
    say,
    wait_for_signal,
)
from janus_vit.cli.common.live import StreamView
from janus_vit.cli.common.live_pages import check_page_address, device_feed, served
from janus_vit.cli.common.loading import (
    ArchitectureName,
    Head,
    ImageSize,
    Stride,
    Task,
    TextVectorFile,
    Threshold,
    check_source,
    load_engine,
    load_model_for_task,
    load_text_vectors,
    stream_for,
    threshold_for,
)
from janus_vit.cli.common.measure import NO_ACCURACY, read_accuracy, read_or_measure_profile
from janus_vit.cli.common.options import (
    DEFAULT_MODEL,
    DEFAULT_POLICY,
    AccuracyFile,
    AsJson,
    EngineName,
    LateTarget,
    ModelName,
    PageAddress,
    PolicyName,
    Private,
    ProfileFile,
    Sla,
    SourceSpec,
    Threads,
    check_not_input,
    check_positive,
    parse_duration,
    parse_late_target,
    use_threads,
)
from janus_vit.cli.common.responsive import quick_answers
from janus_vit.cli.common.security import (
    CloudCa,
    DeviceCertificate,
    DeviceKey,
    TokenFile,
    channel_credentials,
    device_token,
)
from janus_vit.cli.common.show import OverlayWriter, Show
from janus_vit.cli.common.stream_output import StreamOutput, print_summary
from janus_vit.cli.common.tracing import TraceShare, frame_tracer
from janus_vit.model.engines.registry import AUTO, check_engine
from janus_vit.planning.policies.presets import check_policy
from janus_vit.records.writer import RecordWriter
from janus_vit.runtime.config import DEFAULT_IN_FLIGHT, DeviceConfig, check_in_flight
from janus_vit.runtime.pacing import EveryFrame, NewestFrames, attended, attentive
from janus_vit.wire.addresses import check_address

if TYPE_CHECKING:
    from janus_vit.runtime.device import Device
    from janus_vit.sources.frames import Sample, Source


def device(
    cloud: Annotated[str, typer.Option("--cloud", metavar="HOST:PORT", help="Address of 'janus-vit cloud'.")],
    source: SourceSpec = "builtin",
    sla: Sla = "300ms",
    model: ModelName = DEFAULT_MODEL,
    task: Task = None,
    image_size: ImageSize = None,
    architecture: ArchitectureName = None,
    head: Head = None,
    stride: Stride = None,
    text_vectors: TextVectorFile = None,
    threshold: Threshold = None,
    policy: PolicyName = DEFAULT_POLICY,
    late_target: LateTarget = None,
    profile: ProfileFile = None,
    accuracy: AccuracyFile = None,
    private: Private = False,
    fps: Annotated[
        float | None,
        typer.Option(
            "--fps",
            metavar="F",
            help="At most F frames per second. From a camera: the newest frame, unless it is certain to be late. From "
            "files: every frame. Default: every frame, back to back.",
        ),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option("--frames", metavar="N", min=1, help="Stop after N frames; the built-in frames repeat if needed."),
    ] = None,
    records: Annotated[
        Path | None,
        typer.Option(
            "--records",
            metavar="FILE",
            help="Write one JSON record per frame to this file; the first one replaces what it held.",
        ),
    ] = None,
    in_flight: Annotated[
        int,
        typer.Option("--in-flight", metavar="N", help="Frames at once: while one is in the air, the next is computed."),
    ] = DEFAULT_IN_FLIGHT,
    require_cloud: Annotated[
        bool, typer.Option("--require-cloud", help="Exit if no cloud answers. Default: run alone until one does.")
    ] = False,
    page: PageAddress = None,
    trace_share: TraceShare = 0.0,
    show: Show = None,
    as_json: AsJson = False,
    engine: EngineName = AUTO,
    threads: Threads = None,
    ca: CloudCa = None,
    cert: DeviceCertificate = None,
    key: DeviceKey = None,
    token_file: TokenFile = None,
) -> None:
    """Answer a stream of frames within the SLA, whatever the network does.

    A camera's SLA counts from the time of capture, that of a file from when the
    frame is read. Ctrl-C ends the stream after the current frames and prints the
    summary.

    \b
    Example:    janus-vit device --cloud HOST:50051 --source photos/
    To a pipe:  janus-vit device --cloud HOST:50051 --frames 100 --json
    """
    from janus_vit.runtime.connect import connect

    sla_s = parse_duration(sla, "--sla")
    check_policy(policy)
    accepted = parse_late_target(late_target, policy)
    check_address(cloud)
    check_in_flight(in_flight)
    period_s = None if fps is None else 1 / check_positive(fps, "--fps", "10")
    credentials = channel_credentials(ca, cert, key)
    token = device_token(token_file)
    tracer = frame_tracer(trace_share)
    check_source(source)
    check_engine(engine)
    check_page_address(page)
    use_threads(threads)
    if records is not None:
        check_not_input(records, source, model, profile, accuracy, text_vectors)
    loaded = load_model_for_task(model, task, image_size, architecture, head)
    texts = load_text_vectors(text_vectors, loaded)
    labels = loaded.labels if texts is None else texts.labels
    found_from = threshold_for(loaded, threshold)
    samples = stream_for(loaded, source, stride, frames)
    runner = load_engine(loaded, engine, profile)
    known = read_accuracy(accuracy, loaded, runner.precision)
    shown = None if show is None else OverlayWriter(show, loaded)
    writer = None if records is None else RecordWriter(records, labels, found_from, partial(say, messages()))
    with closing(writer) if writer else nullcontext():
        measured = read_or_measure_profile(profile, loaded, runner, samples)
        console = messages()
        config = DeviceConfig(
            sla_s=sla_s,
            policy=policy,
            late_target=accepted,
            images_allowed=not private,
            in_flight=in_flight,
            credentials=credentials,
            token=token,
            engine=runner,
            accuracy=known,
            require_cloud=require_cloud,
            tracer=tracer,
        )
        with console.status(f"connecting to {cloud}") if console.is_terminal else nullcontext():
            connected = connect(loaded, cloud, measured, config, notify=partial(say, console))
        if known is None and policy == DEFAULT_POLICY:
            say(console, NO_ACCURACY)
        say(console, f"SLA {milliseconds(sla_s)} ms; Ctrl-C ends the stream")
        feed = device_feed(page, config, f"{loaded.name}, cloud {cloud}, policy {policy}", labels, found_from)
        view = StreamView(labels, samples.length, found_from)
        output = StreamOutput(loaded, labels, found_from, writer, view, as_json, texts, feed, shown)
        with quick_answers(), wait_for_signal() as stop:
            stream = _paced(samples, period_s, connected, stop)
            try:
                with tracer or nullcontext(), closing(connected), output.view.shown(), served(feed, page):
                    _run(stream, connected, output)
            finally:  # also if the camera is unplugged
                summary = output.tally.summary(output.tally.frames + stream.dropped)
                print_summary(summary, samples, human_console(as_json))


def _run(stream: Iterable[Sample], connected: Device, output: StreamOutput) -> None:
    """Answer every frame of a stream, also those in flight when it ends or breaks."""
    try:
        for sample in stream:
            connected.submit(sample.frame, sample.captured_s, partial(output.add, sample))
    finally:
        connected.drain()


def _paced(
    samples: Source, period_s: float | None, connected: Device, stop: StopFlag
) -> EveryFrame[Sample] | NewestFrames[Sample]:
    """Choose how a source is run: the newest frames of a camera with a frame rate, every frame of anything else."""
    now, stopped = time.perf_counter, lambda: stop.requested
    wait = attentive(connected, now, stop.wait)
    frames = attended(samples, connected, now, stopped) if samples.live else samples
    if samples.live and period_s is not None:
        return NewestFrames(frames, period_s, connected.skip_if_hopeless, now, wait, stopped)
    return EveryFrame(frames, period_s or 0.0, now, wait, stopped)
