"""YOLOS and ViTPose: what their configs say."""

from __future__ import annotations

import re

import torch

from janus_vit.model.checkpoints.dense.spec import DenseSpec, Size, Tensors, outputs_of, refuse_if, with_defaults
from janus_vit.model.checkpoints.weights import Weights
from janus_vit.model.heads.base import DenseHead
from janus_vit.model.heads.simple import ClassicPoseHead, DetectionHead, SimplePoseHead
from janus_vit.model.tasks import DETECT, POSE
from janus_vit.model.vit import PREFIX, Architecture
from janus_vit.planning.jsonfile import Section
from janus_vit.planning.plan import MOST_TOKENS

_POSITIONS = "embeddings.position_embeddings"
_QUERIES = "embeddings.detection_tokens"
_EXPERT = re.compile(r"mlp\.experts\.(\d{1,3})\.(weight|bias)$")
_MOST_EXPERTS = 100
_POSE_PADDING = 2  # of ViTPose's patch embedding, which its code fixes


def yolos(config: Section, weights: Weights) -> DenseSpec:
    """YOLOS. Its detection tokens come after the class token here: attention does not depend on the order."""
    config = with_defaults(config, num_detection_tokens=100, use_mid_position_embeddings=True, image_size=[512, 864])
    positions_within = config.flag("use_mid_position_embeddings", True)
    refuse_if(
        config, "use_mid_position_embeddings", positions_within,
        "tokens that have merged have no place in these tables; use yolos-tiny or yolos-small",
    )  # fmt: skip
    queries = config.integer("num_detection_tokens", 1, MOST_TOKENS)
    classes = outputs_of(weights, "class_labels_classifier.layers.2.weight") - 1

    def make(arch: Architecture) -> DenseHead:
        if arch.prefix != 1 + queries:
            raise config.wrong("num_detection_tokens", f"is {queries}, and the tensors hold {arch.prefix - 1}")
        return DetectionHead(arch.width, classes, queries)

    def prepare(tensors: Tensors, backbone: Section, size: Size) -> tuple[Tensors, Section]:
        tensors = {**tensors}
        tokens, positions = tensors.pop(_QUERIES, None), tensors.get(_POSITIONS)
        if tokens is not None:
            tensors["embeddings.register_tokens"] = tokens
        if positions is not None and positions.dim() == 3 and positions.shape[1] > queries + 1:
            own, patches, of_queries = positions[:, :1], positions[:, 1:-queries], positions[:, -queries:]
            tensors[_POSITIONS] = torch.cat([own, of_queries, patches], dim=1)
        return tensors, backbone

    backbone = Section(config.source, "", {**config.values, "model_type": "vit"})
    depth = (backbone.integer("num_hidden_layers", 1),)
    return DenseSpec(DETECT, "vit.", backbone, depth, make, PREFIX, prepare=prepare, classes=classes)


def vitpose(config: Section, weights: Weights) -> DenseSpec:
    """ViTPose, and ViTPose+ with the experts of one dataset: field dataset_index, by default 0 (COCO)."""
    config = with_defaults(config, use_simple_decoder=True, scale_factor=4)
    stated = config.section("backbone_config")
    experts = stated.integer("num_experts", 1, _MOST_EXPERTS) if "num_experts" in stated.values else 1
    dataset = config.integer("dataset_index", 0, experts - 1) if "dataset_index" in config.values else 0
    refuse_if(stated, "model_type", stated.values.get("model_type") != "vitpose_backbone", "only 'vitpose_backbone' is")
    points = outputs_of(weights, "head.conv.weight")
    is_simple, scale = config.flag("use_simple_decoder", True), config.integer("scale_factor", 1, 16)
    defaults = {"image_size": [256, 192], "num_hidden_layers": 12}
    backbone = Section(stated.source, stated.path, {**defaults, **stated.values, "model_type": "vit"})

    def make(arch: Architecture) -> DenseHead:
        return SimplePoseHead(arch.width, points, scale) if is_simple else ClassicPoseHead(arch.width, points)

    def prepare(tensors: Tensors, backbone: Section, size: Size) -> tuple[Tensors, Section]:
        chosen = tensors if experts == 1 else _with_experts_of(dataset, tensors)
        return _without_class_position(chosen, backbone, size)

    depth = (backbone.integer("num_hidden_layers", 1),)
    return DenseSpec(
        POSE, "backbone.", backbone, depth, make, head="head.", stem_padding=_POSE_PADDING, fixed_size=True,
        prepare=prepare, classes=points,
    )  # fmt: skip


def _with_experts_of(dataset: int, tensors: Tensors) -> Tensors:
    """Give the last layer of each MLP, which all datasets share, the outputs of a dataset's expert beside its own."""
    joined = {name: tensor for name, tensor in tensors.items() if _EXPERT.search(name) is None}
    for name, tensor in tensors.items():
        expert = _EXPERT.search(name)
        if expert is None or int(expert[1]) != dataset:
            continue
        shared = name.replace(expert[0], f"mlp.fc2.{expert[2]}")
        fits = shared in tensors and tensors[shared].shape[1:] == tensor.shape[1:]
        joined[shared if fits else name] = torch.cat([tensors[shared], tensor]) if fits else tensor
    return joined


def _without_class_position(tensors: Tensors, config: Section, size: Size) -> tuple[Tensors, Section]:
    """Add the position of the class token, which ViTPose does not have, to those of the patches."""
    positions = tensors.get(_POSITIONS)
    if positions is None or positions.dim() != 3:
        return tensors, config
    return {**tensors, _POSITIONS: positions[:, 1:] + positions[:, :1]}, config
