"""`janus-vit device`: run a stream of frames within an SLA, with the help of a cloud."""

from __future__ import annotations

import json
import time
from contextlib import closing, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from janus_vit.cli.common.console import (
    StopFlag,
    human_console,
    messages,
    milliseconds,
    plain_table,
    say,
    wait_for_signal,
)
from janus_vit.cli.common.live import StreamView
from janus_vit.cli.common.live_pages import check_page_address, device_feed, served
from janus_vit.cli.common.loading import (
    ArchitectureName,
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
    ModelName,
    PageAddress,
    PolicyName,
    Private,
    ProfileFile,
    Sla,
    SourceSpec,
    Threads,
    check_positive,
    parse_duration,
    use_threads,
)
from janus_vit.cli.common.security import (
    CloudCa,
    DeviceCertificate,
    DeviceKey,
    TokenFile,
    channel_credentials,
    device_token,
)
from janus_vit.model.engines.registry import AUTO, check_engine
from janus_vit.planning.policies.presets import check_policy
from janus_vit.records.summary import Summary, Tally
from janus_vit.records.writer import RecordWriter, to_record
from janus_vit.runtime.config import DeviceConfig
from janus_vit.runtime.pacing import EveryFrame, NewestFrames

if TYPE_CHECKING:
    from rich.console import Console

    from janus_vit.live_page.device_feed import DeviceFeed
    from janus_vit.model.catalog import Model
    from janus_vit.planning.outcome import Outcome
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
    stride: Stride = 4,
    text_vectors: TextVectorFile = None,
    threshold: Threshold = None,
    policy: PolicyName = DEFAULT_POLICY,
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
        Path | None, typer.Option("--records", metavar="FILE", help="Write one JSON record per frame to this file.")
    ] = None,
    require_cloud: Annotated[
        bool, typer.Option("--require-cloud", help="Exit if no cloud answers. Default: run alone until one does.")
    ] = False,
    page: PageAddress = None,
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
    frame is read. Ctrl-C ends the stream after the current frame and prints the
    summary.

    \b
    Example:    janus-vit device --cloud HOST:50051 --source photos/
    To a pipe:  janus-vit device --cloud HOST:50051 --frames 100 --json
    """
    from janus_vit.runtime.connect import connect
    from janus_vit.runtime.grpc_client import check_address

    sla_s = parse_duration(sla, "--sla")
    check_policy(policy)
    check_address(cloud)
    period_s = None if fps is None else 1 / check_positive(fps, "--fps", "10")
    credentials = channel_credentials(ca, cert, key)
    token = device_token(token_file)
    check_source(source)
    check_engine(engine)
    check_page_address(page)
    use_threads(threads)
    loaded = load_model_for_task(model, task, image_size, architecture)
    texts = load_text_vectors(text_vectors, loaded)
    labels = loaded.labels if texts is None else texts.labels
    found_from = threshold_for(loaded, threshold)
    samples = stream_for(loaded, source, stride, frames)
    runner = load_engine(loaded, engine, profile)
    known = read_accuracy(accuracy, loaded, runner.precision)
    writer = None if records is None else RecordWriter(records, labels, found_from, partial(say, messages()))
    measured = read_or_measure_profile(profile, loaded, runner, samples)
    console = messages()
    config = DeviceConfig(
        sla_s=sla_s,
        policy=policy,
        images_allowed=not private,
        credentials=credentials,
        token=token,
        engine=runner,
        accuracy=known,
        require_cloud=require_cloud,
    )
    with console.status(f"connecting to {cloud}") if console.is_terminal else nullcontext():
        connected = connect(loaded, cloud, measured, config, notify=partial(say, console))
    if known is None and policy == DEFAULT_POLICY:
        say(console, NO_ACCURACY)
    say(console, f"SLA {milliseconds(sla_s)} ms; Ctrl-C ends the stream")
    feed = device_feed(page, config, f"{loaded.name}, cloud {cloud}, policy {policy}", labels, found_from)
    output = _Output(loaded, labels, found_from, writer, StreamView(labels, samples.length, found_from), as_json, feed)
    with wait_for_signal() as stop:
        stream = _paced(samples, period_s, connected, stop)
        try:
            with (
                closing(connected),
                closing(writer) if writer else nullcontext(),
                output.view.shown(),
                served(feed, page),
            ):
                for sample in stream:
                    outcome = connected.infer(sample.frame, sample.captured_s)
                    if texts is not None:
                        outcome = replace(outcome, answer=texts.label(outcome.answer))
                    output.add(sample, outcome)
        finally:  # also if the camera is unplugged
            summary = output.tally.summary(output.tally.frames + stream.dropped)
            _print_summary(summary, samples, human_console(as_json))


def _paced(
    samples: Source, period_s: float | None, connected: Device, stop: StopFlag
) -> EveryFrame[Sample] | NewestFrames[Sample]:
    """Choose how a source is run: the newest frames of a camera with a frame rate, every frame of anything else."""
    now, wait = time.perf_counter, stop.wait
    if samples.live and period_s is not None:
        skip = connected.skip_if_hopeless
        return NewestFrames(samples, period_s, skip, now=now, wait=wait, stopped=lambda: stop.requested)
    return EveryFrame(samples, period_s or 0.0, now=now, wait=wait, stopped=lambda: stop.requested)


class _Output:
    """Everything that is shown or written of a stream.

    Args:
        model: the model, to compare answers with true labels.
        labels: names of the classes.
        threshold: probability from which a label counts as found, for a multi-label model; None for others.
        writer: writes the records; None writes none.
        view: shows the stream on a terminal.
        as_json: True prints each record.
        feed: shows the stream on a page; None shows none.

    Attributes:
        view: shows the stream on a terminal.
        tally: counts the frames.
    """

    def __init__(
        self,
        model: Model,
        labels: tuple[str, ...],
        threshold: float | None,
        writer: RecordWriter | None,
        view: StreamView,
        as_json: bool,
        feed: DeviceFeed | None,
    ) -> None:
        self._model = model
        self._labels = labels
        self._threshold = threshold
        self._writer = writer
        self._as_json = as_json
        self._feed = feed
        self.view = view
        self.tally = Tally()

    def add(self, sample: Sample, outcome: Outcome) -> None:
        """Count, write and show one frame."""
        from janus_vit.sources.streams import true_label

        truth = true_label(sample, self._model)
        self.tally.add(outcome, truth)
        if self._writer is not None:
            self._writer.write(outcome, sample.name, truth)
        if self._as_json:
            record = to_record(outcome, self._labels, sample.name, truth, self._threshold)
            print(json.dumps(record), flush=True)
        if self._feed is not None:
            self._feed.add(outcome, sample.name)
        self.view.show(sample.name, outcome)


def _print_summary(summary: Summary | None, samples: Source, console: Console) -> None:
    if summary is None:
        say(console, "no frame was run")
        return
    table = plain_table("summary", "")
    table.add_row("frames", f"{summary.frames}")
    if summary.taken > summary.frames:
        table.add_row("frames dropped or skipped", f"{summary.taken - summary.frames}")
    table.add_row("over the SLA", f"{summary.violation_ratio:.1%}")
    for what, seconds in (("mean", summary.mean_s), ("median", summary.median_s), ("99th percentile", summary.p99_s)):
        table.add_row(f"latency, {what}", f"{milliseconds(seconds)} ms")
    table.add_row("throughput", f"{summary.throughput_fps:.3g} frames/s")
    table.add_row("fallbacks to the device", f"{summary.fallbacks}")
    if summary.refused_replies:
        table.add_row("replies that cannot be right", f"{summary.refused_replies}")
    for what, share in (("right answers", summary.accuracy), ("right and in time", summary.in_time_accuracy)):
        if share is not None:
            table.add_row(what, f"{share:.1%}")
    for kind, share in summary.kinds.items():
        table.add_row(f"sent: {kind}", f"{share:.1%}")
    if samples.skipped:
        table.add_row("images skipped", f"{len(samples.skipped)}")
    console.print(table)
