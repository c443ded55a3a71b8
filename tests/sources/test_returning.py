"""A camera that dies and returns: the stream goes on with its next frame."""

from itertools import islice

import pytest

from janus_vit.errors import InputError
from janus_vit.sources.returning import returning


def camera(*lives):
    """Each life is the frames that the camera gives before it fails; None: it cannot even be opened."""
    remaining = iter(lives)

    def open_camera():
        life = next(remaining)
        if life is None:
            raise InputError("/dev/video0: cannot be read (No such device): check the camera")
        yield from life
        raise InputError("/dev/video0: cannot be read (No such device): check the camera")

    return open_camera


def test_frames_go_on_when_the_camera_is_back_and_each_change_is_told_once():
    told, waits = [], []
    frames = returning("/dev/video0", camera([1, 2], None, None, [3, 4]), told.append, waits.append)
    assert list(islice(frames, 4)) == [1, 2, 3, 4]
    assert len(waits) == 3
    assert [message.split(": ", 1)[1] for message in told] == [
        "cannot be read (No such device): check the camera; it is opened again until it returns",
        "is back",
    ]


def test_a_camera_that_never_worked_is_an_error():
    with pytest.raises(InputError, match="No such device"):
        next(returning("/dev/video0", camera(None), print))


def test_a_camera_that_ends_without_an_error_is_opened_again():
    lives = iter([[1], [2]])
    told = []
    frames = returning("camera", lambda: iter(next(lives)), told.append, lambda seconds: None)
    assert list(islice(frames, 2)) == [1, 2]
    assert told[0].startswith("camera: gives no more frames")
