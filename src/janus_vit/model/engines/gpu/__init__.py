"""NVIDIA GPUs: ragged batches in few kernels, replayed as CUDA graphs where launching takes longer than computing."""
