"""Reproduction of the paper: its machines as data, its evaluation, and an extended comparison of policies."""
