"""Frames of a source come in order and upright, and an unreadable source gives an error that names it."""

import re
import sys
import threading
from pathlib import Path

import av
import numpy as np
import pytest
from patience import PATIENCE_S
from PIL import Image

from janus_vit.errors import InputError
from janus_vit.sources import frames as sources
from janus_vit.sources.frames import open_source
from janus_vit.sources.image_files import IMAGE_SUFFIXES, read_image
from janus_vit.sources.videos import newest


def save(path: Path, red: int = 0, size=(8, 6), **options) -> Path:
    """Save an image of one colour with `size` (width, height)."""
    Image.new("RGB", size, (red, 0, 0)).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path):
    for red, name in enumerate(("b.png", "a.PNG", "c.bmp")):
        save(tmp_path / name, red * 10)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden.png").write_bytes(b"not to be seen")
    return tmp_path


def test_folder_gives_its_images_by_name(folder):
    source = open_source(str(folder))
    samples = list(source)
    assert source.length == 3
    assert [sample.name for sample in samples] == ["a.PNG", "b.png", "c.bmp"]
    assert [int(sample.frame[0, 0, 0]) for sample in samples] == [10, 0, 20]
    assert all(sample.frame.shape == (6, 8, 3) and sample.frame.dtype == np.uint8 for sample in samples)
    assert all(sample.label is None for sample in samples)
    assert len(list(source)) == 3  # a second pass starts anew


def test_no_more_frames_than_asked_for(folder):
    assert [sample.name for sample in open_source(str(folder), frames=2)] == ["a.PNG", "b.png"]
    assert open_source(str(folder), frames=9).length == 3


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_single_image(tmp_path, suffix):
    [sample] = open_source(str(save(tmp_path / f"one{suffix}")))
    assert sample.name == f"one{suffix}"


def test_image_is_turned_as_its_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side
    assert read_image(save(tmp_path / "turned.jpg", size=(8, 6), exif=exif)).shape == (8, 6, 3)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "CMYK"])
def test_every_kind_of_image_becomes_rgb(tmp_path, mode):
    path = tmp_path / f"image.{'jpg' if mode == 'CMYK' else 'png'}"
    Image.new(mode, (8, 6)).save(path)
    assert read_image(path).shape == (6, 8, 3)


def test_unreadable_image_among_others_is_skipped_and_named_once(folder):
    (folder / "aa.png").write_bytes(b"nothing like an image")
    (folder / "bb.png").write_bytes((folder / "b.png").read_bytes()[:40])
    heard: list[str] = []
    source = open_source(str(folder), warn=heard.append)
    assert len(list(source)) == len(list(source)) == 3
    assert list(source.skipped) == ["aa.png", "bb.png"]
    assert heard[0] == f"{folder}: skipped 1 file with the name of no image: notes.txt"
    assert [re.search(r"(\w+\.png)", line)[1] for line in heard[1:]] == ["aa.png", "bb.png"]


def test_folder_of_unreadable_images_is_refused(tmp_path):
    for name in ("a.png", "b.jpg"):
        (tmp_path / name).write_bytes(b"nothing like an image")
    with pytest.raises(InputError, match=r"none of 2 images can be read, such as .*a\.png"):
        open_source(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("broken.png", "is not an image of a known format"),
        ("empty", "holds no image"),
        ("missing", "does not exist: use builtin"),
        ("notes.txt", "neither an image nor a video"),
        ("camera:99", "camera /dev/video99 does not exist"),
        ("/dev/video99", "camera /dev/video99 does not exist"),
    ],
)
def test_unusable_source_is_refused_by_name(tmp_path, monkeypatch, name, says):
    monkeypatch.chdir(tmp_path)
    Path("broken.png").write_bytes(b"nothing like an image")
    Path("empty").mkdir()
    Path("notes.txt").touch()
    with pytest.raises(InputError, match=says) as caught:
        open_source(name)
    assert name.removeprefix("camera:") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_video_without_pyav_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "v.mp4").touch()
    with pytest.raises(InputError, match=re.escape("pip install 'janus-vit[video]'")):
        open_source(str(tmp_path / "v.mp4"))


def write_video(path, title="none"):
    with av.open(str(path), "w") as file:
        file.metadata["title"] = title
        stream = file.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        grey = [av.VideoFrame.from_ndarray(np.full((48, 64, 3), 40 * i, np.uint8), format="rgb24") for i in range(5)]
        file.mux([packet for frame in [*grey, None] for packet in stream.encode(frame)])


def test_video_gives_its_frames(tmp_path):
    write_video(tmp_path / "v.mp4")
    source = open_source(str(tmp_path / "v.mp4"))
    assert source.length == 5
    assert [round(float(sample.frame.mean()), -1) for sample in source] == [0, 40, 80, 120, 160]
    (tmp_path / "w.mp4").write_bytes(b"nothing like a video")
    with pytest.raises(InputError, match="cannot be read as a video"):
        open_source(str(tmp_path / "w.mp4"))


def test_video_may_name_itself_in_an_old_encoding(tmp_path):
    path = tmp_path / "v.avi"
    write_video(path, "title-in-ascii")
    data = path.read_bytes()
    assert b"title-in-ascii" in data
    path.write_bytes(data.replace(b"title-in-ascii", "titel-auf-köln".encode("latin-1")))
    assert len(list(open_source(str(path)))) == 5


def test_video_of_an_unknown_codec_is_refused(tmp_path):
    path = tmp_path / "v.avi"
    write_video(path)
    path.write_bytes(path.read_bytes().replace(b"FMP4", b"none"))
    with pytest.raises(InputError, match=r"v\.avi: holds a video of an unknown codec: convert it"):
        open_source(str(path))


def test_video_with_frames_that_no_camera_takes_is_refused_before_they_are_decoded(tmp_path, monkeypatch):
    """A few kilobytes can hold a frame of gigabytes."""
    monkeypatch.setattr("janus_vit.sources.videos._MOST_PIXELS", 64 * 47)
    write_video(tmp_path / "v.mp4")
    with pytest.raises(InputError, match=r"v\.mp4: cannot be read as a video"):
        list(open_source(str(tmp_path / "v.mp4")))


def test_builtin_frames_have_labels_and_start_again_only_when_asked(monkeypatch):
    frames = np.broadcast_to(np.arange(3, dtype=np.uint8)[:, None, None, None], (3, 4, 4, 3))
    monkeypatch.setattr(sources, "builtin_frames", lambda: (frames, np.array([7, 8, 9])))
    assert [sample.label for sample in open_source("builtin")] == [7, 8, 9]
    longer = open_source("builtin", frames=5)
    assert longer.length == 5
    assert [(sample.name, int(sample.frame[0, 0, 0])) for sample in longer][3:] == [("builtin 0", 0), ("builtin 1", 1)]


def test_slow_consumer_of_a_camera_sees_the_newest_frame():
    taken, arrived = threading.Event(), threading.Event()

    def camera():
        yield 0
        taken.wait(PATIENCE_S)
        yield from range(1, 5)
        arrived.set()

    frames = newest(camera())
    assert next(frames) == 0
    taken.set()
    arrived.wait(PATIENCE_S)
    assert list(frames) == [4]


def test_failure_of_a_camera_reaches_the_consumer():
    def camera():
        yield 0
        raise OSError("unplugged")

    with pytest.raises(OSError, match="unplugged"):
        list(newest(camera()))
