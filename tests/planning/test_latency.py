"""Latency curves and profiles: fits, predictions, and files that are damaged."""

import json
from dataclasses import replace

import numpy as np
import pytest

from janus_vit.errors import InputError
from janus_vit.planning.latency import Cost, Curve, fit_cost, fit_line, fit_quadratic, load_profile, parse_profile
from janus_vit.planning.plan import ModelShape
from janus_vit.planning.platforms import Platforms
from janus_vit.planning.policies.presets import policy_table
from janus_vit.planning.table import Option


def test_line_is_fitted_exactly():
    tokens = np.array([10, 50, 200, 577])
    line = fit_line(tokens, 0.002 + 4e-5 * tokens)
    assert line.a_s == pytest.approx(0.002)
    assert line.b_s == pytest.approx(4e-5)
    assert line.c_s == 0.0
    assert line.max_error == pytest.approx(0.0, abs=1e-9)
    assert line.correlation == pytest.approx(1.0)


def test_quadratic_is_far_better_at_few_tokens():
    tokens = np.array([8, 16, 32, 64, 128, 256, 577])
    seconds = 1e-4 + 2e-6 * tokens + 5e-8 * tokens**2
    assert fit_quadratic(tokens, seconds).max_error < 1e-6
    assert fit_line(tokens, seconds).max_error > 0.5


def test_predictions_never_fall_below_the_smallest_measurement():
    tokens = np.array([50, 100, 200])
    line = fit_line(tokens, np.array([0.001, 0.004, 0.010]))
    assert float(line.seconds(1)) == 0.001


def test_cost_is_never_negative():
    assert fit_cost([10, 100], [0.2, 0.1]) == Cost(pytest.approx(0.15), 0.0)
    assert fit_cost([10, 100], [0.0, 0.9]).fixed_s == 0.0
    assert float(fit_cost([10, 100], [0.2, 0.2]).seconds(1000)) == pytest.approx(0.2)


def test_block_that_merges_takes_longer(make_profile):
    profile = make_profile(1e-4)
    plain, merging = profile.block_seconds([60, 60], [60, 60], "line"), profile.block_seconds([66], [57], "line")
    assert merging[0] == pytest.approx(plain[0] + profile.merge.fixed_s)


def test_residuals_are_measured_over_predicted_with_the_cost_of_merging(make_profile):
    profile = make_profile(1e-4)
    plain_s, merging_s = (float(profile.block_seconds(60, after, "quadratic")) for after in (60, 40))
    known = replace(profile, samples=((60, 60, 2 * plain_s), (60, 40, merging_s / 2)))
    assert known.residuals() == pytest.approx([2.0, 0.5])
    assert profile.residuals().size == 0


def test_too_few_points_are_refused():
    with pytest.raises(InputError, match="more than 2 points"):
        fit_quadratic([1, 2], [0.1, 0.2])


def test_profile_is_read_as_written(make_profile, tmp_path):
    profile = make_profile(1e-4)
    profile.save(tmp_path / "p.json")
    assert load_profile(tmp_path / "p.json") == profile


def test_slowed_machine_takes_longer_for_everything(platforms):
    slowed = Platforms(platforms.shape, platforms.device.slowed(3), platforms.cloud, 10, 0.02)
    one, three = policy_table("adaptive", platforms), policy_table("adaptive", slowed)
    np.testing.assert_allclose(three.device_s, 3 * one.device_s)
    np.testing.assert_allclose(three.encode_s, 3 * one.encode_s)
    np.testing.assert_allclose(three.cloud_s, one.cloud_s)
    np.testing.assert_allclose(three.size_bytes, one.size_bytes)


def test_device_and_cloud_time_of_one_machine_add_up(make_profile):
    shape = ModelShape("example", 6, 65, 1, 32, (3, 64, 64))
    table = policy_table("adaptive", Platforms(shape, make_profile(1e-4), make_profile(1e-4), 10, 0.02))
    whole = (table.device_s + table.cloud_s)[:, -1:]
    np.testing.assert_allclose(table.device_s + table.cloud_s, np.broadcast_to(whole, table.device_s.shape))
    unmerged = table.device_s + table.finish_s
    assert (unmerged <= whole + 1e-12).all()  # a fallback may use the rescue schedule
    np.testing.assert_allclose(unmerged[table.rescue.target], whole[table.rescue.target, 0])


def test_last_block_is_faster_if_the_head_reads_few_tokens(make_profile):
    profile = make_profile(1e-4, fixed_s=0.0)
    tokens = [[65, 65, 65], [65, 45, 25]]
    whole, few = (1e4 * profile.stack_seconds(tokens, "line", head_tokens) for head_tokens in (None, 1))
    np.testing.assert_allclose(whole, [[65, 65], [155 / 3, 95 / 3]])
    # All tokens need qkv, 3 of 12 multiplications; one token needs the other 9. Nothing merges.
    np.testing.assert_allclose(few, [[65, (3 * 65 + 9) / 12], [155 / 3, (3 * 45 + 9) / 12]])


def test_plan_that_splits_after_the_last_block_sends_what_the_head_reads(make_profile):
    shape = ModelShape("example", 6, 65, 1, 32, (3, 64, 64))
    sent, device_s, packing_s, cloud_s = [], [], [], []
    for head_tokens in (None, 1):
        platforms = Platforms(replace(shape, head_tokens=head_tokens), make_profile(1e-4), make_profile(1e-4), 10, 0.02)
        table = policy_table("adaptive", platforms)
        columns = [table.options.index(Option(split, "float32")) for split in (5, 6)]
        sent.append(table.size_bytes[0, columns])
        device_s.append(table.device_s[0, columns])
        packing_s.append(table.encode_s[0, columns] + table.decode_s[0, columns])
        cloud_s.append(table.cloud_s[0, table.options.index(Option(0, "jpeg90"))])
    assert sent[0][0] == sent[0][1] == sent[1][0] == 65 * sent[1][1]
    assert device_s[0][0] == device_s[1][0]
    assert device_s[0][1] - device_s[1][1] == cloud_s[0] - cloud_s[1] == pytest.approx(1e-4 * (65 - 68 / 4))
    assert packing_s[0][0] == packing_s[1][0] == packing_s[0][1]
    assert packing_s[0][1] - packing_s[1][1] == pytest.approx(2 * 1e-9 * 64 * 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("stem_s"), "field stem_s is missing"),
        (lambda v: v.update(stem_s="fast"), "field stem_s must be a finite number"),
        (lambda v: v.update(head_s=-1), "field head_s must be at least 0"),
        (lambda v: v["line"].pop("b_s"), "field line.b_s is missing"),
        (lambda v: v["quadratic"].update(c_s=float("nan")), "field quadratic.c_s must be a finite number"),
        (lambda v: v["merge"].update(fixed_s=-1), "field merge.fixed_s must be at least 0"),
        (lambda v: v["encode"].update(float32=3), "field encode.float32 must be an object"),
        (lambda v: v.update(samples=[[1, 2]]), r"field samples\[0\]"),
        (lambda v: v.update(samples=[[1, 2, float("inf")]]), r"field samples\[0\]"),
        (lambda v: v.update(stem_s=10**400), "field stem_s must be a finite number"),
        (lambda v: v.update(schema="janus-vit/profile/9"), "field schema"),
        (lambda v: v.update(stem_s=1.7e308), "field stem_s must be at most 3600, not 1.7e\\+308"),
        (lambda v: v["line"].update(b_s=-1e308), "field line.b_s must be at least -3600"),
        (lambda v: v["quadratic"].update(correlation=1e9), "field quadratic.correlation must be at most 1"),
        (lambda v: v["merge"].update(per_value_s=-1e-9), "field merge.per_value_s must be at least 0"),
        (lambda v: v["decode"]["float32"].update(fixed_s=1e300), "field decode.float32.fixed_s must be at most 3600"),
        (lambda v: v["image_bytes"].update(png=1e300), "field image_bytes.png must be at most 1e\\+12"),
        (
            lambda v: v["lossless_ratio"].update({"float8+zstd": 1e300}),
            "field lossless_ratio.float8.zstd must be at most",
        ),
        (lambda v: v.update(samples=[[1, 2, 1e300]]), r"field samples\[0\]"),
        (lambda v: v.update(samples=[[1e300, 2, 1e-3]]), r"field samples\[0\]"),
        (lambda v: v.update(samples=[[-1, 2, 1e-3]]), r"field samples\[0\]"),
    ],
)
def test_damaged_profile_names_its_field(make_profile, change, message):
    values = json.loads(make_profile(1e-4).to_json())
    change(values)
    with pytest.raises(InputError, match=message) as error:
        parse_profile(json.dumps(values), "here.json")
    assert str(error.value).startswith("here.json")


def test_broken_json_names_its_line(make_profile):
    lines = make_profile(1e-4).to_json().splitlines()
    lines[3] = lines[3].replace(":", "")
    with pytest.raises(InputError, match="line 4, column"):
        parse_profile("\n".join(lines), "here.json")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"schema": ' + "9" * 5000 + "}"])
def test_json_that_breaks_parsers_is_refused(text):
    with pytest.raises(InputError, match=r"here\.json"):
        parse_profile(text, "here.json")


def test_missing_profile_names_its_path(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.json"):
        load_profile(tmp_path / "nowhere.json")


def test_no_block_takes_no_time_whatever_its_curve_says():
    for curve in (Curve(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0), Curve(-1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0)):
        assert (curve.seconds([1, 17, 65_535]) > 0).all()
