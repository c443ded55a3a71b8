"""What the device command shows and writes of a stream: records, the terminal, the summary."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from janus_vit.cli.common.console import milliseconds, plain_table, say
from janus_vit.cli.common.live import StreamView
from janus_vit.records.summary import Summary, Tally
from janus_vit.records.writer import RecordWriter, to_record

if TYPE_CHECKING:
    from rich.console import Console

    from janus_vit.cli.common.show import OverlayWriter
    from janus_vit.live_page.device_feed import DeviceFeed
    from janus_vit.model.catalog import Model
    from janus_vit.model.text.zeroshot import TextVectors
    from janus_vit.planning.outcome import Outcome
    from janus_vit.sources.frames import Sample, Source


class StreamOutput:
    """Everything that is shown or written of a stream.

    Args:
        model: the model, to compare answers with true labels.
        labels: names of the classes.
        threshold: probability from which a label counts as found, for a multi-label model; None for others.
        writer: writes the records; None writes none.
        view: shows the stream on a terminal.
        as_json: True prints each record.
        texts: labels embeddings; None for models without text vectors.
        feed: shows the stream on a page; None shows none.
        shown: writes overlays of dense answers; None writes none.

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
        texts: TextVectors | None,
        feed: DeviceFeed | None,
        shown: OverlayWriter | None = None,
    ) -> None:
        self._model = model
        self._labels = labels
        self._threshold = threshold
        self._writer = writer
        self._as_json = as_json
        self._texts = texts
        self._feed = feed
        self._shown = shown
        self.view = view
        self.tally = Tally()

    def add(self, sample: Sample, outcome: Outcome) -> None:
        """Count, write and show one frame."""
        from janus_vit.sources.streams import true_label

        if self._texts is not None:
            outcome = replace(outcome, answer=self._texts.label(outcome.answer))
        truth = true_label(sample, self._model)
        self.tally.add(outcome, truth)
        if self._writer is not None:
            self._writer.write(outcome, sample.name, truth)
        if self._as_json:
            record = to_record(outcome, self._labels, sample.name, truth, self._threshold)
            print(json.dumps(record), flush=True)
        if self._feed is not None:
            self._feed.add(outcome, sample.name)
        if self._shown is not None:
            self._shown.write(sample, outcome)
        self.view.show(sample.name, outcome)


def print_summary(summary: Summary | None, samples: Source, console: Console) -> None:
    """Print the summary of a stream as a table.

    Args:
        summary: of the stream; None if no frame was run.
        samples: where its frames came from.
        console: where to print.
    """
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
    if summary.discarded_s:
        table.add_row("computed here in vain, a frame", f"{milliseconds(summary.discarded_s)} ms")
    if summary.refused_replies:
        table.add_row("replies that cannot be right", f"{summary.refused_replies}")
    if summary.impossible:
        table.add_row("reports of the cloud that cannot be right", f"{summary.impossible}")
    for what, share in (("right answers", summary.accuracy), ("right and in time", summary.in_time_accuracy)):
        if share is not None:
            table.add_row(what, f"{share:.1%}")
    for kind, share in summary.kinds.items():
        table.add_row(f"sent: {kind}", f"{share:.1%}")
    if samples.skipped:
        table.add_row("images skipped", f"{len(samples.skipped)}")
    console.print(table)
