"""--page: serve the live page of a cloud or a device while a command runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from janus_vit.cli.common.console import messages, say

if TYPE_CHECKING:
    from janus_vit.cloud.access.settings import Access
    from janus_vit.cloud.access.tokens import Tokens
    from janus_vit.cloud.server import Cloud
    from janus_vit.cloud.watching.events import EventBuffer
    from janus_vit.live_page.access import Identify
    from janus_vit.live_page.device_feed import DeviceFeed
    from janus_vit.live_page.feed import Feed
    from janus_vit.live_page.tls import PageTls
    from janus_vit.runtime.config import DeviceConfig


def check_page_address(listen: str | None, access: Access | None = None) -> None:
    """Require that the page can be served, before the command does anything that takes long.

    Args:
        listen: value of --page.
        access: who may call the cloud, and see its page.

    Raises:
        InputError: it cannot.
    """
    if listen is not None:
        from janus_vit.live_page.server import check_page

        authenticates, certificate = (False, None) if access is None else (access.authenticates, access.certificate)
        check_page(listen, anonymous=not authenticates, encrypted=certificate is not None)


@contextmanager
def cloud_page(listen: str | None, cloud: Cloud, events: EventBuffer, access: Access) -> Iterator[str | None]:
    """Serve the page of a cloud until the end of the `with` block, and give its address.

    Args:
        listen: value of --page; None serves no page.
        cloud: the cloud.
        events: of the cloud.
        access: who may call the cloud. Its tokens and client certificates open the page, and its certificate serves it
            with TLS.
    """
    if listen is None:
        yield None
        return
    from janus_vit.cloud.access.tokens import Tokens
    from janus_vit.live_page.cloud_feed import CloudFeed
    from janus_vit.live_page.tls import PageTls

    subtitle = f"{cloud.greeting().model}, {cloud.capacity}"
    tls = PageTls(access.certificate, access.key, access.client_ca) if access.certificate and access.key else None
    identify = None if access.tokens is None else _identify_with(Tokens(access.tokens))
    with served(CloudFeed(events, cloud.metrics.registry, subtitle), listen, identify, tls) as url:
        yield url


def device_feed(
    listen: str | None, config: DeviceConfig, subtitle: str, labels: tuple[str, ...], threshold: float | None
) -> DeviceFeed | None:
    """What the page of a device shows; None without --page."""
    if listen is None:
        return None
    from janus_vit.live_page.device_feed import DeviceFeed

    return DeviceFeed(config.device_name, subtitle, labels, threshold)


def _identify_with(tokens: Tokens) -> Identify:
    return lambda token: tokens.identify(f"Bearer {token}")


@contextmanager
def served(
    feed: Feed | None, listen: str | None, identify: Identify | None = None, tls: PageTls | None = None
) -> Iterator[str | None]:
    """Serve a page until the end of the `with` block, and give its address; None serves none."""
    if feed is None or listen is None:
        yield None
        return
    from janus_vit.live_page.server import LivePage

    with LivePage(feed, listen, identify, tls) as page:
        say(messages(), f"live page: {page.url}")
        yield page.url
