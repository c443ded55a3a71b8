"""The architectures of timm whose answers were compared with timm's own, with their shapes. Other names are refused.

The tensors of a checkpoint do not show everything that timm computes. Rotary positions, for example, leave no tensor
behind. A name enters this list only when `scripts/compare_timm_names.py` finds our answers equal to timm's.
"""

from __future__ import annotations

import re
from typing import NamedTuple

COMPARED_WITH = "1.0.31"  # the release of timm


class TimmShape(NamedTuple):
    """The shape of an architecture, as its name stands for it.

    Attributes:
        width: number of values in one token.
        depth: number of blocks.
        heads: number of attention heads.
        patch_size: height and width of a patch in pixels.
    """

    width: int
    depth: int
    heads: int
    patch_size: int


# Width, depth and heads -> names.
_NAMES: dict[tuple[int, int, int], str] = {
    (192, 12, 3): ("deit_tiny_distilled_patch16_224 deit_tiny_patch16_224 vit_tiny_patch16_224 vit_tiny_patch16_384"),
    (256, 10, 4): "vit_xsmall_patch16_clip_224",
    (256, 14, 4): "vit_wee_patch16_reg1_gap_256",
    (320, 14, 5): "vit_little_patch16_reg1_gap_256 vit_little_patch16_reg4_gap_256",
    (384, 12, 6): (
        "deit3_small_patch16_224 deit3_small_patch16_384 deit_small_distilled_patch16_224 deit_small_patch16_224 "
        "flexivit_small vit_small_patch14_dinov2 vit_small_patch14_reg4_dinov2 vit_small_patch16_224 "
        "vit_small_patch16_384 vit_small_patch32_224 vit_small_patch32_384 vit_small_patch8_224"
    ),
    (384, 36, 6): "vit_small_patch16_36x1_224",
    (512, 12, 8): (
        "deit3_medium_patch16_224 vit_medium_patch16_clip_224 vit_medium_patch16_gap_240 "
        "vit_medium_patch16_gap_256 vit_medium_patch16_gap_384 vit_medium_patch16_reg1_gap_256 "
        "vit_medium_patch16_reg4_gap_256 vit_medium_patch32_clip_224"
    ),
    (512, 20, 8): "vit_mediumd_patch16_reg4_gap_256 vit_mediumd_patch16_reg4_gap_384",
    (640, 12, 10): (
        "vit_betwixt_patch16_gap_256 vit_betwixt_patch16_reg1_gap_256 vit_betwixt_patch16_reg4_gap_256 "
        "vit_betwixt_patch16_reg4_gap_384 vit_betwixt_patch32_clip_224"
    ),
    (768, 12, 12): (
        "deit3_base_patch16_224 deit3_base_patch16_384 deit_base_distilled_patch16_224 "
        "deit_base_distilled_patch16_384 deit_base_patch16_224 deit_base_patch16_384 flexivit_base "
        "vit_base_patch14_dinov2 vit_base_patch14_reg1_tipsv2 vit_base_patch14_reg4_dinov2 vit_base_patch16_224 "
        "vit_base_patch16_224_miil vit_base_patch16_384 vit_base_patch16_clip_224 vit_base_patch16_clip_384 "
        "vit_base_patch16_clip_quickgelu_224 vit_base_patch16_reg4_gap_256 vit_base_patch16_siglip_224 "
        "vit_base_patch16_siglip_256 vit_base_patch16_siglip_384 vit_base_patch16_siglip_512 "
        "vit_base_patch16_siglip_gap_224 vit_base_patch16_siglip_gap_256 vit_base_patch16_siglip_gap_384 "
        "vit_base_patch16_siglip_gap_512 vit_base_patch32_224 vit_base_patch32_384 vit_base_patch32_clip_224 "
        "vit_base_patch32_clip_256 vit_base_patch32_clip_384 vit_base_patch32_clip_448 "
        "vit_base_patch32_clip_quickgelu_224 vit_base_patch32_siglip_256 vit_base_patch32_siglip_gap_256 "
        "vit_base_patch8_224"
    ),
    (768, 12, 16): "vit_base_patch16_gap_224",
    (832, 21, 13): (
        "vit_so150m2_patch16_reg1_gap_256 vit_so150m2_patch16_reg1_gap_384 vit_so150m2_patch16_reg1_gap_448"
    ),
    (896, 12, 14): "vit_base_patch16_plus_240 vit_base_patch16_plus_clip_240 vit_base_patch32_plus_256",
    (896, 18, 14): "vit_so150m_patch16_reg4_gap_256 vit_so150m_patch16_reg4_gap_384",
    (1024, 24, 16): (
        "deit3_large_patch16_224 deit3_large_patch16_384 eva_large_patch14_196 eva_large_patch14_336 "
        "flexivit_large vit_intern300m_patch14_448 vit_large_patch14_224 vit_large_patch14_clip_224 "
        "vit_large_patch14_clip_336 vit_large_patch14_clip_quickgelu_224 vit_large_patch14_clip_quickgelu_336 "
        "vit_large_patch14_dinov2 vit_large_patch14_reg1_tipsv2 vit_large_patch14_reg4_dinov2 "
        "vit_large_patch16_224 vit_large_patch16_384 vit_large_patch16_siglip_256 vit_large_patch16_siglip_384 "
        "vit_large_patch16_siglip_512 vit_large_patch16_siglip_gap_256 vit_large_patch16_siglip_gap_384 "
        "vit_large_patch16_siglip_gap_512 vit_large_patch32_224 vit_large_patch32_384"
    ),
    (1024, 24, 8): "aimv2_large_patch14_224 aimv2_large_patch14_336 aimv2_large_patch14_448",
    (1152, 27, 16): (
        "vit_so400m_patch14_reg1_tipsv2 vit_so400m_patch14_siglip_224 vit_so400m_patch14_siglip_378 "
        "vit_so400m_patch14_siglip_384 vit_so400m_patch14_siglip_gap_224 vit_so400m_patch14_siglip_gap_378 "
        "vit_so400m_patch14_siglip_gap_384 vit_so400m_patch14_siglip_gap_448 vit_so400m_patch14_siglip_gap_896 "
        "vit_so400m_patch16_siglip_256 vit_so400m_patch16_siglip_384 vit_so400m_patch16_siglip_512 "
        "vit_so400m_patch16_siglip_gap_256 vit_so400m_patch16_siglip_gap_384 vit_so400m_patch16_siglip_gap_512"
    ),
    (1280, 32, 16): (
        "deit3_huge_patch14_224 vit_huge_patch14_224 vit_huge_patch14_clip_224 vit_huge_patch14_clip_336 "
        "vit_huge_patch14_clip_378 vit_huge_patch14_clip_quickgelu_224 vit_huge_patch14_clip_quickgelu_378 "
        "vit_huge_patch14_gap_224 vit_huge_patch16_gap_448"
    ),
    (1408, 40, 16): "vit_giant_patch14_224 vit_giant_patch14_clip_224 vit_giant_patch16_gap_224",
    (1536, 40, 16): (
        "vit_giantopt_patch16_siglip_256 vit_giantopt_patch16_siglip_384 vit_giantopt_patch16_siglip_gap_256 "
        "vit_giantopt_patch16_siglip_gap_384"
    ),
    (1536, 40, 24): "vit_giant_patch14_dinov2 vit_giant_patch14_reg1_tipsv2 vit_giant_patch14_reg4_dinov2",
    (1536, 24, 12): "aimv2_huge_patch14_224 aimv2_huge_patch14_336 aimv2_huge_patch14_448",
    (1664, 48, 16): (
        "vit_gigantic_patch14_224 vit_gigantic_patch14_clip_224 vit_gigantic_patch14_clip_378 "
        "vit_gigantic_patch14_clip_quickgelu_224"
    ),
}

# The same of timm's class Eva.
_EVA_NAMES: dict[tuple[int, int, int], str] = {
    (192, 12, 3): (
        "eva02_tiny_patch14_224 eva02_tiny_patch14_336 vit_pe_core_tiny_patch16_384 "
        "vit_pe_spatial_tiny_patch16_512 vit_tiny_patch16_dinov3_qkvb"
    ),
    (384, 12, 6): (
        "eva02_small_patch14_224 eva02_small_patch14_336 vit_pe_core_small_patch16_384 "
        "vit_pe_spatial_small_patch16_512 vit_small_patch16_dinov3 vit_small_patch16_dinov3_qkvb "
        "vit_small_patch16_lingbot vit_small_patch16_rope_224 vit_small_patch16_rope_ape_224 "
        "vit_small_patch16_rope_mixed_224 vit_small_patch16_rope_mixed_ape_224 vit_small_plus_patch16_dinov3 "
        "vit_small_plus_patch16_dinov3_qkvb"
    ),
    (512, 12, 8): "vit_medium_patch16_rope_reg1_gap_256",
    (512, 20, 8): "vit_mediumd_patch16_rope_reg1_gap_256",
    (640, 12, 10): "vit_betwixt_patch16_rope_reg4_gap_256",
    (768, 12, 12): (
        "eva02_base_patch14_224 eva02_base_patch14_448 eva02_base_patch16_clip_224 vit_base_patch16_dinov3 "
        "vit_base_patch16_dinov3_qkvb vit_base_patch16_lingbot vit_base_patch16_rope_224 "
        "vit_base_patch16_rope_ape_224 vit_base_patch16_rope_mixed_224 vit_base_patch16_rope_mixed_ape_224 "
        "vit_base_patch16_rope_reg1_gap_256 vit_pe_core_base_patch16_224 vit_pe_spatial_base_patch16_512"
    ),
    (1024, 23, 16): "vit_pe_lang_large_patch14_448",
    (1024, 24, 16): (
        "eva02_large_patch14_224 eva02_large_patch14_448 eva02_large_patch14_clip_224 eva02_large_patch14_clip_336 "
        "vit_large_patch16_dinov3 vit_large_patch16_dinov3_qkvb vit_large_patch16_lingbot "
        "vit_large_patch16_rope_224 vit_large_patch16_rope_ape_224 vit_large_patch16_rope_mixed_224 "
        "vit_large_patch16_rope_mixed_ape_224 vit_pe_core_large_patch14_336 vit_pe_spatial_large_patch14_448"
    ),
    (1280, 32, 20): "vit_huge_plus_patch16_dinov3 vit_huge_plus_patch16_dinov3_qkvb",
    (1408, 40, 16): "eva_giant_patch14_224 eva_giant_patch14_336 eva_giant_patch14_560 eva_giant_patch14_clip_224",
    (1536, 40, 24): "vit_giant_patch16_lingbot",
    (1536, 47, 16): "vit_pe_lang_gigantic_patch14_448",
    (1536, 50, 16): "vit_pe_core_gigantic_patch14_448 vit_pe_spatial_gigantic_patch14_448",
    (4096, 40, 32): "vit_7b_patch16_dinov3",
    (2048, 24, 16): "aimv2_1b_patch14_224 aimv2_1b_patch14_336 aimv2_1b_patch14_448",
    (3072, 24, 24): "aimv2_3b_patch14_224 aimv2_3b_patch14_336 aimv2_3b_patch14_448",
}


def _patch_size(name: str) -> int:
    found = re.search(r"patch(\d+)", name)
    return int(found[1]) if found else 16  # only flexivit does not say it


SHAPES = {
    name: TimmShape(*shape, _patch_size(name))
    for table in (_NAMES, _EVA_NAMES)
    for shape, names in table.items()
    for name in names.split()
}
COMPARED_NAMES = frozenset(SHAPES)
