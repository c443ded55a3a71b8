"""A headless Chromium for pictures and tests of the live page."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

WIDE, HIGH = 1280, 960
PHONE = (390, 844)


@contextmanager
def browser(size: tuple[int, int] = (WIDE, HIGH), scheme: str = "light", trusts_all: bool = False) -> Iterator[Chrome]:
    """Give a browser window until the end of the `with` block.

    Args:
        size: width and height in CSS pixels.
        scheme: "light" or "dark".
        trusts_all: whether to accept certificates of authorities that it does not know.
    """
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        sys.exit("no Chromium here: apt-get install chromium chromium-driver")
    options = ChromeOptions()
    options.binary_location = binary
    options.accept_insecure_certs = trusts_all
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    window = Chrome(options, Service(driver))
    try:
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 600}
        window.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        window.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        yield window
    finally:
        window.quit()
