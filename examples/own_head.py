"""A head of your own on the patch grid: how much each patch differs from the rest of the frame.

janus-vit device --cloud HOST:50051 --model my-model/ --head examples/own_head.py:Unusual --show unusual.png

The server gets the same --head. A head with weights loads them in its constructor; they count in the fingerprint.
"""

import torch
from torch import nn
from torch.nn import functional as F


class Unusual(nn.Module):
    def __init__(self, width: int, rows: int, columns: int) -> None:
        super().__init__()
        self.size = (4 * rows, 4 * columns)

    def forward(self, grid: torch.Tensor) -> torch.Tensor:
        """Turn features [B, width, rows, columns] into differences [B, height, width]."""
        patches = F.normalize(grid, dim=1)
        usual = F.normalize(patches.mean(dim=(2, 3), keepdim=True), dim=1)
        difference = 1 - (patches * usual).sum(1, keepdim=True)
        return F.interpolate(difference, self.size, mode="bilinear", align_corners=False).squeeze(1)
