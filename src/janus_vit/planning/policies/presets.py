"""Policies by name, each with the plans that it may choose from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from janus_vit.errors import InputError
from janus_vit.planning.accuracy import typical
from janus_vit.planning.accuracy.points import UNMERGED
from janus_vit.planning.link import HarmonicMean, RateForecast
from janus_vit.planning.payloads import LOCAL, parse_payload
from janus_vit.planning.plan import ModelShape, Plan
from janus_vit.planning.platforms import Platforms
from janus_vit.planning.policies.adaptive import MostAccurateInTime
from janus_vit.planning.policies.algorithm1 import SmallestLevel
from janus_vit.planning.policies.base import Policy
from janus_vit.planning.policies.custom import custom_policy, is_custom, policy_class
from janus_vit.planning.policies.fleet import MostRightForAll
from janus_vit.planning.policies.late_price import LatePrice
from janus_vit.planning.schedules import FAMILIES, Schedule, clip, levels, make_schedule
from janus_vit.planning.splits import all_splits, candidate_splits
from janus_vit.planning.table import Option, PlanTable, build_table, make_options

POLICIES = {
    "adaptive": "all plans; the largest product of measured accuracy and probability of being in time",
    "adaptive-fleet": "as adaptive, but in a full cloud a plan pays for what it takes from others (the default)",
    "janus": "the paper's Algorithm 1: the smallest pruning level that meets the SLA, float32 tokens",
    "device-only": "everything on the device, a fixed number of tokens merged in each block",
    "cloud-only": "the float32 input tensor to the cloud, merged as in device-only",
    "mixed": "device-only or cloud-only, whichever is predicted to be faster",
    "split-only": "the paper's splits without merging",
    "cloud-jpeg": "a JPEG of quality 90 to the cloud, nothing merged; cloud-jpeg50, cloud-webp75 and so on as well",
    "janus-compact": "Algorithm 1 with float8 tokens",
    "janus-all": "Algorithm 1 at the paper's splits with every format except int4",
}
_ANY_MODEL = "adaptive"  # has local plans for every model
_ADAPTIVE = {"adaptive": MostAccurateInTime, "adaptive-fleet": MostRightForAll}
_CLOUD = "cloud-"
_JPEG = "jpeg90"
_ACCEPTABLE = 0.05  # accuracy that the rescue schedule may cost
_LEVELS_OF_A_CURVE = 2  # measured levels from which those between them are estimated


def check_policy(name: str) -> str:
    """Check the name of a policy, or FILE.py:CLASS, before anything slow begins.

    Raises:
        InputError: there is no such policy.
    """
    if is_custom(name):
        policy_class(name)
    elif name not in POLICIES and _image_of(name) is None:
        raise InputError(f"policy {name!r} is unknown: use one of {', '.join(POLICIES)}, or FILE.py:CLASS of your own")
    return name


def check_late_target(late_target: float | None, policy: str) -> None:
    """Check an accepted share of late frames, and that the policy can keep to one.

    Raises:
        InputError: the share is not between 0 and 1, or the policy does not weigh late frames.
    """
    LatePrice(late_target)
    if late_target is not None and not weighs_late_frames(policy):
        raise InputError(f"policy {policy} cannot keep to a share of late frames: use one of {', '.join(_ADAPTIVE)}")


def weighs_late_frames(policy: str) -> bool:
    """Whether a policy can keep to an accepted share of late frames."""
    return policy in _ADAPTIVE


def make_policy(name: str, platforms: Platforms, late_target: float | None = None) -> Policy:
    """Make a new policy.

    Args:
        name: one of `POLICIES`, or FILE.py:CLASS for a policy of your own.
        platforms: both machines and the link between them.
        late_target: share of late frames that the user accepts; None: late answers count as wrong.

    Raises:
        InputError: the name is unknown, a profile lacks a format that the policy needs, or see `check_late_target`.
    """
    return policy_over(policy_table(name, platforms), name, platforms, late_target)


def make_lone_policy(name: str, platforms: Platforms, late_target: float | None = None) -> Policy:
    """Make a new policy for a device whose cloud is absent: the local plans of a policy, or of `adaptive`.

    Args:
        name: one of `POLICIES`, or FILE.py:CLASS for a policy of your own.
        platforms: the device; its cloud and link are not used.
        late_target: as in `make_policy`.

    Raises:
        InputError: the name is unknown, the policy sends only images and they are not allowed, or see
            `check_late_target`.
    """
    local = platforms.shape.blocks + 1
    has_local = any(option.split == local for option in _allowed_options(name, platforms)[1])
    alone = replace(platforms, entry_blocks=(local,))
    return make_policy(name if has_local else _ANY_MODEL, alone, late_target)


def policy_over(table: PlanTable, name: str, platforms: Platforms, late_target: float | None = None) -> Policy:
    """Make a new policy of that name that chooses from the plans of `table`; see `make_policy`."""
    check_late_target(late_target, name)
    if is_custom(name):
        return custom_policy(name, table, platforms)
    if name not in _ADAPTIVE:
        return SmallestLevel(table, HarmonicMean(platforms.rate_mbps), platforms.rtt_s)
    make, link, measured = _ADAPTIVE[name], RateForecast(platforms.rate_mbps), platforms.accuracy
    if measured is None:
        return make(table, link, platforms.rtt_s, late_target=late_target)
    return make(
        table,
        link,
        platforms.rtt_s,
        accuracy=measured.of_plans(table),
        rescued=measured.of_rescues(table),
        resolution=measured.resolution,
        late_target=late_target,
    )


def policy_table(name: str, platforms: Platforms) -> PlanTable:
    """Build the table of the plans that a policy chooses from.

    Raises:
        InputError: the name is unknown, a profile lacks a format, or the policy sends only images and they are not
            allowed.
    """
    schedules, options = _allowed_options(name, platforms)
    return build_table(
        platforms.shape,
        schedules,
        options,
        device=platforms.device,
        cloud=platforms.cloud,
        curve="quadratic" if _uses_all_plans(name) else "line",  # the paper's policies predict with the paper's line
        targets=_rescue_targets(schedules, platforms),
    )


def _allowed_options(name: str, platforms: Platforms) -> tuple[tuple[Schedule, ...], tuple[Option, ...]]:
    schedules, space = _space(name, platforms)
    options = tuple(option for option in space if platforms.can_enter(option.split))
    if not platforms.images_allowed:
        options = tuple(option for option in options if option.split > 0)
        if not options:
            raise InputError(f"policy {name} can only send images, which are not allowed: choose another policy")
    return schedules, options


def _rescue_targets(schedules: Sequence[Schedule], platforms: Platforms) -> list[bool] | None:
    """Find the schedules that are accurate enough for a fallback; None (all of them) if no accuracy was measured."""
    if platforms.accuracy is None:
        return None
    whole = platforms.shape.blocks + 1
    plans = [
        Plan(schedule.family, schedule.level, schedule.applied, split=whole, payload=LOCAL) for schedule in schedules
    ]
    known = [platforms.accuracy.of_plan(plan) for plan in plans]
    shares = [estimate.share if estimate else 0.0 for estimate in known]
    return [share >= max(shares) - _ACCEPTABLE for share in shares]


def _uses_all_plans(name: str) -> bool:
    return name in _ADAPTIVE or is_custom(name)


def baseline_merges(shape: ModelShape) -> float:
    """Tokens that a baseline merges in each block: 23 of 577 and 65 of 1,569 in 24 blocks, as in the paper."""
    return float(max(0, (shape.tokens - 2) // shape.blocks))


def _space(name: str, platforms: Platforms) -> tuple[tuple[Schedule, ...], tuple[Option, ...]]:
    shape = platforms.shape
    whole = shape.blocks + 1
    paper_splits = candidate_splits(shape.blocks)
    rising = _all_levels("exponential", shape)
    unmerged = (make_schedule("none", 0.0, shape),)
    fixed = (make_schedule("fixed", baseline_merges(shape), shape),)
    known = [payload for payload in platforms.device.encode if payload in platforms.cloud.decode]
    all_tokens = [payload for payload in known if parse_payload(payload).of_tokens]
    all_images = [payload for payload in known if not parse_payload(payload).of_tokens]

    def options(splits: Sequence[int], tokens: Sequence[str] = (), images: Sequence[str] = ()) -> tuple[Option, ...]:
        return make_options(shape, splits, tokens=tokens, images=images)

    if _uses_all_plans(name):
        return _adaptive_schedules(platforms), options(all_splits(shape.blocks), all_tokens, all_images)
    spaces = {
        "janus": (rising, options(paper_splits, ["float32"], ["tensor"])),
        "split-only": (unmerged, options(paper_splits, ["float32"], ["tensor"])),
        "device-only": (fixed, options([whole])),
        "cloud-only": (fixed, options([0], images=["tensor"])),
        "mixed": (fixed, options([0, whole], images=["tensor"])),
        "cloud-jpeg": (unmerged, options([0], images=[_JPEG])),
        "janus-compact": (rising, options(paper_splits, ["float8"], ["tensor"])),
        "janus-all": (rising, options(paper_splits, [name for name in all_tokens if name != "int4"], all_images)),
    }
    if name not in spaces and (image := _image_of(name)):
        return unmerged, options([0], images=[image])
    return spaces[check_policy(name)]


def _image_of(name: str) -> str | None:
    """The image format of "cloud-FORMAT", None for any other name."""
    try:
        payload = parse_payload(name.removeprefix(_CLOUD))
    except InputError:
        return None
    return payload.name if name.startswith(_CLOUD) and not payload.of_tokens else None


def _adaptive_schedules(platforms: Platforms) -> tuple[Schedule, ...]:
    """Every level of the families that have a rule and were measured at several levels; else the measured levels.

    Without a table, every level of the family that typically loses least.
    """
    shape, measured = platforms.shape, platforms.accuracy
    if measured is None:
        return _all_levels(typical.FAMILY, shape)
    whole = [point for point in measured.points if point.family != UNMERGED and point.payload == LOCAL]
    counts = Counter(point.family for point in whole)
    dense = [name for name in measured.families if name in FAMILIES and counts[name] >= _LEVELS_OF_A_CURVE]
    found = [schedule for name in dense for schedule in _all_levels(name, shape)]
    others = [clip(p.family, p.level, p.merges, shape) for p in measured.points if p.family not in (UNMERGED, *dense)]
    unmerged = found[0] if found else make_schedule(UNMERGED, 0.0, shape)
    return tuple(dict.fromkeys([unmerged, *(schedule for schedule in found + others if any(schedule.applied))]))


def _all_levels(family: str, shape: ModelShape) -> tuple[Schedule, ...]:
    return tuple(make_schedule(family, level, shape) for level in levels(family, shape))
