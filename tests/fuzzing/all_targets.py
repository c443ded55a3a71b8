"""All targets, in groups that are imported when they are needed."""

from __future__ import annotations

from importlib import import_module

from fuzzing.target import Target

_GROUPS = {
    "network": ("fuzzing.network", "network_targets"),
    "files": ("fuzzing.files", "file_targets"),
    "live": ("fuzzing.live", "live_targets"),
}
GROUPS = tuple(_GROUPS)


def targets_of(group: str) -> list[Target]:
    """Every decoder of the network, every reader of files, or a cloud and a device."""
    module, function = _GROUPS[group]
    found: list[Target] = getattr(import_module(module), function)()
    return found
