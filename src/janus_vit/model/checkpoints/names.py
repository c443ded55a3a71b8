"""Translate the tensor names of other libraries into common names. Knows no file and no architecture.

The common names are those of `VisionTransformer`. Where it joins several tensors in one, its parts have these names:

    cls dist reg pos            prefix tokens and positions
    blocks.N.q/k/v              parts of blocks.N.attn.qkv
    blocks.N.mlp.gate/up        parts of a SwiGLU's first layer
    pool.in                     query, key and value of the attention pooling
    fc_norm                     a last norm that comes after pooling
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache

_Rule = tuple[str, str]

# transformers 4 and 5 name tensors differently; files on the hub have either names.
_HUGGING_FACE: tuple[_Rule, ...] = (
    (r"^(vit|deit|dinov2|dinov2_with_registers|ijepa|videomae|vjepa2|vision_model)\.", ""),
    (r"^(?:(?:encoder|model)\.)?layers?\.(\d+)\.", r"blocks.\1."),
    (r"^(blocks\.\d+)\.ffn\.", r"\1.mlp."),
    (r"^(blocks\.\d+)\.rms_norm([12])\.", r"\1.norm\2."),
    (r"^embeddings\.rms_norm\.", "patch_norm."),
    (r"^embeddings\.patch_embed\.", "stem."),
    (r"^rms_norm\.", "norm."),
    (r"^head\.cls_token$", "pool.latent"),
    (r"^head\.([kv])_proj\.", r"pool.\1."),
    (r"^head\.output_proj\.", "pool.proj."),
    (r"^(blocks\.\d+)\.(?:attention\.attention|attention|self_attn)\.([qkv])_bias$", r"\1.\2.bias"),
    (r"^(blocks\.\d+)\.attention\.(?:attention\.)?(q)uery\.", r"\1.\2."),
    (r"^(blocks\.\d+)\.attention\.(?:attention\.)?(k)ey\.", r"\1.\2."),
    (r"^(blocks\.\d+)\.attention\.(?:attention\.)?(v)alue\.", r"\1.\2."),
    (r"^(blocks\.\d+)\.(?:attention|self_attn)\.([qkv])_proj\.", r"\1.\2."),
    (
        r"^(blocks\.\d+)\.(?:attention\.output\.dense|attention\.o_proj|attention\.proj|(?:attention|self_attn)\.out_proj)\.",
        r"\1.attn.proj.",
    ),
    (r"^(blocks\.\d+)\.intermediate\.dense\.", r"\1.mlp.fc1."),
    (r"^(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
    (r"^(blocks\.\d+)\.mlp\.weights_in\.", r"\1.mlp.fc1."),
    (r"^(blocks\.\d+)\.mlp\.weights_out\.", r"\1.mlp.fc2."),
    (r"^(blocks\.\d+)\.mlp\.(gate|up)_proj\.", r"\1.mlp.\2."),
    (r"^(blocks\.\d+)\.mlp\.down_proj\.", r"\1.mlp.fc2."),
    (r"^(blocks\.\d+)\.(?:layernorm_before|layer_norm1)\.", r"\1.norm1."),
    (r"^(blocks\.\d+)\.(?:layernorm_after|layer_norm2)\.", r"\1.norm2."),
    (r"^(blocks\.\d+)\.layer_scale([12])\.lambda1$", r"\1.ls\2.gamma"),
    (r"^embeddings\.(?:cls_token|class_embedding)$", "cls"),
    (r"^embeddings\.distillation_token$", "dist"),
    (r"^embeddings\.register_tokens$", "reg"),
    (r"^embeddings\.(?:position_embeddings|position_embedding\.weight)$", "pos"),
    (r"^(?:encoder\.)?embeddings\.(?:patch_embeddings\.proj(?:ection)?|patch_embeddings?)\.", "stem."),
    (r"^(?:encoder\.layernorm|layernorm|post_layernorm)\.", "norm."),
    (r"^pooler\.query_tokens$", "pool.latent"),
    (r"^pooler\.cross_attention_layer\.layer_norm([12])\.", r"pool.norm\1."),
    (r"^pooler\.cross_attention_layer\.cross_attn\.([qkv])_proj\.", r"pool.\1."),
    (r"^pooler\.cross_attention_layer\.mlp\.", "pool.mlp."),
    (r"^pooler\.self_attention_layers\.(\d+)\.layer_norm([12])\.", r"pool.blocks.\1.norm\2."),
    (r"^pooler\.self_attention_layers\.(\d+)\.self_attn\.([qkv])_proj\.", r"pool.blocks.\1.\2."),
    (r"^pooler\.self_attention_layers\.(\d+)\.self_attn\.out_proj\.", r"pool.blocks.\1.attn.proj."),
    (r"^pooler\.self_attention_layers\.(\d+)\.mlp\.", r"pool.blocks.\1.mlp."),
    (r"^pre_layrnorm\.", "stem_norm."),
    (r"^head\.probe$", "pool.latent"),
    (r"^head\.attention\.in_proj_(weight|bias)$", r"pool.in.\1"),
    (r"^head\.attention\.out_proj\.", "pool.proj."),
    (r"^head\.layernorm\.", "pool.norm."),
    (r"^head\.mlp\.", "pool.mlp."),
    (r"^(?:classifier|cls_classifier|visual_projection)\.", "head."),
    (r"^distillation_classifier\.", "head_dist."),
)
_TIMM: tuple[_Rule, ...] = (
    (r"^patch_embed\.proj\.", "stem."),
    (r"^patch_embed\.norm\.", "patch_norm."),
    (r"^cls_token$", "cls"),
    (r"^dist_token$", "dist"),
    (r"^reg_token$", "reg"),
    (r"^pos_embed$", "pos"),
    (r"^norm_pre\.", "stem_norm."),
    (r"^attn_pool\.", "pool."),
    (r"^(blocks\.\d+)\.mlp\.fc1_g\.", r"\1.mlp.gate."),
    (r"^(blocks\.\d+)\.mlp\.fc1_x\.", r"\1.mlp.up."),
    (r"^(blocks\.\d+)\.gamma_([12])$", r"\1.ls\2.gamma"),
    (r"^(blocks\.\d+)\.attn\.([qkv])_proj\.", r"\1.\2."),
    (r"^(blocks\.\d+)\.attn\.([qv])_bias$", r"\1.\2.bias"),
)
# Parts that inference on images does not need: text towers, decoders, the mask token of training.
_UNUSED = re.compile(
    r"^(text_model|text_projection|logit_scale|logit_bias|decoder|mask_token|(?:vjepa2\.)?predictor)\b"
    r"|^pooler\b(?!\.(query_tokens|cross_attention_layer|self_attention_layers))"
    r"|(^|\.)(embeddings\.(mask_token|position_ids)|pooler\.dense\.(weight|bias))$"
)


def is_timm(names: Iterable[str]) -> bool:
    """Whether the names are those of timm's Vision Transformers."""
    return any(name.startswith("patch_embed.proj.") for name in names)


def is_hugging_face(names: Iterable[str]) -> bool:
    """Whether the names are those of transformers' vision models."""
    return any("embeddings.patch_embed" in name for name in names)


def common_names(names: Iterable[str]) -> dict[str, str]:
    """Map each common name to the name in the checkpoint. Drop unused tensors, keep unknown names as they are."""
    found = list(names)
    translate = translator(found)
    return {translate(name): name for name in found if not is_unused(name)}


def is_unused(name: str) -> bool:
    """Whether a tensor is not needed for inference on images."""
    return _UNUSED.search(name) is not None


def translator(names: Iterable[str]) -> Callable[[str], str]:
    """Return the function that translates names of a checkpoint which has these names."""
    rules = _compiled(_TIMM if is_timm(names) else _HUGGING_FACE)

    def translate(name: str) -> str:
        for pattern, replacement in rules:
            name = pattern.sub(replacement, name)
        return name

    return translate


@cache
def _compiled(rules: tuple[_Rule, ...]) -> tuple[tuple[re.Pattern[str], str], ...]:
    """Compile the patterns of rules when the first checkpoint is read, not when this module is imported."""
    return tuple((re.compile(pattern), replacement) for pattern, replacement in rules)
