"""The price of a frame in engine seconds at the present batch size. The cloud's replies carry it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EnginePrice:
    """Engine seconds that one frame takes in a batch of the present size.

    Attributes:
        stem_s: time for the stem; only frames that enter at block 0 run it.
        head_s: time for the head.
        frame_s: time for each block, for any number of tokens.
        token_s: additional time for each effective token in each block, see `planning.latency.effective_tokens`.
    """

    stem_s: float = 0.0
    head_s: float = 0.0
    frame_s: float = 0.0
    token_s: float = 0.0

    def of_frame(self, entry_block: int, tokens: Sequence[int]) -> float:
        """Engine seconds of a frame.

        Args:
            entry_block: first block that the cloud runs; 0 includes the stem.
            tokens: number of tokens before each remaining block, then after the last one.
        """
        effective = sum((before + 2 * after) / 3 for before, after in zip(tokens[:-1], tokens[1:], strict=True))
        ends_s = self.head_s + (self.stem_s if entry_block == 0 else 0.0)
        return ends_s + (len(tokens) - 1) * self.frame_s + effective * self.token_s
