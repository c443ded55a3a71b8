"""Every image gets its own label, and a label that does not fit gives an error with its file and line."""

import re

import pytest
from PIL import Image

from janus_vit.errors import InputError
from janus_vit.sources.labelled import open_labelled

CLASSES = ("cat", "dog", "7", "fish, small")
DIGITS = tuple("0123456789")


def save(path, red=0):
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (8, 6), (red, 0, 0)).save(path)


@pytest.fixture
def folder(tmp_path):
    photos = tmp_path / "photos"
    for red, name in enumerate(("a.png", "b.png", "c.png")):
        save(photos / name, red)
    return photos


def write(folder, *lines):
    file = folder.parent / "labels.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def found(*arguments, **more):
    return [(sample.name, sample.label) for sample in open_labelled(*arguments, **more)]


def test_labels_are_names_or_indices_of_classes(folder):
    file = write(folder, "b.png,dog", "a.png, 0", 'c.png,"fish, small"')
    assert found(str(folder), file, CLASSES) == [("a.png", 0), ("b.png", 1), ("c.png", 3)]


def test_name_of_a_class_wins_over_an_index(folder):
    assert found(str(folder), write(folder, "a.png,7", "b.png,2", "c.png,3"), CLASSES)[0] == ("a.png", 2)


def test_name_of_several_classes_is_refused(folder):
    """ImageNet has two cranes, a bird and a machine."""
    file, classes = write(folder, "a.png,0", "b.png,crane", "c.png,1"), ("crane", "dog", "crane")
    with pytest.raises(
        InputError, match=r"labels\.csv: line 2: label 'crane' is the name of 2 classes, 0 and 2: write"
    ):
        open_labelled(str(folder), file, classes)
    (folder.parent / "classes").mkdir()
    save(folder.parent / "classes/crane/a.png")
    with pytest.raises(InputError, match="crane: label 'crane' is the name of 2 classes"):
        open_labelled(str(folder.parent / "classes"), None, classes)
    write(folder, "a.png,0", "b.png,2", "c.png,1")
    assert [label for _, label in found(str(folder), file, classes)] == [0, 2, 1]


def test_header_and_empty_lines_are_ignored(folder):
    file = write(folder, "\ufefffile,label", "", "a.png,0", "b.png,0", "c.png,0", "")
    assert len(found(str(folder), file, CLASSES)) == 3


def test_folder_without_labels_has_none(folder):
    assert found(str(folder), None, CLASSES) == [("a.png", None), ("b.png", None), ("c.png", None)]


def test_folder_with_one_subfolder_per_class(tmp_path):
    for name in ("dog/a.png", "dog/b.png", "0/a.png", ".cache/x.png"):
        save(tmp_path / name)
    (tmp_path / "notes").mkdir()
    assert found(str(tmp_path), None, CLASSES) == [("0/a.png", 0), ("dog/a.png", 1), ("dog/b.png", 1)]


def test_fewer_frames_are_spread_evenly_over_all_classes(tmp_path):
    for name in CLASSES[:2]:
        for index in range(10):
            save(tmp_path / name / f"{index}.png")
    assert [label for _, label in found(str(tmp_path), None, CLASSES, frames=4)] == [0, 0, 1, 1]
    assert len(found(str(tmp_path), None, CLASSES, frames=99)) == 20


def test_built_in_frames_have_labels_for_a_model_of_digits_only():
    labels = [label for _, label in found("builtin", None, DIGITS, frames=5)]
    assert len(labels) == 5
    assert all(0 <= label <= 9 for label in labels)
    assert {label for _, label in found("builtin", None, CLASSES, frames=5)} == {None}


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["a.png,cat", "b.png,dog"], "has labels for 2 of 3 images: add the missing lines, such as c.png"),
        (["a.png,cat", "z.png,dog"], "line 2: file 'z.png' is not among the images"),
        (["a.png,cat", "b.png,bird"], "line 2: label 'bird' is neither a class of the model, such as 'cat', nor"),
        (["a.png,4"], r"line 1: label '4' is neither .*, nor a class index, 0 to 3"),
        (["a.png,-1"], "line 1: label '-1'"),
        (["a.png,cat", "", "a.png,dog"], "line 3: file 'a.png' already has a label"),
        (["a.png"], "line 1: has 1 fields: write file,label"),
        (["a.png,cat,dog"], "line 1: has 3 fields"),
        (["a.png,cat", "z.png,dog", "x" * 200_000], "line 2: file 'z.png'"),  # later lines, however many, are not read
    ],
)
def test_labels_that_do_not_fit_are_named_with_file_and_line(folder, lines, says):
    with pytest.raises(InputError, match=says) as caught:
        open_labelled(str(folder), write(folder, *lines), CLASSES)
    assert "labels.csv: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_binary_file_of_labels_is_refused(folder):
    file = write(folder, "x")
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"labels\.csv: is not a text file of lines file,label"):
        open_labelled(str(folder), file, CLASSES)
    with pytest.raises(InputError, match=r"none\.csv: cannot be read"):
        open_labelled(str(folder), folder / "none.csv", CLASSES)


def test_subfolder_that_names_no_class_is_refused(tmp_path):
    save(tmp_path / "bird/a.png")
    with pytest.raises(InputError, match="bird: its name is neither a class of the model"):
        open_labelled(str(tmp_path), None, CLASSES)


def test_images_beside_class_folders_are_refused(tmp_path):
    save(tmp_path / "cat/a.png")
    save(tmp_path / "b.png")
    with pytest.raises(InputError, match=r"has both images and folders of images: move b\.png into one"):
        open_labelled(str(tmp_path), None, CLASSES)


def test_empty_and_missing_folders_and_misplaced_labels_are_refused(tmp_path):
    with pytest.raises(InputError, match="holds no image"):
        open_labelled(str(tmp_path), None, CLASSES)
    with pytest.raises(InputError, match="'nowhere' is not a folder: use a folder of images, or builtin"):
        open_labelled("nowhere", None, CLASSES)
    with pytest.raises(InputError, match="is not for the built-in frames"):
        open_labelled("builtin", tmp_path / "labels.csv", DIGITS)
    with pytest.raises(InputError, match="is for images, but the model takes clips"):
        open_labelled(str(tmp_path), tmp_path / "labels.csv", CLASSES, clip_frames=4)


def test_model_without_classes_takes_folders_of_images_and_no_labels(tmp_path):
    save(tmp_path / "bird/a.png")
    save(tmp_path / "cat/a.png")
    assert found(str(tmp_path), None, ()) == [("bird/a.png", None), ("cat/a.png", None)]
    with pytest.raises(
        InputError, match="is for a model with classes that exclude each other, and this model has none"
    ):
        open_labelled(str(tmp_path), tmp_path / "labels.csv", ())


def test_corrupt_image_among_many_is_skipped_and_named(tmp_path):
    for index in range(20):
        save(tmp_path / "cat" / f"{index:02}.png")
    (tmp_path / "cat" / "07.png").write_bytes(b"nothing like an image")
    heard = []
    source = open_labelled(str(tmp_path), None, CLASSES, warn=heard.append)
    assert [sample.label for sample in source] == [0] * 19
    assert list(source.skipped) == ["cat/07.png"]
    assert re.search(r"skipped .*cat/07\.png: is not an image", heard[0])


def test_clips_come_from_consecutive_images(folder):
    [sample] = open_labelled(str(folder), None, CLASSES, clip_frames=2, stride=1, frames=1)
    assert sample.frame.shape == (2, 6, 8, 3)
    assert sample.label is None
