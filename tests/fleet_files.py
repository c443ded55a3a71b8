"""A fleet's file: one kind of device is nearly as fast as the cloud and far away, the other one is slow and near."""

import json

from janus_vit.planning.plan import ModelShape
from janus_vit.scheduling.costs import CostTable, profile_costs

DIGITS = ModelShape("janus-digits", 12, 64, 0, 96, (3, 64, 64))
SLA_S, PERIOD_S = 3.0, 0.6


def far_and_near(folder, make_profile, near_s=0.4, period_s=PERIOD_S):
    """Write the file, and what it refers to, into a folder.

    The near device takes `near_s` for a frame, and cameras take one every `period_s`.
    """

    def profile(name, frame_s):
        found = make_profile((frame_s - 1.5e-3) / (DIGITS.blocks * DIGITS.tokens), model=DIGITS.name)
        found.save(folder / f"{name}.json")
        return found

    one = profile_costs(profile("cloud", 0.06), DIGITS)
    rows = (one.block_s[0], tuple(2 * seconds for seconds in one.block_s[0]))
    ends = [(each[0], 2 * each[0]) for each in (one.stem_s, one.head_s, one.merge_s)]
    CostTable(DIGITS.name, (1, 4), one.tokens, rows, *ends).save(folder / "costs.json")
    profile("far", 0.08)
    profile("near", near_s)
    camera = {"sla_s": SLA_S, "period_s": period_s}
    values = {
        "schema": "janus-vit/fleet/1",
        "model": DIGITS.name,
        "cloud": {"name": "emulated", "profile": "cloud.json", "costs": "costs.json", "max_batch_frames": 4},
        "devices": [
            {"name": "far", "profile": "far.json", "rtt_s": 0.2, "links": ["constant:1"], **camera},
            {"name": "near", "profile": "near.json", "rtt_s": 0.01, "links": ["constant:20"], **camera},
        ],
    }
    path = folder / "fleet.json"
    path.write_text(json.dumps(values))
    return path
