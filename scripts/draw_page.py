"""Draw the live page of a made-up fleet of 40 devices, light and dark: docs/assets/live-page-light.png and -dark.png.

    python scripts/draw_page.py [--phone] [--folder FOLDER]

Needs Chromium and its driver: apt-get install chromium chromium-driver.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from browsing import HIGH, PHONE, WIDE, browser

from janus_vit.cloud.metrics import CloudMetrics
from janus_vit.cloud.watching.events import EventBuffer
from janus_vit.live_page.cloud_feed import CloudFeed
from janus_vit.live_page.feed import KEPT, PERIOD_S
from janus_vit.live_page.server import LivePage
from janus_vit.live_page.synthetic import SyntheticFleet

ASSETS = Path(__file__).parents[1] / "docs/assets"
SUBTITLE = "vit-base-224, engine cuda on cuda:0 in bfloat16 (made-up figures)"
SETTLED = 6  # updates until the page is drawn


def main() -> None:
    """Draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phone", action="store_true", help="as a phone shows the page")
    parser.add_argument("--folder", type=Path, default=ASSETS, help="where the pictures go")
    arguments = parser.parse_args()
    events = EventBuffer()
    feed, fleet = CloudFeed(events, CloudMetrics().registry, SUBTITLE), SyntheticFleet(40, events)
    for number in range(KEPT):
        fleet.step()
        feed.update(time.monotonic() - (KEPT - number) * PERIOD_S)
    with LivePage(feed, "127.0.0.1:0") as page:
        for scheme in ("light", "dark"):
            size, name = (PHONE, "-phone") if arguments.phone else ((WIDE, HIGH), "")
            with browser(size, scheme) as window:
                window.get(page.url)
                for _ in range(SETTLED):
                    fleet.step()
                    time.sleep(PERIOD_S)
                window.save_screenshot(str(arguments.folder / f"live-page{name}-{scheme}.png"))


if __name__ == "__main__":
    main()
