"""Open the files of a checkpoint: its weights, its config, and other JSON files beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from janus_vit.model.checkpoints.training.adapters import find_base, is_adapter, read_merged
from janus_vit.model.checkpoints.weights import Weights, find_weights, read_weights
from janus_vit.planning.jsonfile import Section, read_json

# Fields of a config that describe the last layer.
_OF_THE_HEAD = ("id2label", "label2id", "label_names", "label_descriptions", "problem_type", "num_labels")


@dataclass(frozen=True)
class OpenedCheckpoint:
    """Weights and config of a checkpoint.

    Attributes:
        weights: the tensors.
        config: its config.json, None if there is none.
        folders: where its other files are, in this order.
    """

    weights: Weights
    config: Section | None
    folders: tuple[Path, ...]

    def read_json(self, name: str) -> Section | None:
        """Read a JSON file of the checkpoint, None if there is none."""
        return _read_first(self.folders, name)


def open_checkpoint(path: Path) -> OpenedCheckpoint:
    """Open a weight file or a folder. An adapter is merged into its base model.

    Raises:
        InputError: a file is missing or damaged, or an adapter cannot be merged.
    """
    if is_adapter(path):
        return _open_adapter(path)
    file = find_weights(path)
    folders = (file.parent,)
    return OpenedCheckpoint(read_weights(file), _read_first(folders, "config.json"), folders)


def _open_adapter(folder: Path) -> OpenedCheckpoint:
    base_file = find_base(folder)
    weights, has_head = read_merged(folder, base_file)
    own = _read_first((folder,), "config.json")
    config = own or _read_first((base_file.parent,), "config.json")
    if own is None and config is not None and has_head:  # the base model's labels are not those of the new head
        config = replace(config, values={key: value for key, value in config.values.items() if key not in _OF_THE_HEAD})
    return OpenedCheckpoint(weights, config, (folder, base_file.parent))


def _read_first(folders: tuple[Path, ...], name: str) -> Section | None:
    paths = (folder / name for folder in folders)
    return next((read_json(path, None) for path in paths if path.is_file()), None)
