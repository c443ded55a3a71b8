"""A camera that goes away for a time: opened again until it returns. Knows no device and no pixels."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from janus_vit.errors import InputError

_RETRY_S = 0.5
_Item = TypeVar("_Item")


def returning(
    name: str,
    open_camera: Callable[[], Iterator[_Item]],
    notify: Callable[[str], None],
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[_Item]:
    """Yield the frames of a camera. If it fails or ends after its first frame, open it again until it works.

    Args:
        name: of the camera, for messages.
        open_camera: opens it and yields its frames; raises InputError if it fails.
        notify: called with one sentence when the camera goes away and when it is back.
        wait: sleeps for the given number of seconds.

    Raises:
        InputError: the camera failed before its first frame.
    """
    was_seen = is_away = False
    while True:
        reason = f"{name}: gives no more frames"
        try:
            for item in open_camera():
                if is_away:
                    notify(f"{name}: is back")
                was_seen, is_away = True, False
                yield item
        except InputError as error:
            if not was_seen:
                raise
            reason = str(error)
        if not was_seen:
            return
        if not is_away:
            notify(f"{reason}; it is opened again until it returns")
        is_away = True
        wait(_RETRY_S)
