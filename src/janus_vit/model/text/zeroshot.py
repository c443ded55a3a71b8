"""Label the embeddings of a model by the nearest of given text vectors (Radford et al., ICML 2021)."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from janus_vit.errors import InputError
from janus_vit.model.text.array_files import read_arrays
from janus_vit.planning.jsonfile import printable
from janus_vit.planning.outcome import Answer

_SCALE = 100.0  # multiplies cosine similarities before the softmax, as in CLIP
_LARGEST_SCALE = 1e4
_ANSWERS = 5
_SURROGATES = 0xD800, 0xDFFF  # no characters by themselves


@dataclass(frozen=True, eq=False)
class TextVectors:
    """One vector for each label.

    Attributes:
        labels: the texts.
        vectors: [labels, width] float32, each of length 1.
        scale: multiplies similarities before the softmax.
    """

    labels: tuple[str, ...]
    vectors: NDArray[np.float32]
    scale: float = _SCALE

    def label(self, answer: Answer) -> Answer:
        """Add the most similar labels to an answer as its classes."""
        logits = self.scale * (self.vectors @ np.array(answer.vector, np.float32))
        shares = np.exp(logits - logits.max())
        best = np.argsort(-shares, kind="stable")[:_ANSWERS]
        probabilities = shares[best] / shares.sum()
        return replace(answer, classes=tuple(best.tolist()), probabilities=tuple(probabilities.tolist()))


def read_text_vectors(path: Path, width: int) -> TextVectors:
    """Read an `.npz` file with `labels` [n] texts, `vectors` [n, width] and optionally `scale` (default 100, as CLIP).

    Args:
        path: path of the file.
        width: number of values in one embedding of the model.

    Raises:
        InputError: the file is missing, or an array does not fit; the message names the array.
    """
    found = read_arrays(path, ("labels", "vectors", "scale"))
    labels, vectors = found.get("labels"), found.get("vectors")
    if labels is None or labels.ndim != 1 or labels.dtype.kind != "U" or len(labels) == 0:
        raise InputError(f"{path}: array labels must be a list of texts: make the file again")
    if vectors is None or vectors.dtype.kind != "f" or vectors.shape != (len(labels), width):
        shape = "missing" if vectors is None else f"{vectors.dtype} {list(vectors.shape)}"
        raise InputError(f"{path}: array vectors is {shape}; the model needs {len(labels)} x {width} numbers")
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # what has no direction is refused
        exact = vectors.astype(np.float64)
        exact = exact / np.abs(exact).max(axis=1, keepdims=True)  # squares of small or large values would be 0 or inf
        lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    if not np.all(np.isfinite(lengths)):
        raise InputError(f"{path}: array vectors holds a row without a direction (zero or not finite): make it again")
    scale = np.asarray(found.get("scale", _SCALE))
    if scale.size != 1 or scale.dtype.kind not in "fiu" or not 0 < scale.reshape(-1)[0] <= _LARGEST_SCALE:
        raise InputError(
            f"{path}: array scale must be one number above zero and at most {_LARGEST_SCALE:g}: make the file again"
        )
    return TextVectors(_texts(labels, path), (exact / lengths).astype(np.float32), float(scale.reshape(-1)[0]))


def _texts(labels: NDArray[np.str_], path: Path) -> tuple[str, ...]:
    """Return the labels. Python fails on numbers that are no characters, which only a damaged file holds."""
    codes = np.frombuffer(labels.tobytes(), f"{labels.dtype.byteorder}u4")
    if codes.max() > sys.maxunicode or np.any((codes >= _SURROGATES[0]) & (codes <= _SURROGATES[1])):
        raise InputError(f"{path}: array labels holds numbers that are no characters: make the file again")
    return tuple(printable(str(label)) for label in labels)
