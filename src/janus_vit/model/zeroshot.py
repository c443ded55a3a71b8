"""Label the embeddings of a model by the nearest of given text vectors (Radford et al., ICML 2021)."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from janus_vit.errors import InputError
from janus_vit.planning.outcome import Answer

_SCALE = 100.0  # multiplies cosine similarities before the softmax, as in CLIP
_ANSWERS = 5


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
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in ("labels", "vectors", "scale") if name in arrays.files}
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file: check the path") from error
    except (OSError, ValueError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(
            f"{path}: not a readable .npz file: make it with numpy.savez(FILE, labels=..., vectors=...)"
        ) from error
    labels, vectors = found.get("labels"), found.get("vectors")
    if labels is None or labels.ndim != 1 or labels.dtype.kind != "U" or len(labels) == 0:
        raise InputError(f"{path}: array labels must be a list of texts: make the file again")
    if vectors is None or vectors.dtype.kind != "f" or vectors.shape != (len(labels), width):
        shape = "missing" if vectors is None else f"{vectors.dtype} {list(vectors.shape)}"
        raise InputError(f"{path}: array vectors is {shape}; the model needs {len(labels)} x {width} numbers")
    vectors = vectors.astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.all(np.isfinite(lengths)) or np.any(lengths == 0):
        raise InputError(f"{path}: array vectors holds a row without a direction (zero or not finite): make it again")
    scale = np.asarray(found.get("scale", _SCALE))
    if scale.size != 1 or scale.dtype.kind not in "fiu" or not np.isfinite(scale).all() or scale.min() <= 0:
        raise InputError(f"{path}: array scale must be one number above zero: make the file again")
    return TextVectors(tuple(map(str, labels)), vectors / lengths, float(scale.reshape(-1)[0]))
