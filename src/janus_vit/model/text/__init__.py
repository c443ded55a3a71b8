"""Label embeddings by the nearest text vector, which are read from .npz files."""
