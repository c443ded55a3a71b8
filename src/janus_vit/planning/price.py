"""The load of a cloud as it tells it to devices: expected wait, and the price of a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from janus_vit.planning.plan import steps

# Limits of `EnginePrice.answers_per_s`: from frames of 70 ms that another plan answers as well to a thousandth, to
# frames of 0.1 ms that no other plan can answer.
LEAST_PRICE, LARGEST_PRICE = 1e-2, 1e4


@dataclass(frozen=True, slots=True)
class EnginePrice:
    """Engine seconds that one frame takes in a batch of the present size, and what an engine second is worth.

    Attributes:
        stem_s: time for the stem; only frames that enter at block 0 run it.
        head_s: time for the head.
        frame_s: time for each block, for any number of tokens.
        token_s: additional time for each effective token in each block, see `planning.latency.effective_tokens`.
        answers_per_s: right answers that other devices lose for each engine second; 0 while the engine has time to
            spare.
    """

    stem_s: float = 0.0
    head_s: float = 0.0
    frame_s: float = 0.0
    token_s: float = 0.0
    answers_per_s: float = 0.0

    def of_frame(self, entry_block: int, tokens: Sequence[int]) -> float:
        """Engine seconds of a frame.

        Args:
            entry_block: first block that the cloud runs; 0 includes the stem.
            tokens: number of tokens before each remaining block, then after the last one.
        """
        effective = sum((before + 2 * after) / 3 for before, after in steps(tokens))
        ends_s = self.head_s + (self.stem_s if entry_block == 0 else 0.0)
        return ends_s + (len(tokens) - 1) * self.frame_s + effective * self.token_s


@dataclass(frozen=True, slots=True)
class CloudLoad:
    """What a request that arrived now would find.

    Attributes:
        expected_wait_s: time until it would begin to run.
        price: what it would cost.
    """

    expected_wait_s: float
    price: EnginePrice
