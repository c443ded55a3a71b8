"""Take off the prefixes that training frameworks put before the names of tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from janus_vit.errors import InputError

# Before all names: torch's DistributedDataParallel and averaged models; the attribute of a LightningModule.
_AROUND_ALL = {"module.": "DistributedDataParallel", "model.": "a training module"}
# Before some names or within them: torch.compile, FSDP, activation checkpointing.
_WITHIN = {
    "_orig_mod.": "torch.compile",
    "_fsdp_wrapped_module.": "FSDP",
    "_checkpoint_wrapped_module.": "activation checkpointing",
}
_MOST_LAYERS = 4  # wrappers around each other
_COUNTER = "n_averaged"  # of torch's AveragedModel, beside the names behind `module.`


def unwrap(path: Path, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the tensors under their model's own names, and a sentence for each prefix that was taken off.

    Args:
        path: the checkpoint, for messages.
        tensors: tensors by name.

    Raises:
        InputError: two names become one, or there are tensors beside the model.
    """
    names = {name: name for name in tensors}  # name in the file -> own name
    notes = []
    for prefix, framework in _WITHIN.items():
        changed = {name: re.sub(rf"(^|(?<=\.)){re.escape(prefix)}", "", own) for name, own in names.items()}
        if changed != names:
            names = changed
            notes.append(_note(path, prefix, framework))
    for _ in range(_MOST_LAYERS):
        outer = _around_all(path, names.values())
        if outer is None:
            break
        names = {name: own.removeprefix(outer) for name, own in names.items() if own != _COUNTER}
        notes.append(_note(path, outer, _AROUND_ALL[outer]))
    if len(set(names.values())) < len(names):
        raise InputError(f"{path}: two tensors have the same name apart from the prefixes of training: save it again")
    return {own: tensors[name] for name, own in names.items()}, tuple(notes)


def _around_all(path: Path, names: Iterable[str]) -> str | None:
    """Return the prefix that all names have, apart from the counter of an averaged model."""
    own = [name for name in names if name != _COUNTER]
    for prefix in _AROUND_ALL:
        others = [name for name in own if not name.startswith(prefix)]
        if len(others) < len(own) / 2 and not any(name.startswith("embeddings.") for name in others):
            if others:
                listed = ", ".join(sorted(others)[:3])
                raise InputError(
                    f"{path}: has tensors beside those behind {prefix!r} ({listed}): save only the model's state_dict()"
                )
            return prefix
    return None


def _note(path: Path, prefix: str, framework: str) -> str:
    return f"{path}: took off the prefix {prefix!r} of {framework} from the names of its tensors"
