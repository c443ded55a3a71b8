"""What the config.json of transformers says about an architecture, and whether the tensors agree."""
