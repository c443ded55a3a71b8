"""Images as cameras and tools write them: more than 8 bits, TIFF, animations; and files that are no images."""

import struct
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from hostile_files import png, png_header
from PIL import Image

from janus_vit.errors import InputError
from janus_vit.sources.frames import open_source
from janus_vit.sources.image_files import read_image
from janus_vit.sources.labelled import open_labelled

RAMP = np.linspace(0, 65_535, 48).reshape(6, 8)  # over the whole range of 16 bits


def opened(path):
    """Mode and number of frames as Pillow sees them; the file is closed."""
    with Image.open(path) as image:
        return SimpleNamespace(mode=image.mode, n_frames=getattr(image, "n_frames", 1))


def grey_of(path):
    """The one value of each pixel, whose three channels are equal."""
    frame = read_image(path)
    assert frame.dtype == np.uint8
    assert np.array_equal(frame[..., 0], frame[..., 1])
    assert np.array_equal(frame[..., 0], frame[..., 2])
    return frame[..., 0]


def test_an_image_with_damaged_exif_data_is_read_without_a_word(tmp_path, recwarn):
    """Pillow would warn with a line of its own code; many cameras write such files."""
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(tmp_path / "photo.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\0")
    assert read_image(tmp_path / "photo.jpg").shape == (6, 8, 3)
    assert not recwarn.list


@pytest.mark.parametrize("suffix", ["png", "tif", "tiff"])
def test_images_of_16_bits_are_scaled(tmp_path, suffix):
    path = tmp_path / f"depth.{suffix}"
    Image.fromarray(RAMP.astype(np.uint16)).save(path)
    assert opened(path).mode.startswith("I")
    np.testing.assert_array_equal(grey_of(path), np.rint(RAMP.astype(np.uint16) / 257))


def test_images_of_16_bits_with_the_high_byte_first_are_scaled(tmp_path):
    """As a thermal camera may write TIFF; Pillow itself writes the low byte first."""
    values = RAMP.astype(">u2")
    entries = {256: (3, 8), 257: (3, 6), 258: (3, 16), 259: (3, 1), 262: (3, 1), 273: (4, 0), 277: (3, 1), 278: (3, 6),
               279: (4, values.nbytes)}  # fmt: skip
    start = 8 + 2 + 12 * len(entries) + 4
    entries[273] = (4, start)
    fields = b"".join(
        struct.pack(">HHI", tag, kind, 1) + (struct.pack(">HH", value, 0) if kind == 3 else struct.pack(">I", value))
        for tag, (kind, value) in entries.items()
    )
    header = b"MM\0*" + struct.pack(">IH", 8, len(entries)) + fields + struct.pack(">I", 0)
    path = tmp_path / "thermal.tif"
    path.write_bytes(header + values.tobytes())
    np.testing.assert_array_equal(grey_of(path), np.rint(RAMP.astype(np.uint16) / 257))


def test_images_of_16_bits_keep_their_scale_from_frame_to_frame(tmp_path):
    for name, value in (("a.png", 10_000), ("b.png", 20_000)):
        Image.fromarray(np.full((6, 8), value, np.uint16)).save(tmp_path / name)
    assert [int(sample.frame[0, 0, 0]) for sample in open_source(str(tmp_path))] == [39, 78]


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (np.linspace(0, 1, 48), 255 * np.linspace(0, 1, 48)),
        (np.linspace(0.2, 0.4, 48), 255 * np.linspace(0.2, 0.4, 48)),  # not stretched
        (np.linspace(-20, 60, 48), 255 * np.linspace(0, 1, 48)),  # degrees
        (np.full(48, 7.5), np.zeros(48)),
        (np.full(48, np.nan), np.zeros(48)),
    ],
)
def test_images_of_floats_are_scaled(tmp_path, values, wanted):
    path = tmp_path / "temperature.tiff"
    Image.fromarray(values.reshape(6, 8).astype(np.float32)).save(path)
    assert opened(path).mode == "F"
    assert np.abs(grey_of(path).astype(float) - wanted.reshape(6, 8)).max() <= 0.51


def test_floats_that_are_not_finite_are_black(tmp_path):
    values = np.linspace(1, 5, 48).reshape(6, 8).astype(np.float32)
    values[0, :3] = np.nan, np.inf, -np.inf
    path = tmp_path / "depth.tiff"
    Image.fromarray(values).save(path)
    grey = grey_of(path)
    assert grey[0, :3].tolist() == [0, 0, 0]
    assert (grey[0, 3], grey[-1, -1]) == (0, 255)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [(RAMP, RAMP / 257), (RAMP * 1000, RAMP / 257), (RAMP - 30_000, RAMP / 257), (RAMP / 100, RAMP / 25_700)],
)
def test_images_of_32_bit_integers_are_scaled(tmp_path, values, wanted):
    path = tmp_path / "depth.tiff"
    Image.fromarray(values.astype(np.int32)).save(path)
    assert opened(path).mode == "I"
    assert np.abs(grey_of(path).astype(float) - wanted).max() <= 0.51


def test_image_of_16_bits_is_turned_as_its_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.png"
    Image.fromarray(RAMP.astype(np.uint16)).save(path, exif=exif)
    assert read_image(path).shape == (8, 6, 3)
    np.testing.assert_array_equal(grey_of(path), np.rot90(np.rint(RAMP.astype(np.uint16) / 257), -1))


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tiff"])
def test_animated_images_give_their_first_frame(tmp_path, suffix):
    path = tmp_path / f"moving.{suffix}"
    first, *others = (Image.new("RGB", (8, 6), colour) for colour in ((200, 0, 0), (0, 200, 0), (0, 0, 200)))
    lossless = {"lossless": True} if suffix == "webp" else {}
    first.save(path, save_all=True, append_images=others, **lossless)
    assert opened(path).n_frames == 3
    [sample] = open_source(str(path))
    assert sample.frame[0, 0].tolist() == [200, 0, 0]


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "jpeg"])
def test_tiff_files_are_read(tmp_path, compression):
    frame = np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8)
    frame[:] = frame[0, 0]
    Image.fromarray(frame).save(tmp_path / "page.tiff", compression=compression)
    assert np.abs(read_image(tmp_path / "page.tiff").astype(int) - frame).max() <= (4 if compression == "jpeg" else 0)


def test_damaged_image_of_16_bits_is_refused_by_name(tmp_path):
    path = tmp_path / "depth.png"
    Image.fromarray(RAMP.astype(np.uint16)).save(path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match=r"depth\.png: cannot be read as an image"):
        read_image(path)


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    for name in ("v.mp4", "b.npy", "z.txt", "c.raw", "d.raw", "e.raw", ".hidden"):
        (tmp_path / name).touch()
    (tmp_path / "inner").mkdir()
    return tmp_path


def test_files_that_are_no_images_are_counted_and_named(folder):
    heard = []
    assert len(list(open_source(str(folder), warn=heard.append))) == 1
    assert heard == [f"{folder}: skipped 6 files with the name of no image: b.npy, c.raw, d.raw, e.raw, v.mp4, ..."]


def test_labels_beside_the_images_are_not_among_them(folder):
    labels = folder / "labels.csv"
    labels.write_text("a.png,0\n")
    for path in folder.glob("[bcdev].*"):
        path.unlink()
    heard = []
    assert [sample.label for sample in open_labelled(str(folder), labels, ("x", "y"), warn=heard.append)] == [0]
    assert heard == [f"{folder}: skipped 1 file with the name of no image: z.txt"]


def test_folder_of_images_alone_gives_no_message(tmp_path):
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    heard = []
    assert len(list(open_source(str(tmp_path), warn=heard.append))) == 1
    assert heard == []


@pytest.mark.parametrize("container", ["EPS", "PDF", "ICO", "PCX", "TGA", "JPEG2000"])
def test_what_is_in_a_file_counts_and_not_its_name(tmp_path, container):
    """For PostScript, for example, Pillow would start another program."""
    path = tmp_path / "photo.png"
    Image.new("RGB", (16, 16)).save(path, container)
    with pytest.raises(InputError, match=r"photo\.png: is not an image of a known format \(PNG, JPEG"):
        read_image(path)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_scaling_takes_a_small_multiple_of_the_image_in_memory(tmp_path, kind):
    path, pixels = tmp_path / "depth.tiff", 1_200 * 1_200
    Image.fromarray(np.full((1_200, 1_200), -5, kind)).save(path, compression="tiff_adobe_deflate")
    tracemalloc.start()
    try:
        assert read_image(path).shape == (1_200, 1_200, 3)
        assert tracemalloc.get_traced_memory()[1] < 16 * pixels
    finally:
        tracemalloc.stop()


def test_an_image_with_too_many_pixels_is_refused_without_a_warning(tmp_path, recwarn):
    path = tmp_path / "large.png"
    path.write_bytes(png(8, 8, header=png_header(9_500, 9_500)))
    with pytest.raises(InputError, match=r"large\.png: cannot be read as an image .*exceeds limit"):
        read_image(path)
    assert not recwarn.list
