"""Open the live page in a headless Chromium, with 200 devices that report twice a second, and require that it draws.

    python scripts/page_test.py [--devices 200] [--seconds 15]

Checks that the page opens and updates, that nothing comes from other hosts and no script fails, that a row opens and a
filter filters, on a desktop and on a phone; that with TLS and tokens it asks for a token once, and ends when the token
is revoked; and that it draws at least 30 frames a second. Frames are those of
requestAnimationFrame; the slowest second at rest counts, and that while scrolling is printed.
Needs Chromium: apt-get install chromium chromium-driver.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from browsing import HIGH, PHONE, WIDE, browser
from selenium.webdriver.support.ui import WebDriverWait

from janus_vit.cloud.metrics import CloudMetrics
from janus_vit.cloud.watching.events import EventBuffer
from janus_vit.live_page.cloud_feed import CloudFeed
from janus_vit.live_page.feed import PERIOD_S
from janus_vit.live_page.server import LivePage
from janus_vit.live_page.synthetic import SyntheticFleet
from janus_vit.live_page.tls import PageTls

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from certificates import Authority

LEAST_FPS, LEAST_UPDATES_PER_S = 30, 1.8
PATIENCE_S = 20.0
NAME = "<img src=x onerror=window.attacked=1>"

WATCH, STATE = ((Path(__file__).parent / name).read_text("utf-8") for name in ("page_watch.js", "page_state.js"))


def main() -> None:
    """Run the test; exit code 1 if something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=15.0)
    arguments = parser.parse_args()
    events = EventBuffer()
    feed, fleet = CloudFeed(events, CloudMetrics().registry, NAME), SyntheticFleet(arguments.devices, events)
    stopped = threading.Event()

    def report() -> None:
        while not stopped.wait(PERIOD_S):
            fleet.step()

    threading.Thread(target=report, daemon=True).start()
    problems = []
    with LivePage(feed, "127.0.0.1:0") as page:
        for name, size in (("desktop", (WIDE, HIGH)), ("phone", PHONE)):
            problems += [f"{name}: {problem}" for problem in _problems(page, size, name, arguments)]
    problems += [f"with TLS and tokens: {problem}" for problem in _secure_problems(feed)]
    stopped.set()
    sys.exit("\n".join(problems) or None)


def _problems(page: LivePage, size: tuple[int, int], name: str, arguments: argparse.Namespace) -> list[str]:
    with browser(size) as window:
        window.set_script_timeout(arguments.seconds + PATIENCE_S)
        window.get(page.url)

        def ready(driver: Any) -> bool:
            found = driver.execute_script(STATE)
            return bool(found["rows"] == arguments.devices and found["state"] == "live")

        WebDriverWait(window, PATIENCE_S).until(ready)
        for what, scrolls in (("scrolling", True), ("at rest", False)):
            drawn = window.execute_async_script(WATCH, arguments.seconds, scrolls)
            print(
                f"{name}, {what}: {arguments.devices} devices, {drawn['updates_per_s']:.2f} updates/s, "
                f"{drawn['mean_fps']:.1f} frames/s, {drawn['worst_fps']} in the slowest second, "
                f"longest frame {drawn['longest_ms']:.0f} ms"
            )
        state = window.execute_script(STATE)
        window.execute_script("scrollTo(0, 0)")
        window.find_element("css selector", "#streams .row").click()
        opened = len(window.find_elements("css selector", "#streams .row.open"))
        window.find_element("id", "filter").send_keys("drone-01")
        left = len(window.find_elements("css selector", "#streams .row:not([hidden])"))
        log = [entry["message"] for entry in window.get_log("browser")]
    checks = {
        f"only {drawn['worst_fps']} frames in the slowest second": drawn["worst_fps"] >= LEAST_FPS,
        f"only {drawn['updates_per_s']:.2f} updates/s": drawn["updates_per_s"] >= LEAST_UPDATES_PER_S,
        f"something comes from {state['hosts']}": state["hosts"] == [f"127.0.0.1:{page.port}"],
        f"{state['wide']} pixels wider than the window": state["wide"] <= 0,
        "text from outside ran as a script": not state["attacked"],
        "a click opens no row": opened == 1,
        f"the filter leaves {left} rows": left == 1,
        f"the browser complains: {log}": not log,
    }
    return [problem for problem, holds in checks.items() if not holds]


def _secure_problems(feed: CloudFeed) -> list[str]:
    """What does not hold for a page with TLS and tokens."""
    tokens = {"secret": "operator"}
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = Authority().pair(Path(folder), "page")
        tls = PageTls(certificate, key)
        with LivePage(feed, "127.0.0.1:0", tokens.get, tls) as page, browser(trusts_all=True) as window:

            def enter(token: str) -> None:
                window.find_element("id", "token").send_keys(token)
                window.find_element("css selector", "button").click()

            def says(text: str) -> None:
                WebDriverWait(window, PATIENCE_S).until(
                    lambda driver: text in driver.find_element("css selector", "body").text
                )

            window.get(page.url)
            enter("wrong")
            says("This token is not valid")
            enter("secret")
            WebDriverWait(window, PATIENCE_S).until(lambda driver: driver.find_element("id", "state").text == "live")
            cookies = window.get_cookies()
            tokens.clear()
            says("the session has ended")
            address = window.current_url
    guarded = [(cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) for cookie in cookies]
    checks = {
        f"the address is {address}": address == page.url,
        f"the cookies are {cookies}": guarded == [(True, True, "Strict")],
    }
    return [problem for problem, holds in checks.items() if not holds]


if __name__ == "__main__":
    main()
