"""What a frame costs a shared engine at its present batch size, as a cloud tells it in its replies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EnginePrice:
    """Engine seconds that one more frame takes.

    Attributes:
        stem_s: if it enters before the stem.
        frame_s: for each block, whatever its tokens.
        token_s: for each block and token.
    """

    stem_s: float = 0.0
    frame_s: float = 0.0
    token_s: float = 0.0

    def of_frame(self, entry_block: int, tokens: Sequence[int]) -> float:
        """Engine seconds of a frame.

        Args:
            entry_block: first block that it runs; 0 includes the stem.
            tokens: before each of its remaining blocks.
        """
        stem_s = self.stem_s if entry_block == 0 else 0.0
        return stem_s + len(tokens) * self.frame_s + sum(tokens) * self.token_s
