"""From files on disk to a network: names, configurations and weights of timm, transformers and our own."""
