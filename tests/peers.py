"""Small checkpoints of Hugging Face transformers and of timm, made by their own classes, with their own answers.

Weights are random, so nothing is downloaded; files on disk are what a user of these libraries has.
"""

import functools
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

Pixels = NDArray[np.uint8]
Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Peer:
    """A checkpoint in a folder, and what the library that wrote it makes of an image (or of a video's frames)."""

    family: str
    folder: Path
    original: str  # the library's name of its class or architecture
    output: str  # "logits" or "embedding"
    preprocess: Callable[[Pixels], Tensor]  # [H, W, 3] to [1, 3, H, W]; a video [T, H, W, 3] to [1, T, 3, H, W]
    forward: Forward  # to [1, classes] or [1, width]; an embedding is not normalised


FAMILIES: dict[str, Callable[[Path], Peer]] = {}

NAMES = ("tabby cat", "zebra", "fire truck", "teapot", "coral reef", "acorn", "lighthouse")
MEAN, STD = (0.52, 0.44, 0.39), (0.21, 0.27, 0.31)  # uneven: a swapped channel must show
BILINEAR, BICUBIC = 2, 3  # as Pillow numbers them


@functools.cache
def import_torchvision() -> torch.library.Library | None:
    """Import torchvision; give back the operators that had to be declared for it, to keep them alive.

    The usual torchvision is linked with CUDA. Beside a CPU build of torch its operators are missing, and it asks for
    the names of two of them on import. Neither transformers nor timm calls them here.
    """
    try:
        import torchvision
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
        import torchvision  # noqa: F401

        return library
    return None


def _quiet(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Run without gradients and without the peers' warnings: they are not ours, and pytest would raise them."""

    def run(argument: Any) -> Any:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return function(argument)

    return run


def _enter(family: str, make: Callable[[Path], Peer]) -> None:
    """Put a factory in FAMILIES: it finds torchvision imported, and leaves torch's random numbers as they were."""

    def run(folder: Path) -> Peer:
        with torch.random.fork_rng(devices=[]):
            import_torchvision()
            return make(folder)

    FAMILIES[family] = _quiet(run)


def randomise(model: nn.Module) -> None:
    """Draw every weight anew: fresh layer scales, norms, biases and tokens are ones and zeros, which hide mistakes."""
    generator = torch.Generator().manual_seed(11)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() > 1:
            is_table = "token" in name or "pos" in name  # added to activations; what is not multiplies them
            parameter.copy_(noise if is_table else noise * 1.5 / parameter[0].numel() ** 0.5)
        else:
            parameter.copy_(0.2 * noise if name.endswith("bias") else 1 + 0.3 * noise)
    model.eval().requires_grad_(False)


def _pictures(pixels: Pixels) -> Any:
    """An image, or the list of a video's frames, as Pillow has them."""
    return Image.fromarray(pixels) if pixels.ndim == 3 else [Image.fromarray(frame) for frame in pixels]


class _Grey:
    """An image processor that gets grey images, as a model of one channel needs."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor

    def __call__(self, pictures: Any, **options: Any) -> Any:
        grey = np.asarray(pictures.convert("L"))
        return self._processor(grey[..., None], input_data_format="channels_last", **options)

    def save_pretrained(self, folder: Path) -> None:
        self._processor.save_pretrained(folder)


# Hugging Face transformers

Parts = tuple[Any, Any, Forward]  # model, image processor, and the model's answer
Maker = Callable[..., Parts]  # from the module transformers

EPS = {"layer_norm_eps": 1e-3}  # far from every default: a norm that takes another one must show
VIT = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 80, **EPS}
DINO = {"hidden_size": 36, "num_hidden_layers": 3, "num_attention_heads": 3, "patch_size": 14, "mlp_ratio": 3, **EPS}
CLIP = {**VIT, "image_size": 32, "patch_size": 8, "projection_dim": 20}
SIGLIP = {**VIT, "image_size": 48, "patch_size": 16}
TEXT = {**VIT, "hidden_size": 24, "num_hidden_layers": 1, "vocab_size": 30, "max_position_embeddings": 8}
NAMED = {"id2label": dict(enumerate(NAMES)), "label2id": {name: index for index, name in enumerate(NAMES)}}


def _hf(family: str, output: str, **settings: Any) -> Callable[[Maker], Maker]:
    """Make a family of the parts that the decorated function gives for these settings."""

    def enter(make: Maker) -> Maker:
        _enter(family, lambda folder: _hf_peer(family, folder, output, functools.partial(make, **settings)))
        return make

    return enter


def _hf_peer(family: str, folder: Path, output: str, make: Maker) -> Peer:
    """Save a transformers model, its weights drawn anew, and its image processor."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    model, processor, forward = make(transformers)
    randomise(model)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)

    def preprocess(pixels: Pixels) -> Tensor:
        return processor(_pictures(pixels), return_tensors="pt")["pixel_values"]

    return Peer(family, folder, type(model).__name__, output, _quiet(preprocess), _quiet(forward))


def _squashed(size: int, resample: int) -> dict[str, Any]:
    """Settings of a processor that resizes to a square, whatever the shape."""
    return {"size": {"height": size, "width": size}, "resample": resample, "image_mean": MEAN, "image_std": STD}


def _cropped(edge: int, size: int) -> dict[str, Any]:
    """Settings of a processor that resizes the shortest edge, then cuts the middle out; let its margin be odd."""
    return {**_squashed(size, BICUBIC), "size": {"shortest_edge": edge}, "crop_size": {"height": size, "width": size}}


@_hf("hf-vit", "logits")
def _vit(hf: Any) -> Parts:
    model = hf.ViTForImageClassification(hf.ViTConfig(**VIT, **NAMED, image_size=32, patch_size=8))
    return model, hf.ViTImageProcessorPil(**_squashed(32, BILINEAR)), lambda pixels: model(pixels).logits


@_hf("hf-deit", "logits", kind="DeiTForImageClassification")
@_hf("hf-deit-distilled", "logits", kind="DeiTForImageClassificationWithTeacher")
def _deit(hf: Any, kind: str) -> Parts:
    model = getattr(hf, kind)(hf.DeiTConfig(**VIT, num_labels=6, image_size=48, patch_size=16))
    processor = hf.DeiTImageProcessorPil(**_squashed(53, BICUBIC), crop_size={"height": 48, "width": 48})
    return model, processor, lambda pixels: model(pixels).logits


@_hf("hf-dinov2", "logits")
@_hf("hf-dinov2-swiglu", "logits", use_swiglu_ffn=True)
@_hf("hf-dinov2-registers", "logits", kind="Dinov2WithRegisters", num_register_tokens=3)
@_hf("hf-dinov2-resized", "logits", image_size=84)
@_hf("hf-dinov2-registers-resized", "logits", kind="Dinov2WithRegisters", num_register_tokens=3, image_size=84)
def _dinov2(hf: Any, kind: str = "Dinov2", **settings: Any) -> Parts:
    """Used at 56 pixels; if trained at another size, its positions are resized, as Meta's are (from 518 to 224)."""
    config = getattr(hf, f"{kind}Config")(**{**DINO, **NAMED, "image_size": 56, **settings})
    model = getattr(hf, f"{kind}ForImageClassification")(config)
    return model, hf.BitImageProcessorPil(**_cropped(63, 56)), lambda pixels: model(pixels).logits


@_hf("hf-dinov2-backbone", "embedding")
def _dinov2_backbone(hf: Any) -> Parts:
    model = hf.Dinov2Model(hf.Dinov2Config(**DINO, image_size=42))
    return model, hf.BitImageProcessorPil(**_cropped(47, 42)), lambda pixels: model(pixels).pooler_output


@_hf("hf-clip-vision", "embedding")
def _clip_vision(hf: Any) -> Parts:
    model = hf.CLIPVisionModelWithProjection(hf.CLIPVisionConfig(**CLIP))
    return model, hf.CLIPImageProcessorPil(**_cropped(37, 32)), lambda pixels: model(pixels).image_embeds


@_hf("hf-clip", "embedding")
def _clip(hf: Any) -> Parts:
    config = hf.CLIPConfig(text_config={**TEXT, "projection_dim": 20}, vision_config=CLIP, projection_dim=20)
    model = hf.CLIPModel(config)
    processor = hf.CLIPImageProcessorPil(**_cropped(37, 32))
    return model, processor, lambda pixels: model.get_image_features(pixels).pooler_output


@_hf("hf-siglip-vision", "embedding")
def _siglip_vision(hf: Any) -> Parts:
    model = hf.SiglipVisionModel(hf.SiglipVisionConfig(**SIGLIP))
    return model, hf.SiglipImageProcessorPil(**_squashed(48, BICUBIC)), lambda pixels: model(pixels).pooler_output


@_hf("hf-siglip", "embedding")
def _siglip(hf: Any) -> Parts:
    model = hf.SiglipModel(hf.SiglipConfig(text_config={**TEXT, "projection_size": 32}, vision_config=SIGLIP))
    processor = hf.SiglipImageProcessorPil(**_squashed(48, BICUBIC))
    return model, processor, lambda pixels: model.get_image_features(pixels).pooler_output


@_hf("hf-siglip-classifier", "logits")
def _siglip_classifier(hf: Any) -> Parts:
    config = hf.SiglipConfig(text_config=TEXT, vision_config=SIGLIP, num_labels=5)
    model = hf.SiglipForImageClassification(config)
    return model, hf.SiglipImageProcessorPil(**_squashed(48, BICUBIC)), lambda pixels: model(pixels).logits


@_hf("hf-vit-mae", "embedding")
def _vit_mae(hf: Any) -> Parts:
    decoder = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 40}
    decoder = {f"decoder_{name}": value for name, value in decoder.items()}
    model = hf.ViTMAEForPreTraining(hf.ViTMAEConfig(**VIT, **decoder, image_size=48, patch_size=8))

    def forward(pixels: Tensor) -> Tensor:
        model.config.mask_ratio = 0.0  # only now: on disk it is what a pretrained one has
        rising = torch.arange(36.0).unsqueeze(0)  # patches are put in the order of this noise: keep theirs
        return model.vit(pixels, noise=rising).last_hidden_state[:, 0]

    return model, hf.ViTImageProcessorPil(**_squashed(48, BICUBIC)), forward


@_hf("hf-siglip-unfilled", "embedding")
def _siglip_unfilled(hf: Any) -> Parts:
    """As SO400M/14 at 384 pixels: the last pixels do not fill a patch."""
    model = hf.SiglipVisionModel(hf.SiglipVisionConfig(**{**SIGLIP, "image_size": 52, "patch_size": 14}))
    return model, hf.SiglipImageProcessorPil(**_squashed(52, BICUBIC)), lambda pixels: model(pixels).pooler_output


@_hf("hf-siglip-without-head", "embedding")
def _siglip_without_head(hf: Any) -> Parts:
    """Without its pooling head: the mean of the patches, as in its classifier and in timm's gap variants."""
    model = hf.SiglipVisionModel(hf.SiglipVisionConfig(**SIGLIP, vision_use_head=False))
    processor = hf.SiglipImageProcessorPil(**_squashed(48, BICUBIC))
    return model, processor, lambda pixels: model(pixels).last_hidden_state.mean(1)


@_hf("hf-clip-classifier", "logits")
def _clip_classifier(hf: Any) -> Parts:
    config = hf.CLIPConfig(text_config={**TEXT, "projection_dim": 20}, vision_config=CLIP, num_labels=5)
    model = hf.CLIPForImageClassification(config)
    return model, hf.CLIPImageProcessorPil(**_cropped(37, 32)), lambda pixels: model(pixels).logits


@_hf("hf-clip-without-projection", "embedding")
def _clip_without_projection(hf: Any) -> Parts:
    model = hf.CLIPVisionModel(hf.CLIPVisionConfig(**CLIP))
    return model, hf.CLIPImageProcessorPil(**_cropped(37, 32)), lambda pixels: model(pixels).pooler_output


@_hf("hf-ijepa", "embedding")
def _ijepa(hf: Any) -> Parts:
    model = hf.IJepaModel(hf.IJepaConfig(**VIT, image_size=56, patch_size=14))
    processor = hf.ViTImageProcessorPil(**_squashed(56, BICUBIC))
    return model, processor, lambda pixels: model(pixels).last_hidden_state.mean(1)


@_hf("hf-ijepa-classifier", "logits")
def _ijepa_classifier(hf: Any) -> Parts:
    model = hf.IJepaForImageClassification(hf.IJepaConfig(**VIT, **NAMED, image_size=56, patch_size=14))
    return model, hf.ViTImageProcessorPil(**_squashed(56, BICUBIC)), lambda pixels: model(pixels).logits


@_hf("hf-vit-msn", "embedding")
def _vit_msn(hf: Any) -> Parts:
    model = hf.ViTMSNModel(hf.ViTMSNConfig(**VIT, image_size=32, patch_size=8))
    processor = hf.ViTImageProcessorPil(**_squashed(32, BILINEAR))
    return model, processor, lambda pixels: model(pixels).last_hidden_state[:, 0]


@_hf("hf-vit-msn-classifier", "logits")
def _vit_msn_classifier(hf: Any) -> Parts:
    model = hf.ViTMSNForImageClassification(hf.ViTMSNConfig(**VIT, **NAMED, image_size=32, patch_size=8))
    return model, hf.ViTImageProcessorPil(**_squashed(32, BILINEAR)), lambda pixels: model(pixels).logits


@_hf("hf-vit-wide", "logits")
def _vit_wide(hf: Any) -> Parts:
    """Not square: 64 x 96 pixels."""
    model = hf.ViTForImageClassification(hf.ViTConfig(**VIT, **NAMED, image_size=[64, 96], patch_size=16))
    settings = {**_squashed(64, BILINEAR), "size": {"height": 64, "width": 96}}
    return model, hf.ViTImageProcessorPil(**settings), lambda pixels: model(pixels).logits


@_hf("hf-vit-grey", "logits")
def _vit_grey(hf: Any) -> Parts:
    """One channel."""
    model = hf.ViTForImageClassification(hf.ViTConfig(**VIT, **NAMED, image_size=32, patch_size=8, num_channels=1))
    settings = {**_squashed(32, BILINEAR), "image_mean": MEAN[:1], "image_std": STD[:1]}
    processor = hf.ViTImageProcessorPil(**settings)
    return model, _Grey(processor), lambda pixels: model(pixels).logits


@_hf("hf-dinov3", "embedding")
@_hf("hf-dinov3-swiglu", "embedding", use_gated_mlp=True, hidden_act="silu", key_bias=True)
@_hf("hf-dinov3-wide", "embedding", image_size=[64, 96])
def _dinov3(hf: Any, **settings: Any) -> Parts:
    size = settings.pop("image_size", [64, 64])
    model = hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**VIT, image_size=size, num_register_tokens=3, **settings))
    settings = {**_squashed(64, BILINEAR), "size": {"height": size[0], "width": size[1]}}
    return model, hf.DINOv3ViTImageProcessor(**settings), lambda pixels: model(pixels).pooler_output


AIMV2 = {key: value for key, value in VIT.items() if key != "layer_norm_eps"} | {"rms_norm_eps": 1e-3}


@_hf("hf-aimv2", "embedding")
@_hf("hf-aimv2-native", "embedding", is_native=True)
@_hf("hf-aimv2-biases", "embedding", qkv_bias=True, mlp_bias=True)
def _aimv2_vision(hf: Any, **settings: Any) -> Parts:
    model = hf.Aimv2VisionModel(hf.Aimv2VisionConfig(**AIMV2, image_size=56, patch_size=14, **settings))
    return model, hf.CLIPImageProcessorPil(**_cropped(63, 56)), lambda pixels: model(pixels).pooler_output


@_hf("hf-aimv2-without-head", "embedding")
def _aimv2_without_head(hf: Any) -> Parts:
    model = hf.Aimv2VisionModel(hf.Aimv2VisionConfig(**AIMV2, image_size=56, patch_size=14, use_head=False))
    processor = hf.CLIPImageProcessorPil(**_cropped(63, 56))
    return model, processor, lambda pixels: model(pixels).last_hidden_state.mean(1)


@_hf("hf-aimv2-lit", "embedding")
def _aimv2_lit(hf: Any) -> Parts:
    vision = {**AIMV2, "image_size": 56, "patch_size": 14}
    text = {**AIMV2, "num_hidden_layers": 1, "vocab_size": 30, "max_position_embeddings": 8}
    model = hf.Aimv2Model(hf.Aimv2Config(text_config=text, vision_config=vision, projection_dim=20))
    processor = hf.CLIPImageProcessorPil(**_cropped(63, 56))
    return model, processor, lambda pixels: model.get_image_features(pixels).pooler_output


@_hf("hf-videomae", "logits")
def _videomae(hf: Any) -> Parts:
    video = {"image_size": 32, "patch_size": 8, "num_frames": 8, "tubelet_size": 2, "use_mean_pooling": True}
    model = hf.VideoMAEForVideoClassification(hf.VideoMAEConfig(**VIT, **video, **NAMED))
    return model, hf.VideoMAEImageProcessorPil(**_cropped(37, 32)), lambda pixels: model(pixels).logits


@_hf("hf-vjepa2", "embedding", kind="VJEPA2Model")
@_hf("hf-vjepa2-classifier", "logits", kind="VJEPA2ForVideoClassification")
def _vjepa2(hf: Any, kind: str) -> Parts:
    sizes = {"hidden_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4, "mlp_ratio": 3, **EPS, **NAMED}
    predictor = {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
    clip = {"crop_size": 32, "patch_size": 8, "frames_per_clip": 6, "tubelet_size": 2, "num_pooler_layers": 2}
    model = getattr(hf, kind)(hf.VJEPA2Config(**sizes, **predictor, **clip))

    def forward(pixels: Tensor) -> Tensor:
        if kind != "VJEPA2Model":
            return model(pixels).logits
        return model(pixels, skip_predictor=True).last_hidden_state.mean(1)

    return model, hf.VideoMAEImageProcessorPil(**_cropped(37, 32)), forward


# OpenCLIP

OPEN_CLIP = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 3, "head_width": 8, "mlp_ratio": 3.0}


def _open_clip(family: str, quick_gelu: bool = False, mode: str = "shortest", **vision: Any) -> None:
    _enter(family, lambda folder: _open_clip_peer(family, folder, quick_gelu, mode, {**OPEN_CLIP, **vision}))


def _open_clip_peer(family: str, folder: Path, quick_gelu: bool, mode: str, vision: dict[str, Any]) -> Peer:
    """Save a model of OpenCLIP as it is on the hub: both towers, and open_clip_config.json."""
    import open_clip
    from safetensors.torch import save_file

    text = {"context_length": 8, "vocab_size": 30, "width": 24, "heads": 2, "layers": 1}
    parts = {"embed_dim": 20, "vision_cfg": vision, "text_cfg": text, "quick_gelu": quick_gelu}
    model = (open_clip.CustomTextCLIP if "timm_model_name" in vision else open_clip.CLIP)(**parts)
    randomise(model)
    size = vision["image_size"]
    preprocess_cfg = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": mode}
    transform = open_clip.image_transform(size, is_train=False, **preprocess_cfg)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": parts, "preprocess_cfg": preprocess_cfg}))

    def preprocess(pixels: Pixels) -> Tensor:
        return transform(_pictures(pixels)).unsqueeze(0)

    return Peer(family, folder, type(model).__name__, "embedding", _quiet(preprocess), _quiet(model.encode_image))


_open_clip("open-clip")
_open_clip("open-clip-quickgelu", quick_gelu=True, ls_init_value=0.1)
_open_clip("open-clip-squashed", mode="squash", no_ln_pre=True, act_kwargs={"approximate": "tanh"})


# timm

SMALL = {"embed_dim": 32, "depth": 3, "num_heads": 4}


def _timm_peer(family: str, folder: Path, name: str, args: dict[str, Any], data: dict[str, Any]) -> Peer:
    """Save a model of a name that timm knows, with changed sizes, as timm saves one for the hub."""
    import timm

    model = timm.create_model(name, pretrained_cfg_overlay=data, **args)
    randomise(model)
    labels = {"label_names": list(NAMES[: model.num_classes])} if model.num_classes else {}
    timm.models.save_for_hf(model, folder, model_config=labels, model_args=args, safe_serialization=True)
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model), is_training=False)
    output = "logits" if model.num_classes else "embedding"

    def preprocess(pixels: Pixels) -> Tensor:
        picture = _pictures(pixels)
        return transform(picture.convert("L") if args.get("in_chans") == 1 else picture).unsqueeze(0)

    return Peer(family, folder, name, output, _quiet(preprocess), _quiet(lambda pixels: model(pixels)))


def _timm(family: str, name: str, size: int, classes: int, args: dict[str, Any] | None = None, **data: Any) -> None:
    data = {"input_size": (3, size, size), "mean": MEAN, "std": STD, "crop_pct": 1.0, **data}
    args = {**SMALL, "img_size": size, "num_classes": classes, **(args or {})}
    _enter(family, lambda folder: _timm_peer(family, folder, name, args, data))


_timm("timm-vit", "vit_tiny_patch16_224", 32, 7, {"patch_size": 8, "mlp_ratio": 3}, crop_pct=0.9)
_timm("timm-deit-distilled", "deit_tiny_distilled_patch16_224", 48, 6, crop_pct=0.9)
_timm("timm-mae", "vit_base_patch16_224.mae", 48, 5, {"global_pool": "avg"})
_timm("timm-dinov2-reg", "vit_small_patch14_reg4_dinov2", 56, 7, crop_pct=0.9)
_timm("timm-dinov2-giant", "vit_giant_patch14_reg4_dinov2", 42, 5, interpolation="bilinear")
_timm("timm-clip", "vit_base_patch16_clip_quickgelu_224.openai", 48, 6)
_timm("timm-siglip", "vit_base_patch16_siglip_224", 48, 0, crop_mode="squash")
_timm("timm-siglip-gap", "vit_base_patch16_siglip_gap_224", 48, 0, crop_mode="squash")
_timm("timm-gap-registers", "vit_medium_patch16_reg4_gap_256", 48, 5)
_timm("timm-so400m-unfilled", "vit_so400m_patch14_siglip_384", 52, 0, crop_mode="squash")
_timm("timm-intern", "vit_intern300m_patch14_448", 42, 5)
_timm("timm-dinov3", "vit_small_patch16_dinov3", 64, 5)
_timm("timm-dinov3-wide", "vit_base_patch16_dinov3_qkvb", 64, 5, {"img_size": (64, 96), "global_pool": "token"},
      input_size=(3, 64, 96))  # fmt: skip
_timm("timm-dinov3-swiglu", "vit_small_plus_patch16_dinov3", 48, 0)
_timm("timm-eva", "eva_giant_patch14_224", 42, 5, {"mlp_ratio": 3})
_timm("timm-eva02", "eva02_base_patch14_224", 42, 5)
_timm("timm-eva02-clip", "eva02_large_patch14_clip_224", 42, 5)
_timm("timm-eva02-tiny", "eva02_tiny_patch14_336", 42, 5)
_timm("timm-pe-core", "vit_pe_core_base_patch16_224", 64, 0)
_timm("timm-pe-spatial", "vit_pe_spatial_large_patch14_448", 56, 0)
_timm("timm-rope", "vit_base_patch16_rope_224", 64, 5)
_timm("timm-rope-gap", "vit_betwixt_patch16_rope_reg4_gap_256", 64, 5)
_timm("timm-rope-mixed", "vit_small_patch16_rope_mixed_ape_224", 64, 5)
_timm("timm-aimv2", "aimv2_large_patch14_224", 42, 0)
_timm("timm-vit-wide", "vit_tiny_patch16_224", 64, 7, {"img_size": (64, 96)}, input_size=(3, 64, 96), crop_pct=0.9)
_timm("timm-vit-wide-squashed", "vit_tiny_patch16_224", 64, 7, {"img_size": (64, 96)}, input_size=(3, 64, 96),
      crop_mode="squash")  # fmt: skip
_timm("timm-vit-grey", "vit_tiny_patch16_224", 48, 7, {"in_chans": 1}, input_size=(1, 48, 48), mean=MEAN[:1],
      std=STD[:1])  # fmt: skip


def _timm_as_on_hub(folder: Path) -> Peer:
    """Like most on the hub: of its name's own size, which no file spells out."""
    peer = _timm_peer("timm-vit-hub", folder, "vit_tiny_patch16_224", {"num_classes": 5}, {"mean": MEAN, "std": STD})
    config = json.loads((folder / "config.json").read_text())
    del config["model_args"]
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    return peer


_enter("timm-vit-hub", _timm_as_on_hub)
