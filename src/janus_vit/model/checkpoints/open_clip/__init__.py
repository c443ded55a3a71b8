"""Read checkpoints of OpenCLIP as those of transformers or timm."""
