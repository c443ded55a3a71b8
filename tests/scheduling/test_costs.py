"""Cost tables, what is predicted from them, and how predictions are corrected."""

import json

import pytest

from janus_vit.errors import InputError
from janus_vit.planning.plan import ModelShape
from janus_vit.scheduling.costs import CostTable, constant_costs, load_costs, parse_costs, profile_costs
from janus_vit.scheduling.estimate import BatchCosts, Correction, full_batch_s

SHAPE = ModelShape("example", 6, 65, 1, 32, (3, 64, 64))


def linear_block_s(frames, tokens):
    """Seconds of a block: fixed, for each frame, for each token."""
    return 1e-3 + frames * (2e-4 + 1e-6 * tokens)


def linear_table(**changes):
    frames, tokens = (1, 4, 32), (10.0, 100.0, 200.0)
    values = {
        "model": "example",
        "frames": frames,
        "tokens": tokens,
        "block_s": tuple(tuple(linear_block_s(count, each) for each in tokens) for count in frames),
        "stem_s": (1e-3, 2e-3, 8e-3),
        "head_s": (1e-4, 1e-4, 1e-4),
        "merge_s": (1e-4, 2e-4, 8e-4),
        "about": {"engine": "example"},
    }
    return CostTable(**(values | changes))


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 17, 32])
@pytest.mark.parametrize("tokens", [10, 55, 100, 170])
def test_a_linear_engine_is_predicted_exactly(frames, tokens):
    costs = BatchCosts(linear_table(), 6, 32)
    seconds = costs.stretch_s(frames, 3, frames * 3 * tokens, merges=0)
    assert seconds == pytest.approx(3 * linear_block_s(frames, tokens))


def test_frames_with_different_tokens_count_by_their_mean():
    costs = BatchCosts(linear_table(), 6, 32)
    assert costs.stretch_s(2, 1, 40 + 160, merges=0) == pytest.approx(linear_block_s(2, 100))


def test_merging_takes_extra_time_for_the_frames_that_merge():
    costs = BatchCosts(linear_table(), 6, 32)
    plain_s = costs.stretch_s(4, 2, 4 * 2 * 100, merges=0)
    assert costs.stretch_s(4, 2, 4 * 2 * 100, merges=8) == pytest.approx(plain_s + 2 * 2e-4)
    assert costs.stretch_s(4, 2, 4 * 2 * 100, merges=1) == pytest.approx(plain_s + 2 * 0.5 * 1e-4)


def test_noise_never_makes_a_larger_batch_faster():
    table = linear_table(block_s=((2e-3, 1e-3, 3e-3), (1e-3, 4e-3, 3e-3), (5e-3, 5e-3, 5e-3)))
    assert table.block_s == ((2e-3, 2e-3, 3e-3), (2e-3, 4e-3, 4e-3), (5e-3, 5e-3, 5e-3))
    times = [BatchCosts(table, 6, 32).stretch_s(count, 1, 50 * count, 0) for count in range(1, 33)]
    assert times == sorted(times)


def test_beyond_what_was_measured_time_grows_in_proportion():
    costs = BatchCosts(linear_table(), 6, 64)
    assert costs.stretch_s(64, 1, 64 * 100, 0) == pytest.approx(2 * linear_block_s(32, 100))
    assert costs.stretch_s(1, 1, 400, 0) == pytest.approx(2 * linear_block_s(1, 200))


def test_a_whole_batch_has_stem_blocks_and_head():
    expected_s = 2e-3 + 6 * linear_block_s(4, 65) + 1e-4
    assert full_batch_s(linear_table(), SHAPE, 4) == pytest.approx(expected_s)


def test_batches_are_no_larger_than_pays(make_profile):
    assert BatchCosts(constant_costs(2e-3, 1e-4, 12), 12, 32).max_frames == 32
    assert BatchCosts(constant_costs(2e-4, 1e-3, 12), 12, 32).max_frames == 13
    assert BatchCosts(profile_costs(make_profile(1e-5), SHAPE), 6, 32).max_frames == 1


def test_without_a_measured_table_a_batch_takes_as_long_as_its_frames_one_by_one(make_profile):
    profile = make_profile(1e-5)
    table = profile_costs(profile, SHAPE)
    one_s, eight_s = full_batch_s(table, SHAPE, 1), full_batch_s(table, SHAPE, 8)
    assert eight_s == pytest.approx(8 * one_s)
    blocks_s = profile.stack_seconds([65] * 7, "quadratic", None).sum()
    assert one_s == pytest.approx(profile.stem_s + blocks_s + profile.head_s)


def test_an_engine_of_known_time():
    shape = ModelShape("example", 12, 65, 1, 32, (3, 64, 64))
    table = constant_costs(2e-3, 1e-4, 12)
    assert full_batch_s(table, shape, 1) == pytest.approx(2.1e-3)
    assert full_batch_s(table, shape, 32) == pytest.approx(5.2e-3)


def test_the_price_of_all_frames_is_the_time_of_their_batch():
    costs = BatchCosts(linear_table(), 6, 32)
    price = costs.price(8)
    batch_s = costs.stem_s[8] + costs.stretch_s(8, 6, 8 * 6 * 100, 0) + costs.head_s[8]
    assert 8 * price.of_frame(0, (100,) * 7) == pytest.approx(batch_s)


def test_predictions_follow_the_median_of_what_batches_took():
    correction = Correction()
    for elapsed_s in (2.0, 2.2, 90.0, 1.8, 2.0):
        correction.learn(1.0, elapsed_s)
    assert correction.factor == 2.0


def test_a_correction_stays_within_limits():
    correction = Correction()
    correction.learn(1.0, 100.0)
    assert correction.factor == 4.0
    for _ in range(8):
        correction.learn(1.0, 0.001)
    assert correction.factor == 0.5


def test_a_batch_without_time_teaches_nothing():
    correction = Correction()
    correction.learn(0.0, 1.0)
    correction.learn(1.0, 0.0)
    assert correction.factor == 1.0


def test_a_table_survives_its_file(tmp_path):
    table = linear_table()
    table.save(tmp_path / "costs.json")
    assert load_costs(tmp_path / "costs.json") == table


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": (2, 4, 32)}, "frames of a cost table begin with 2 and must begin with 1"),
        ({"frames": (1, 4, 4)}, "frames of a cost table are .* and must rise"),
        ({"tokens": ()}, "tokens of a cost table are .* and must rise"),
        ({"block_s": ((1.0,),)}, "block_s of a cost table must hold one time for each"),
        ({"stem_s": (1.0,)}, "stem_s of a cost table must hold one time for each"),
        ({"head_s": (1.0, -1.0, 1.0)}, "head_s of a cost table must hold finite seconds"),
        ({"merge_s": (1.0, float("nan"), 1.0)}, "merge_s of a cost table must hold finite seconds"),
    ],
)
def test_a_bad_table_is_named(changes, message):
    with pytest.raises(InputError, match=message):
        linear_table(**changes)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("schema", "other", "costs.json: field schema is 'other'"),
        ("frames", 3, "costs.json: field frames must be a list"),
        ("tokens", ["x"], "costs.json: field tokens must be a list of finite numbers"),
        ("block_s", [[1.0], 2], r"costs.json: field block_s\[1\] must be a list of finite numbers"),
        ("stem_s", [1.0], "costs.json: stem_s of a cost table must hold one time"),
        ("model", 1, "costs.json: field model must be a string"),
    ],
)
def test_a_damaged_file_is_named_with_its_field(key, value, message):
    values = json.loads(linear_table().to_json()) | {key: value}
    with pytest.raises(InputError, match=message):
        parse_costs(json.dumps(values), "costs.json")
