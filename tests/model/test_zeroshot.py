"""Labels by the nearest text vector."""

import tracemalloc
import zipfile

import numpy as np
import pytest

from janus_vit.errors import InputError
from janus_vit.model.text.zeroshot import read_text_vectors
from janus_vit.planning.outcome import Answer


def test_the_nearest_text_is_the_label(tmp_path):
    path = tmp_path / "texts.npz"
    np.savez(path, labels=["up", "right", "both"], vectors=np.array([[0, 2.0], [3.0, 0], [1.0, 1.0]]))
    texts = read_text_vectors(path, 2)
    answer = texts.label(Answer((), (), (0.6, 0.8)))
    assert [texts.labels[index] for index in answer.classes] == ["both", "up", "right"]
    assert sum(answer.probabilities) == pytest.approx(1.0)
    assert answer.vector == (0.6, 0.8)
    # cosine similarities 0.99, 0.8 and 0.6, a hundred times, through a softmax
    assert answer.probabilities[1] == pytest.approx(np.exp(100 * (0.8 - 1.4 / np.sqrt(2))), rel=1e-3)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"vectors": np.ones((2, 2))}, "array labels"),
        ({"labels": [1, 2], "vectors": np.ones((2, 2))}, "array labels"),
        ({"labels": ["a"]}, "array vectors is missing"),
        ({"labels": ["a"], "vectors": np.ones((2, 2))}, r"float64 \[2, 2\]; the model needs 1 x 2"),
        ({"labels": ["a"], "vectors": np.zeros((1, 2))}, "without a direction"),
        ({"labels": ["a"], "vectors": np.full((1, 2), np.nan)}, "without a direction"),
    ],
)
def test_a_table_that_does_not_fit_names_its_array(tmp_path, arrays, message):
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises(InputError, match=message):
        read_text_vectors(tmp_path / "t.npz", 2)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"words"])
def test_a_file_that_is_no_table_is_refused(tmp_path, content):
    (tmp_path / "t.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"t\.npz: not a readable"):
        read_text_vectors(tmp_path / "t.npz", 2)


def test_objects_in_a_table_are_never_unpickled(tmp_path):
    np.savez(tmp_path / "t.npz", labels=np.array(["a"], object), vectors=np.ones((1, 2)))
    with pytest.raises(InputError, match=r"t\.npz"):
        read_text_vectors(tmp_path / "t.npz", 2)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_text_vectors(tmp_path / "t.npz", 2)


def npy(header, data=b"", version=b"\1\0"):
    """An .npy file with this header, as numpy would write it."""
    padded = header.encode() + b" " * (-(10 + len(header) + 1) % 64) + b"\n"
    return b"\x93NUMPY" + version + len(padded).to_bytes(2, "little") + padded + data


def described(shape, kind="<f8", order="False"):
    return f"{{'descr': '{kind}', 'fortran_order': {order}, 'shape': {shape}, }}"


def write_members(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)


def peak_bytes(path, message):
    """Most memory that it takes to refuse a file."""
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=message):
            read_text_vectors(path, 2)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


LABELS = npy(described("(1,)", "<U1"), "a".encode("utf-32-le"))
VECTORS = npy(described("(1, 2)"), np.ones((1, 2)).tobytes())


@pytest.mark.parametrize(
    "vectors",
    [
        npy(described("(1000000000000000, 2)")),
        npy(described("(9223372036854775808, 0)")),
        npy(described("(-1, 2)"), bytes(16)),
        npy(described("(1, 2)"), bytes(8)),
        npy(described("(1, 2)"), bytes(24)),
        npy(described("(1, 2)", "|O"), b"cos\nsystem\n(S'false'\ntR."),
        npy(described("(1, 2)", "|V0")),
        npy("{'descr': '<f8', 'shape': (1, 2)"),
        npy("{'descr': '" + "''"),
        npy("(" * 9_000),
        npy("{" * 5_000),
        npy(described("(1, 2)"), bytes(16), version=b"\3\0"),
        npy(described("(1, 2)"), bytes(16), version=b"\xff\xff"),
        b"\x93NUMPY\1\0\xff\xff",
        b"words",
        b"",
    ],
)
def test_a_damaged_header_is_refused_before_anything_is_allocated(tmp_path, vectors):
    write_members(tmp_path / "t.npz", [("labels.npy", LABELS), ("vectors.npy", vectors)])
    assert peak_bytes(tmp_path / "t.npz", "array vectors is damaged or holds objects") < 4_000_000


def test_an_array_that_unpacks_to_gigabytes_is_refused_before_it_is_read(tmp_path):
    bomb = npy(described("(4000000, 2)"), bytes(64_000_000))
    write_members(tmp_path / "t.npz", [("labels.npy", LABELS), ("vectors.npy", bomb)], zipfile.ZIP_DEFLATED)
    assert peak_bytes(tmp_path / "t.npz", r"array vectors unpacks from \d+ to 64000128 bytes") < 4_000_000


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_packers_are_refused(tmp_path, compression):
    write_members(tmp_path / "t.npz", [("labels.npy", LABELS), ("vectors.npy", VECTORS)], compression)
    with pytest.raises(InputError, match="array labels is encrypted or packed"):
        read_text_vectors(tmp_path / "t.npz", 2)


def test_an_encrypted_array_is_refused(tmp_path):
    write_members(tmp_path / "t.npz", [("labels.npy", LABELS), ("vectors.npy", VECTORS)])
    data = bytearray((tmp_path / "t.npz").read_bytes())
    for signature, flags in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        data[data.index(signature) + flags] |= 1
    (tmp_path / "t.npz").write_bytes(data)
    with pytest.raises(InputError, match="array labels is encrypted"):
        read_text_vectors(tmp_path / "t.npz", 2)


def test_other_arrays_are_not_read_and_the_last_of_equal_names_counts(tmp_path):
    others = [(f"other{index}.npy", b"words") for index in range(50)]
    members = [*others, ("labels.npy", b""), ("labels.npy", LABELS), ("vectors.npy", VECTORS)]
    with pytest.warns(UserWarning, match="Duplicate name"):
        write_members(tmp_path / "t.npz", members, zipfile.ZIP_DEFLATED)
    assert read_text_vectors(tmp_path / "t.npz", 2).labels == ("a",)


@pytest.mark.parametrize("scale", [1e308, 1e5, 0.0, -1.0, np.nan, np.inf, [1.0, 2.0], "100", True])
def test_a_scale_that_cannot_be_is_refused(tmp_path, scale):
    np.savez(tmp_path / "t.npz", labels=["a"], vectors=np.ones((1, 2)), scale=scale)
    with pytest.raises(InputError, match="array scale"):
        read_text_vectors(tmp_path / "t.npz", 2)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, -np.inf])
def test_vectors_without_a_length_are_refused(tmp_path, value):
    np.savez(tmp_path / "t.npz", labels=["a"], vectors=np.full((1, 2), value))
    with pytest.raises(InputError, match="without a direction"):
        read_text_vectors(tmp_path / "t.npz", 2)


@pytest.mark.parametrize("length", [1e-300, 1e-22, 1e-3, 1e30, 1e300])
def test_the_length_of_a_vector_does_not_matter(tmp_path, length):
    np.savez(tmp_path / "t.npz", labels=["a"], vectors=length * np.array([[3.0, 4.0]]))
    np.testing.assert_allclose(read_text_vectors(tmp_path / "t.npz", 2).vectors, [[0.6, 0.8]], rtol=1e-6)


@pytest.mark.parametrize("number", [0xD800, 0x110000, 0xFFFFFFFF])
def test_labels_of_no_characters_are_refused(tmp_path, number):
    labels = npy(described("(1,)", "<U1"), number.to_bytes(4, "little"))
    write_members(tmp_path / "t.npz", [("labels.npy", labels), ("vectors.npy", VECTORS)])
    with pytest.raises(InputError, match="array labels holds numbers that are no characters"):
        read_text_vectors(tmp_path / "t.npz", 2)


def test_vectors_by_columns_are_read(tmp_path):
    values = np.arange(1.0, 7.0).reshape(3, 2)
    np.savez_compressed(tmp_path / "t.npz", labels=list("abc"), vectors=np.asfortranarray(values), scale=np.int64(5))
    texts = read_text_vectors(tmp_path / "t.npz", 2)
    np.testing.assert_allclose(texts.vectors, values / np.linalg.norm(values, axis=1, keepdims=True), rtol=1e-6)
    assert texts.scale == 5
