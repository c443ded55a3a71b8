"""Read checkpoints of janus-vit, timm and transformers: their names, configurations and weights."""
