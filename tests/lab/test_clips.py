"""Clips are spread evenly over a video, and one that is too short is named."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from janus_vit.errors import InputError
from janus_vit.lab.clips import clip_positions, read_clip_files, sample_clips, square_crops


def numbered(length, height=4, width=6):
    """Frames that hold their own number."""
    return [np.full((height, width, 3), index, np.uint8) for index in range(length)]


def numbers(clip):
    return clip[:, 0, 0, 0].tolist()


@pytest.fixture
def folder(tmp_path):
    """Two folders of frames, a folder of other things, a video and hidden files."""
    for name, length in (("walk", 12), ("run", 3), ("notes", 0)):
        (tmp_path / name).mkdir()
        for index, frame in enumerate(numbered(length)):
            Image.fromarray(frame).save(tmp_path / name / f"frame {index}.png")
    (tmp_path / "notes" / "read me.txt").touch()
    (tmp_path / ".hidden.mp4").touch()
    with av.open(str(tmp_path / "clip 10.mp4"), "w") as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        grey = [av.VideoFrame.from_ndarray(40 * frame, format="rgb24") for frame in numbered(5, 48, 64)]
        file.mux([packet for frame in [*grey, None] for packet in stream.encode(frame)])
    return tmp_path


@pytest.mark.parametrize(
    ("length", "frames", "stride", "clips", "starts"),
    [
        (16, 16, 1, 1, [0]),
        (61, 16, 4, 1, [0]),
        (61, 16, 4, 3, [0, 0, 0]),
        (20, 16, 1, 1, [2]),
        (20, 16, 1, 5, [0, 1, 2, 3, 4]),
        (300, 16, 4, 5, [0, 56, 116, 176, 236]),
        (5, 1, 1, 2, [0, 4]),
    ],
)
def test_clips_are_spread_evenly(length, frames, stride, clips, starts):
    expected = [[start + stride * index for index in range(frames)] for start in starts]
    assert clip_positions(length, frames, stride, clips) == expected


@pytest.mark.parametrize("length", range(29, 80))
def test_clips_reach_from_the_first_frame_to_the_last_within_a_stride(length):
    positions = clip_positions(length, 8, 4, 5)
    assert positions[0][0] == 0
    assert length - 4 <= positions[-1][-1] < length
    assert positions == sorted(positions)


@pytest.mark.parametrize("length", [0, 1, 60])
def test_video_that_is_too_short_is_refused_with_both_numbers(length):
    with pytest.raises(InputError, match=f"it has {length} frames and a clip of 16 .* needs 61"):
        clip_positions(length, 16, 4, 5)


@pytest.mark.parametrize("wrong", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (-2, 1, 1)])
def test_numbers_below_one_are_refused(wrong):
    with pytest.raises(InputError, match="use numbers from 1 on"):
        clip_positions(10, *wrong)
    with pytest.raises(InputError, match="use numbers from 1 on"):
        sample_clips(numbered(10), *wrong)


def test_sampled_clips_hold_the_frames_of_their_positions():
    clips = sample_clips(iter(numbered(31)), count=4, stride=3, clips=3)
    assert [numbers(clip) for clip in clips] == clip_positions(31, 4, 3, 3)
    assert [clip.shape for clip in clips] == [(4, 4, 6, 3)] * 3


def test_short_video_is_named():
    with pytest.raises(InputError, match=r"^walk\.mp4: it has 3 frames and a clip of 8 frames at stride 2 needs 15"):
        sample_clips(numbered(3), 8, 2, 1, "walk.mp4")


def test_frames_of_different_sizes_are_refused():
    with pytest.raises(InputError, match="walk: its frames are of different sizes"):
        sample_clips([*numbered(3), *numbered(3, 5)], 4, 1, 1, "walk")


@pytest.mark.parametrize("turned", [False, True])
def test_squares_are_spread_along_the_longer_side(turned):
    clip = np.broadcast_to(np.arange(10, dtype=np.uint8)[None, None, :, None], (2, 4, 10, 3))
    clip = clip.swapaxes(1, 2) if turned else clip
    for crops, starts in ((1, [3]), (2, [0, 6]), (3, [0, 3, 6])):
        squares = square_crops(clip, crops)
        assert [square.shape for square in squares] == [(2, 4, 4, 3)] * crops
        assert [int(square[0, 0, 0, 0]) for square in squares] == starts


def test_square_clip_has_equal_crops():
    clip = np.zeros((2, 5, 5, 3), np.uint8)
    assert [crop.shape for crop in square_crops(clip, 3)] == [clip.shape] * 3


def test_folder_gives_videos_and_folders_of_frames_by_name(folder):
    videos = read_clip_files(folder)
    assert [video.name for video in videos] == ["clip 10.mp4", "run", "walk"]
    frames = [list(video.frames()) for video in videos]
    assert [len(one) for one in frames] == [5, 3, 12]
    assert [round(float(frame.mean()), -1) for frame in frames[0]] == [0, 40, 80, 120, 160]
    assert numbers(np.stack(frames[2])) == list(range(12))  # frame 2 comes before frame 10


def test_folder_of_frames_is_one_video(folder):
    [video] = read_clip_files(folder / "walk")
    [clip] = sample_clips(video.frames(), 4, 2, 1, video.name)
    assert numbers(clip) == [2, 4, 6, 8]


def test_frame_that_cannot_be_read_stops_the_video(folder):
    (folder / "run" / "frame 1.png").write_bytes(b"nothing like an image")
    with pytest.raises(InputError, match=r"frame 1\.png: not an image"):
        list(read_clip_files(folder / "run")[0].frames())


@pytest.mark.parametrize(("name", "says"), [("notes", "holds neither videos nor frames"), ("none", "cannot be listed")])
def test_folder_without_videos_is_refused_by_name(folder, name, says):
    with pytest.raises(InputError, match=f"{name}: {says}") as caught:
        read_clip_files(Path(folder / name))
    assert "\n" not in str(caught.value)
