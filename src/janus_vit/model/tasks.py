"""The tasks of a model, which say what its outputs mean.

classify      the labels exclude each other: their probabilities sum to 1 (softmax)
multilabel    each label is present or not: every probability stands alone (sigmoid)
regress       the outputs are the answer: one number or several
embed         the outputs are one vector
"""

from __future__ import annotations

CLASSIFY, MULTILABEL, REGRESS, EMBED = "classify", "multilabel", "regress", "embed"
TASKS = (CLASSIFY, MULTILABEL, REGRESS, EMBED)
# The field problem_type of transformers' configs -> task.
TASK_OF_PROBLEM = {
    "single_label_classification": CLASSIFY,
    "multi_label_classification": MULTILABEL,
    "regression": REGRESS,
}
