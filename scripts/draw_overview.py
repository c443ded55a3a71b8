"""Draw docs/assets/overview.svg: device, link, cloud, and what the planner chooses on four links.

    python scripts/draw_overview.py

The plans and their times are the planner's own: policy `adaptive`, ViT-L/16 at 384, the published machines (Jetson Orin
Nano and V100, `janus_vit.reproduction.published`), round trip 42 ms, deadline 300 ms. Needs no measurement.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from janus_vit.planning.outcome import Prediction
from janus_vit.planning.plan import Plan
from janus_vit.planning.platforms import Platforms
from janus_vit.planning.policies.base import Situation
from janus_vit.planning.policies.presets import make_policy
from janus_vit.planning.schedules import make_schedule
from janus_vit.reproduction.published import SHAPES, assumed_accuracy, published_profile

PICTURE = Path(__file__).parents[1] / "docs" / "assets" / "overview.svg"
MODEL, SLA_S, RTT_S = "vit-large-384", 0.3, 0.042
LINKS = (  # what the row says, uplink in Mbps, whether pixels may leave the device
    ("5G, 60 Mbps", 60.0, True),
    ("LTE, 10 Mbps", 10.0, True),
    ("60 Mbps, pixels stay private", 60.0, False),
    ("link down", 0.05, True),
)
SPLIT, LEVEL = 8, 0.27  # of the blocks drawn in the upper half
WIDTH, HEIGHT = 1120, 560
LEFT, MS = 330, 2.3  # where a row's time begins, and pixels a millisecond

STYLE = """
  .page{fill:#ffffff;stroke:#d8dee9} .card{fill:#f5f7fb;stroke:#d8dee9} .ink{fill:#172033} .soft{fill:#5b6b85}
  .device{fill:#2f6fed} .link{fill:#f0a020} .cloud{fill:#7a4fe0} .empty{fill:none;stroke:#a9b4c6}
  .wire{fill:none;stroke:#f0a020;stroke-width:2.5} .arrow{stroke:#5b6b85;stroke-width:2;fill:none}
  .late{stroke:#d83a3a;stroke-width:2;stroke-dasharray:5 4} .red{fill:#d83a3a} .track{fill:#e8edf5} .light{fill:#ffffff}
  text{font-family:system-ui,-apple-system,"Segoe UI",Inter,Roboto,sans-serif;font-size:15px}
  .big{font-size:20px;font-weight:650} .small{font-size:13px} .bold{font-weight:650}
  @media (prefers-color-scheme:dark){
    .page{fill:#10151f;stroke:#2c3648} .card{fill:#192130;stroke:#2c3648} .ink{fill:#e8edf5} .soft{fill:#9dabc2}
    .device{fill:#5a93ff} .link{fill:#ffb84a} .wire{stroke:#ffb84a} .cloud{fill:#a184ff} .empty{stroke:#4a5870}
    .arrow{stroke:#9dabc2} .track{fill:#202a3b} .red{fill:#ff7070} .late{stroke:#ff7070} .light{fill:#10151f}
  }"""


def main() -> None:
    """Write the picture."""
    parts = [*_machines(), *_rows()]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
    title = "<title>A device and a cloud share one Vision Transformer; the planner picks a plan for every frame</title>"
    page = f'<rect class="page" x="1" y="1" width="{WIDTH - 2}" height="{HEIGHT - 2}" rx="18"/>'
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text("\n".join([head, title, f"<style>{STYLE}\n</style>", page, *parts, "</svg>\n"]), "utf-8")


def _machines() -> Iterator[str]:
    """The upper half: both machines with the model's blocks, as high as tokens are left, and the link between them."""
    for x, name, what in ((30, "Device", "camera, planner, first blocks"), (740, "Cloud", "the remaining blocks")):
        yield f'<rect class="card" x="{x}" y="28" width="350" height="206" rx="14"/>'
        yield _text(x + 22, 62, name, "ink big") + _text(x + 22, 84, what, "soft")
    yield from _blocks(52, "device", 0, SPLIT)
    yield from _blocks(762, "cloud", SPLIT, SHAPES[MODEL].blocks)
    yield _text(52, 216, f"blocks 1 to {SPLIT}, merging tokens", "soft small")
    yield _text(762, 216, f"blocks {SPLIT + 1} to {SHAPES[MODEL].blocks}, head", "soft small")
    yield _text(560, 62, "a link that changes", "ink bold", "middle")
    yield '<path class="wire" d="M404 112 L424 92 438 104 452 84 468 96 482 88 498 116 510 108 522 134 534 134 566 134'
    yield '582 134 594 106 606 114 622 86 638 98 652 80 668 100 684 92 700 108 716 98"/>'
    yield _text(550, 126, "outage", "soft small", "middle")
    yield _arrow(400, 720, 168) + _text(560, 160, "image, tokens or nothing", "ink", "middle")
    yield _arrow(720, 400, 196) + _text(560, 217, "answer and load", "ink", "middle")


def _blocks(x: float, style: str, first: int, end: int) -> Iterator[str]:
    tokens = make_schedule("exponential", LEVEL, SHAPES[MODEL]).tokens
    for block, left in enumerate(tokens[1:]):
        height = 12 + 78 * left / tokens[0]
        style_now = style if first <= block < end else "empty"
        where = f'x="{x + 12.8 * block:.1f}" y="{150 - height / 2:.1f}" width="9" height="{height:.1f}"'
        yield f'<rect class="{style_now}" {where} rx="2"/>'


def _rows() -> Iterator[str]:
    """The lower half: the plan on each link, drawn to scale in time."""
    end = LEFT + SLA_S * 1e3 * MS
    yield _text(30, 282, "One plan for every frame: the highest accuracy × probability of being in time", "ink big")
    for row, (name, rate_mbps, images_allowed) in enumerate(LINKS):
        plan, predicted = _choose(rate_mbps, images_allowed)
        y = 308 + 52 * row
        yield _text(30, y + 17, name, "ink bold") + _text(30, y + 36, _in_words(plan, predicted), "soft small")
        yield f'<rect class="track" x="{LEFT}" y="{y}" width="{end - LEFT:.0f}" height="34" rx="6"/>'
        x = float(LEFT)
        parts = (predicted.device_s + predicted.encode_s, predicted.transfer_s, predicted.decode_s + predicted.cloud_s)
        for style, seconds in zip(("device", "link", "cloud"), parts, strict=True):
            width = seconds * 1e3 * MS
            if width >= 1:
                yield f'<rect class="{style}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="34" rx="4"/>'
            x += width
        inside = x + 70 > end
        total = f"{predicted.total_s * 1e3:.0f} ms"
        yield _text(x - 12, y + 22, total, "light bold", "end") if inside else _text(x + 12, y + 22, total, "ink bold")
    yield f'<line class="late" x1="{end}" y1="296" x2="{end}" y2="506"/>'
    yield _text(end, 286, f"deadline {SLA_S * 1e3:.0f} ms", "red bold", "middle")
    for x, style, name in ((LEFT, "device", "device"), (LEFT + 100, "link", "link"), (LEFT + 178, "cloud", "cloud")):
        yield f'<rect class="{style}" x="{x}" y="524" width="14" height="14" rx="3"/>'
        yield _text(x + 22, 536, name, "soft")
    yield _text(end, 536, "ViT-L/16 at 384 px, Jetson Orin Nano and V100", "soft small", "end")


def _choose(rate_mbps: float, images_allowed: bool) -> tuple[Plan, Prediction]:
    device, cloud = published_profile("orin-nano", MODEL), published_profile("v100", MODEL)
    platforms = Platforms(SHAPES[MODEL], device, cloud, rate_mbps, RTT_S, assumed_accuracy(MODEL), images_allowed)
    decision = make_policy("adaptive", platforms).choose(Situation(0.0, SLA_S))
    return decision.plan, decision.predicted


def _in_words(plan: Plan, predicted: Prediction) -> str:
    if plan.is_local:
        return "all on the device, tokens merged"
    size = f"{predicted.size_bytes / 1e3:.0f} kB"
    where = f"block {plan.split} here, then {plan.payload} tokens" if plan.split else f"{plan.payload} to the cloud"
    return f"{where}, {size}"


def _text(x: float, y: float, text: str, style: str, anchor: str = "start") -> str:
    return f'<text class="{style}" x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>'


def _arrow(x1: float, x2: float, y: float) -> str:
    back = -8 if x2 > x1 else 8
    head = f"M{x2 + back} {y - 5} L{x2} {y} L{x2 + back} {y + 5}"
    return f'<path class="arrow" d="M{x1} {y} H{x2} {head}"/>'


if __name__ == "__main__":
    main()
