"""Small dense checkpoints of transformers, made by its own classes with random weights, with their own outputs."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peers import import_torchvision, randomise
from torch import Tensor

from janus_vit.model.heads.segments import SegmentHead

BACKBONE = {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 4, "layer_norm_eps": 1e-3}
DPT = {"neck_hidden_sizes": [8, 12, 16, 20], "fusion_hidden_size": 12, "initializer_range": 0.1}
EOMT = {
    "image_size": 64, "patch_size": 16, "num_blocks": 2, "num_queries": 5, "num_register_tokens": 2,
    "num_upscale_blocks": 2, "num_labels": 3,
}  # fmt: skip
VIT = {**BACKBONE, "intermediate_size": 40, "image_size": 32, "patch_size": 8}


@dataclass(frozen=True)
class DensePeer:
    """A checkpoint in a folder, and the output of the class that wrote it."""

    folder: Path
    original: str
    task: str
    input_shape: tuple[int, ...]
    forward: Callable[[Tensor], Tensor]


def _dinov2(hf: Any, **changes: Any) -> Any:
    settings = {**BACKBONE, "image_size": 56, "patch_size": 14, "mlp_ratio": 2, "reshape_hidden_states": False}
    return hf.Dinov2Config(**settings, **{"out_indices": [1, 2, 3, 4], **changes})


def _depth_anything(hf: Any, **changes: Any) -> tuple[Any, Callable[[Tensor], Tensor], str, tuple[int, ...]]:
    config = hf.DepthAnythingConfig(
        backbone_config=_dinov2(hf), patch_size=14, reassemble_hidden_size=24, head_hidden_size=6, **DPT, **changes
    )
    model = hf.DepthAnythingForDepthEstimation(config)
    return model, lambda pixels: model(pixels).predicted_depth, "depth", (3, 56, 56)


def _metric_depth(hf: Any) -> Any:
    return _depth_anything(hf, depth_estimation_type="metric", max_depth=20)


def _dpt_dinov2(hf: Any) -> Any:
    backbone = _dinov2(hf, out_indices=[0, 2, 3, 4], apply_layernorm=False)
    config = hf.DPTConfig(backbone_config=backbone, readout_type="ignore", add_projection=False, **DPT)
    model = hf.DPTForDepthEstimation(config)
    return model, lambda pixels: model(pixels).predicted_depth, "depth", (3, 56, 56)


def _dpt_depth(hf: Any) -> Any:
    config = hf.DPTConfig(
        **VIT, **DPT, backbone_out_indices=[0, 1, 2, 3], readout_type="add", use_batch_norm_in_fusion_residual=True
    )
    model = hf.DPTForDepthEstimation(config)
    return model, lambda pixels: model(pixels).predicted_depth, "depth", (3, 32, 32)


def _dpt_segment(hf: Any) -> Any:
    config = hf.DPTConfig(**VIT, **DPT, backbone_out_indices=[0, 1, 2, 3], num_labels=5)
    model = hf.DPTForSemanticSegmentation(config)
    return model, lambda pixels: model(pixels).logits, "segment", (3, 32, 32)


def _yolos(hf: Any) -> Any:
    settings = {**VIT, "image_size": [32, 48], "num_detection_tokens": 7, "use_mid_position_embeddings": False}
    model = hf.YolosForObjectDetection(hf.YolosConfig(**settings, num_labels=4))

    def forward(pixels: Tensor) -> Tensor:
        found = model(pixels)
        return torch.cat([found.logits, found.pred_boxes], dim=-1)

    return model, forward, "detect", (3, 32, 48)


def _vitpose(hf: Any, simple: bool = True) -> Any:
    backbone = hf.VitPoseBackboneConfig(
        **BACKBONE, mlp_ratio=2, image_size=[64, 48], patch_size=[16, 16], out_indices=[4]
    )
    config = hf.VitPoseConfig(backbone_config=backbone, num_labels=6, use_simple_decoder=simple, scale_factor=4)
    model = hf.VitPoseForPoseEstimation(config)
    return model, lambda pixels: model(pixels).heatmaps, "pose", (3, 64, 48)


def _vitpose_plus(hf: Any) -> Any:
    backbone = hf.VitPoseBackboneConfig(
        **BACKBONE, mlp_ratio=2, image_size=[64, 48], patch_size=[16, 16], out_indices=[4], num_experts=3,
        part_features=8,
    )  # fmt: skip
    config = hf.VitPoseConfig(backbone_config=backbone, num_labels=6, scale_factor=4, dataset_index=2)
    model = hf.VitPoseForPoseEstimation(config)
    chosen = torch.tensor(2)
    return model, lambda pixels: model(pixels, dataset_index=chosen.expand(len(pixels))).heatmaps, "pose", (3, 64, 48)


def _vitpose_classic(hf: Any) -> Any:
    return _vitpose(hf, simple=False)


def _eomt(hf: Any, **changes: Any) -> Any:
    config = hf.EomtConfig(**BACKBONE, **EOMT, mlp_ratio=2, **changes)
    return _segmenting(hf, hf.EomtForUniversalSegmentation(config))


def _eomt_dinov3(hf: Any) -> Any:
    config = hf.EomtDinov3Config(**BACKBONE, **EOMT, intermediate_size=40)
    return _segmenting(hf, hf.EomtDinov3ForUniversalSegmentation(config))


def _segmenting(hf: Any, model: Any) -> Any:
    model.attn_mask_probs.zero_()
    processor = hf.EomtImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 64})

    def forward(pixels: Tensor) -> Tensor:
        scored = processor.post_process_semantic_segmentation(
            model(pixels), [(64, 64)] * len(pixels), return_segmentation_scores=True
        )
        return torch.stack([each["segmentation_scores"] for each in scored])

    return model, forward, "segment", (3, 64, 64)


def _eomt_swiglu(hf: Any) -> Any:
    return _eomt(hf, use_swiglu_ffn=True)


FAMILIES: dict[str, Callable[[Any], Any]] = {
    "depth-anything": _depth_anything,
    "depth-anything-metric": _metric_depth,
    "dpt-dinov2-depth": _dpt_dinov2,
    "dpt-depth": _dpt_depth,
    "dpt-segment": _dpt_segment,
    "yolos": _yolos,
    "eomt": _eomt,
    "eomt-swiglu": _eomt_swiglu,
    "eomt-dinov3": _eomt_dinov3,
    "vitpose": _vitpose,
    "vitpose-classic": _vitpose_classic,
    "vitpose-plus": _vitpose_plus,
}


def with_scores(model: Any) -> Any:
    """Make a model that segments return the scores of all classes, as its peer does; others stay as they are."""
    head = model.network.dense_head
    if isinstance(head, SegmentHead):
        head.forward = lambda features: torch.cat(list(head.bands(features)), dim=2)
    return model


def make_dense_peer(family: str, folder: Path) -> DensePeer:
    """Save a checkpoint of a family in a folder."""
    with warnings.catch_warnings(), torch.no_grad(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        import_torchvision()
        import transformers

        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        model, forward, task, shape = FAMILIES[family](transformers)
        randomise(model)
        for name, buffer in model.named_buffers():
            if name.endswith("running_var"):
                buffer.copy_(1 + torch.rand(buffer.shape, generator=torch.Generator().manual_seed(5)))
            elif name.endswith("running_mean"):
                buffer.copy_(torch.randn(buffer.shape, generator=torch.Generator().manual_seed(6)))
        model.save_pretrained(folder)

    def run(pixels: Tensor) -> Tensor:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return forward(pixels)

    return DensePeer(folder, type(model).__name__, task, shape, run)
