"""The tasks of a model, which say what its outputs mean.

classify      the labels exclude each other: their probabilities sum to 1 (softmax)
multilabel    each label is present or not: every probability stands alone (sigmoid)
regress       the outputs are the answer: one number or several
embed         the outputs are one vector

Dense tasks, which answer for each place of the frame:

features      the output of the backbone for each patch
depth         the distance of each pixel, or its inverse
segment       the class of each pixel
detect        boxes of objects
pose          key points
head          what a head of the user's own says
"""

from __future__ import annotations

CLASSIFY, MULTILABEL, REGRESS, EMBED = "classify", "multilabel", "regress", "embed"
FEATURES, DEPTH, SEGMENT, DETECT, POSE, OWN_HEAD = "features", "depth", "segment", "detect", "pose", "head"
DENSE_TASKS = (FEATURES, DEPTH, SEGMENT, DETECT, POSE, OWN_HEAD)
TASKS = (CLASSIFY, MULTILABEL, REGRESS, EMBED, *DENSE_TASKS)
# The field problem_type of transformers' configs -> task.
TASK_OF_PROBLEM = {
    "single_label_classification": CLASSIFY,
    "multi_label_classification": MULTILABEL,
    "regression": REGRESS,
}
