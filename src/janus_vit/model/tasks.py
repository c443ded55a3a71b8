"""The tasks of a model. `classify` gives probabilities of labels, `embed` gives one vector."""

from __future__ import annotations

CLASSIFY, EMBED = "classify", "embed"
TASKS = (CLASSIFY, EMBED)
