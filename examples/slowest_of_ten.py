"""A policy of your own: the smallest pruning level that is in time even at the slowest of the last ten rates."""

from collections import deque

import numpy as np

from janus_vit import Decision, predict


class SlowestOfTen:
    def __init__(self, table, platforms):
        self.table, self.rtt_s = table, platforms.rtt_s
        self.rates_mbps = deque([platforms.rate_mbps], maxlen=10)
        self.compute_s = table.device_s + table.encode_s + table.decode_s + table.cloud_s

    def observe(self, outcome):
        self.rates_mbps += [transfer.rate_mbps for transfer in outcome.transfers]

    def choose(self, situation):
        rate_mbps, size_bytes = min(self.rates_mbps), self.table.size_bytes
        total_s = self.compute_s + np.where(size_bytes > 0, self.rtt_s + size_bytes * 8e-6 / rate_mbps, 0.0)
        row = int((total_s.min(axis=1) > situation.time_left_s - 0.02).argmin())  # the first level that is in time
        column = int(total_s[row].argmin())
        plan = self.table.plan(row, column)
        predicted = predict(self.table, row, column, rate_mbps, self.rtt_s, situation.cloud_queue_s)
        return Decision(plan, predicted, probe_bytes=16_000 if plan.is_local else 0)
