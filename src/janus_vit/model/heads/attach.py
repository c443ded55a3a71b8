"""Replace the head of a backbone by a dense one."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from janus_vit.model.heads.base import DenseHead
from janus_vit.model.heads.simple import FeatureHead
from janus_vit.model.vit import ATTENTION, ATTENTIVE, GRID, VisionTransformer

UNNORMED_FEATURES = ("clip", "clip_vision_model")  # the last hidden state of CLIP in transformers has no last norm


def as_feature_model(network: VisionTransformer, normed: bool = True) -> VisionTransformer:
    """Make a backbone return the patch grid of its last block; see `with_head`."""
    return with_head(network, FeatureHead(), normed)


def with_head(network: VisionTransformer, head: DenseHead, normed: bool = True) -> VisionTransformer:
    """Replace the head of a network, which is changed, by a head that reads the patch grid.

    Args:
        network: the backbone.
        head: its new head.
        normed: whether the tokens pass the last norm. They never do where that norm comes after pooling.
    """
    arch = network.architecture
    last_norm = arch.last_norm and normed and not arch.pooled_norm
    network.architecture = replace(
        arch, pooling=GRID, classes=0, distilled=False, pooled_norm=False, last_norm=last_norm
    )
    network.head, network.head_dist = nn.Identity(), None
    network.norm = network.norm if last_norm else nn.Identity()
    if arch.pooling in (ATTENTION, ATTENTIVE):
        del network.pool
    network.dense_head = head.eval().requires_grad_(False)
    return network
