"""Compare every policy on every network, beyond the paper's evaluation, with the oracle as the upper bound.

    python benchmarks/honest.py [--traces DIR] [--runs DIR] [--seconds 60] [--out FOLDER]

Simulates the paper's image model on its published machines, with published or assumed accuracy (both from
`scripts/fit_platforms.py`). Links are all traces of DIR and one of each generated scenario; --runs adds the 140 runs of
the paper's dataset. The camera's period is the SLA; the newest frame is run, and a dropped frame counts as late.
"oracle" knows the future of the link. "best-fixed" is the one plan that would have been best for the whole stream.
Writes honest.html, honest.md and honest.csv to FOLDER (default build/).
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import numpy as np
from _common import print_json
from _markdown import markdown

from janus_vit.links.trace_files import read_trace
from janus_vit.links.traces import Trace
from janus_vit.report.comparison import TIE, accuracy_over_latency, overall, per_link
from janus_vit.report.heatmap import Choice, heatmap
from janus_vit.report.page import Section, Table, write_page
from janus_vit.reproduction.extended import (
    OPEN_POLICIES,
    PLAN_KINDS,
    Setting,
    best_of_each_kind,
    generated_links,
    sweeps,
)
from janus_vit.simulation.compare import Score, run_cases, score
from janus_vit.simulation.results import PAYLOAD_KINDS

Scores = dict[tuple[Setting, str, str], Score]  # setting, policy, link
MAP_SLAS_S = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
MAP_DEVICES = (0.1, 0.3, 1.0, 3.0, 10.0)


def simulate_all(settings: Sequence[Setting], links: Sequence[Trace], seconds: float, workers: int) -> Scores:
    """Simulate all policies of all settings on all links."""
    keys = [(setting, policy, link) for setting in settings for policy in setting.policies for link in links]
    cases = [setting.case(policy, link, seconds) for setting, policy, link in keys]
    found = {}
    for done, ((setting, policy, link), frames) in enumerate(zip(keys, run_cases(cases, workers), strict=True), 1):
        found[setting, policy, link.name] = score(frames)
        if done % 100 == 0 or done == len(keys):
            print(f"\r{done} of {len(keys)} streams", end="" if done < len(keys) else "\n", flush=True)
    return found


def by_policy(setting: Setting, found: Scores, links: Sequence[str]) -> dict[str, list[Score]]:
    """Return the scores of one setting, by policy."""
    return {policy: [found[setting, policy, link] for link in links] for policy in setting.policies}


def by_setting(settings: Sequence[Setting], found: Scores, links: Sequence[str]) -> Section:
    """Return a section with the share that is right and in time, for each policy and setting."""
    rows = []
    for setting in settings:
        means = {p: np.mean([found[setting, p, link].value for link in links]) for p in setting.policies}
        rows.append([str(setting), *(f"{100 * means[p]:.2f}" if p in means else "-" for p in OPEN_POLICIES)])
    text = "Right and in time, %, mean over all links. A dash means that the policy needs images."
    return Section("Other deadlines, devices and clouds", text, (), (Table(["setting", *OPEN_POLICIES], rows),))


def best_kinds(private: bool, links: Sequence[Trace], seconds: float, workers: int) -> Section:
    """Return a section that shows which kind of plan is best for each deadline and device speed."""
    cells = list(product(MAP_SLAS_S, MAP_DEVICES))
    settings = [Setting(sla_s, speed, private=private) for sla_s, speed in cells]
    jobs = [(setting, link) for setting in settings for link in links]
    with ProcessPoolExecutor(workers) as pool:
        values = list(pool.map(best_of_each_kind, *zip(*jobs, strict=True), [seconds] * len(jobs), chunksize=8))
    by_cell = np.array(values).reshape(len(MAP_SLAS_S), len(MAP_DEVICES), len(links), len(PLAN_KINDS))
    choices = [[_winner(by_cell[row, column]) for column in range(len(MAP_DEVICES))] for row in range(len(MAP_SLAS_S))]
    columns, rows = [f"x{speed:g}" for speed in MAP_DEVICES], [f"{1e3 * sla_s:g} ms" for sla_s in MAP_SLAS_S]
    pixels = "pixels stay on the device" if private else "images allowed"
    drawn = heatmap(columns, rows, choices, f"The best kind of plan, {pixels}", "device speed, Orin Nano = 1")
    text = (
        "Each cell names the kind of plan whose best fixed plan is most often right and in time on most links, with "
        f"the share of these links. Kinds within {100 * TIE:.1f} points of each other count as equal, and the first of "
        f"{', '.join(PLAN_KINDS)} is named. The second line is the mean share that is right and in time, in %."
    )
    cells_as_text = [[row, *map(_in_words, cells)] for row, cells in zip(rows, choices, strict=True)]
    return Section(f"Best kind of plan: {pixels}", text, (drawn,), (Table(["SLA", *columns], cells_as_text),))


def _in_words(choice: Choice | None) -> str:
    if choice is None:
        return "nothing is in time"
    kind = PLAN_KINDS[PAYLOAD_KINDS.index(choice.kind)]
    share, worth = choice.text.split("\n")
    return f"{kind}: on {share} of links, {worth} % right and in time"


def _winner(values: np.ndarray) -> Choice | None:
    """Return the kind that is best on most links; values are [links, kinds]."""
    best = values.max(axis=1)
    if best.max() <= 0.05:  # almost nothing is in time
        return None
    wins = np.bincount((values >= best[:, None] - TIE).argmax(axis=1), minlength=len(PLAN_KINDS))
    kind = int(wins.argmax())
    return Choice(
        PAYLOAD_KINDS[kind],
        f"{100 * wins[kind] / len(values):.0f} %\n{100 * best.mean():.0f}",
        wins[kind] / len(values),
    )


def write_csv(path: Path, found: Scores) -> None:
    """Write one line for each stream."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        for index, ((setting, policy, link), each) in enumerate(found.items()):
            values = {**asdict(setting), "policy": policy, "link": link, **asdict(each)}
            if index == 0:
                writer.writerow(values)
            writer.writerow(values.values())


def main() -> None:
    """Simulate, write the reports, and print them with the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, help="folder of recorded links, CSV")
    parser.add_argument("--runs", type=Path, help="folder of the paper's dataset")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each stream")
    parser.add_argument("--out", type=Path, default=Path("build"), help="folder that the report is written to")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    recorded = [read_trace(path) for path in sorted(options.traces.glob("*.csv"))] if options.traces else []
    links = recorded + generated_links(options.seconds)
    names, settings, base = [link.name for link in links], list(sweeps()), Setting()
    found = simulate_all(settings, links, options.seconds, options.workers)
    private = replace(base, private=True)
    about = f"{len(recorded)} recorded and {len(links) - len(recorded)} generated links, {options.seconds:g} s each."
    sections = [
        overall(f"The base case: {base}", about, by_policy(base, found, names)),
        overall(f"Pixels stay on the device: {private}", about, by_policy(private, found, names)),
        Section(
            "Accuracy against latency",
            "",
            [accuracy_over_latency(str(s), by_policy(s, found, names)) for s in (base, private)],
        ),
        per_link(f"Link by link: {base}", by_policy(base, found, names), names),
        per_link(f"Link by link: {private}", by_policy(private, found, names), names),
        by_setting(settings, found, names),
        best_kinds(False, links, options.seconds, options.workers),
        best_kinds(True, links, options.seconds, options.workers),
    ]
    if options.runs is not None:
        runs = [read_trace(path) for path in sorted(options.runs.glob("*.csv"))]
        more = simulate_all([base], runs, options.seconds, options.workers)
        for network in ("lte", "5g"):
            mine = [run.name for run in runs if run.name.startswith(network)]
            title = f"The paper's dataset, {network.upper()}: {base}"
            sections.append(overall(title, f"{len(mine)} runs.", by_policy(base, more, mine)))
        found |= more
    options.out.mkdir(parents=True, exist_ok=True)
    intro = "Simulated with the live device loop. Accuracy is published or assumed, see scripts/fit_platforms.py."
    write_page(options.out / "honest.html", "Every policy on every network", intro, sections)
    text = markdown("Every policy on every network", "make honest", intro, sections)
    (options.out / "honest.md").write_text(text, encoding="utf-8")
    write_csv(options.out / "honest.csv", found)
    print(text)
    print_json(
        "honest", 0, [{"setting": str(s), "policy": p, "link": link, **asdict(v)} for (s, p, link), v in found.items()]
    )
    print(f"written to {options.out / 'honest.html'}, honest.md and honest.csv")


if __name__ == "__main__":
    main()
