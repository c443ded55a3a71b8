"""Labels by the nearest text vector."""

import numpy as np
import pytest

from janus_vit.errors import InputError
from janus_vit.model.zeroshot import read_text_vectors
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
    with pytest.raises(InputError, match="no such file"):
        read_text_vectors(tmp_path / "t.npz", 2)
