"""Records of a stream: outcomes as JSON lines, written, read and summarised."""
