"""The model: Vision Transformer, token merging, checkpoints. Knows no network and no policy."""
