"""Read what the outputs of a classifier mean: the task, and the names of the labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from janus_vit.errors import InputError
from janus_vit.model.tasks import CLASSIFY, MULTILABEL, REGRESS, TASK_OF_PROBLEM
from janus_vit.planning.jsonfile import Section, printable


def head_task(path: Path, config: Section | None, outputs: int, wanted: str | None) -> str:
    """Return the task of a model with a last layer: what the config's problem_type says, otherwise what the user wants.

    Without either, several outputs are classes that exclude each other, as both libraries assume.

    Args:
        path: the checkpoint, for error messages.
        config: its config.json, None if there is none.
        outputs: number of outputs of the last layer.
        wanted: the task that the user wants, None for the model's own.

    Raises:
        InputError: the config states an unknown task or one that was not wanted, one output could mean anything, or the
            user wants a task of other heads.
    """
    stated = _stated_task(config)
    source = path if config is None else config.source
    if stated is not None and wanted not in (None, stated):
        raise InputError(f"{source}: this model can only {stated}: leave out --task {wanted}, or use another model")
    if wanted not in (None, *TASK_OF_PROBLEM.values()):
        raise InputError(
            f"{source}: this model has no head for {wanted}: leave out --task {wanted}, or use another model"
        )
    task = stated or wanted
    if outputs > 1:
        return task or CLASSIFY
    if task == CLASSIFY:
        raise InputError(
            f"{source}: the model has one output, and a softmax over one class always answers 100 %: use --task "
            f"{MULTILABEL} if it is the logit of one label, --task {REGRESS} if it is a number"
            + (", and remove the field problem_type" if stated else "")
        )
    if task is None:
        raise InputError(
            f"{source}: the model has one output, and no field problem_type says what it means: use --task "
            f"{MULTILABEL} if it is the logit of one label, --task {REGRESS} if it is a number"
        )
    return task


def _stated_task(config: Section | None) -> str | None:
    problem = None if config is None else config.values.get("problem_type")
    if config is None or problem is None:
        return None
    if not isinstance(problem, str) or problem not in TASK_OF_PROBLEM:
        raise InputError(
            f"{config.source}: field problem_type is {problem!r}: supported are {', '.join(TASK_OF_PROBLEM)}"
        )
    return TASK_OF_PROBLEM[problem]


def read_labels(config: Section | None, classes: int) -> tuple[str, ...]:
    """Read the names of the classes from either library's config; use numbers where there are none.

    Raises:
        InputError: the config names another number of labels than the head has.
    """
    values: Mapping[str, Any] = config.values if config is not None else {}
    by_index, names = values.get("id2label"), values.get("label_names")
    if isinstance(by_index, Mapping):
        names = [by_index.get(str(index), f"class {index}") for index in range(max(classes, len(by_index)))]
    names = list(map(str, names)) if isinstance(names, list) else None
    descriptions = values.get("label_descriptions")
    if isinstance(descriptions, Mapping) and isinstance(names, list):
        names = [str(descriptions.get(name, name)).split(",")[0] for name in names]
    if not isinstance(names, list):
        return tuple(f"class {index}" for index in range(classes))
    if len(names) != classes:
        source = config.source if config is not None else "config.json"
        raise InputError(f"{source}: names {len(names)} labels and the head has {classes}: copy both from one model")
    return tuple(map(printable, names))
