"""Dense heads: from the tokens of a frame to depth, segments, boxes, poses or features."""
