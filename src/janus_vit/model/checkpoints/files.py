"""Open the files of a checkpoint: its weights, its config, and other JSON files beside them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from janus_vit.model.checkpoints.named import name_architecture
from janus_vit.model.checkpoints.open_clip.config import CONFIG as OPEN_CLIP_CONFIG
from janus_vit.model.checkpoints.open_clip.tower import is_open_clip, translate
from janus_vit.model.checkpoints.training.adapters import find_base, is_adapter, read_merged
from janus_vit.model.checkpoints.weights import Weights, find_weights, read_weights
from janus_vit.planning.jsonfile import Section, read_json

PROCESSORS = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")  # transformers
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

    def read_processor(self) -> Section | None:
        """Read the config of the image processor of transformers, None if there is none."""
        return next(filter(None, (self.read_json(name) for name in PROCESSORS)), None)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about what was changed while reading, or taken for granted."""
        states_it = "janus" in self.weights.metadata or bool(self.config and self.config.values.get("pretrained_cfg"))
        if states_it or any(os.path.isfile(folder / name) for folder in self.folders for name in PROCESSORS):
            return self.weights.notes
        assumed = "no file beside it states mean and std of its images: both are taken as 0.5"
        return (*self.weights.notes, f"{self.weights.path}: {assumed} (write {PROCESSORS[0]} if they are not)")


def open_checkpoint(path: Path, architecture: str | None = None) -> OpenedCheckpoint:
    """Open a weight file or a folder. An adapter is merged into its base model.

    Args:
        path: path of the checkpoint.
        architecture: name of the architecture, if no config.json says it.

    Raises:
        InputError: a file is missing or damaged, an adapter cannot be merged, or nothing names the architecture.
    """
    opened = _open_adapter(path) if is_adapter(path) else _open_weights(path)
    if is_open_clip(opened.weights):
        stated = _read_first(opened.folders, OPEN_CLIP_CONFIG)
        weights, config = translate(opened.weights, stated, architecture)
        return replace(opened, weights=weights, config=config)
    return replace(opened, config=name_architecture(opened.weights, opened.config, architecture))


def _open_weights(path: Path) -> OpenedCheckpoint:
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
    return next((read_json(path, None) for path in paths if os.path.lexists(path)), None)
