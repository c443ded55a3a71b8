"""The paper's machines as data: they say what the paper says."""

import pytest

from janus_vit.errors import InputError
from janus_vit.planning.payloads import LOCAL
from janus_vit.planning.plan import Plan
from janus_vit.planning.platforms import Platforms
from janus_vit.planning.policies.presets import POLICIES, make_policy
from janus_vit.planning.schedules import make_schedule
from janus_vit.planning.table import Option, build_table
from janus_vit.reproduction.published import PAPER_MACHINES, SHAPES, assumed_accuracy, published_profile


def whole_model_ms(machine, model, family, level):
    shape, profile = SHAPES[model], published_profile(machine, model)
    schedule = make_schedule(family, level, shape)
    table = build_table(shape, [schedule], [Option(shape.blocks + 1, LOCAL)], profile, profile)
    return 1e3 * float(table.device_s[0, 0])


@pytest.mark.parametrize(
    ("machine", "model", "family", "level", "published_ms", "within"),
    [
        ("orin-nano", "vit-large-384", "none", 0.0, 653.3, 0.03),
        ("orin-nano", "vit-large-384", "exponential", 0.24, 403.2, 0.03),
        ("orin-nano", "vit-large-384", "fixed", 23.0, 1e3 / 3.0, 0.03),
        ("orin-nano", "st-mae-large", "fixed", 65.0, 1e3 / 0.93, 0.12),  # read off a drawing, to about a tenth
        ("orin-nano", "vit-base-224", "none", 0.0, 78.63, 0.001),
        ("v100", "vit-large-384", "none", 0.0, 32.3, 0.03),
        ("v100", "vit-large-384", "exponential", 0.24, 22.5, 0.03),
        ("v100", "vit-base-224", "none", 0.0, 3.88, 0.001),
    ],
)
def test_a_profile_predicts_what_the_paper_prints(machine, model, family, level, published_ms, within):
    assert whole_model_ms(machine, model, family, level) == pytest.approx(published_ms, rel=within)


def test_every_machine_of_the_paper_runs_every_model_under_every_policy():
    for model, shape in SHAPES.items():
        device, cloud = (published_profile(machine, model) for machine in PAPER_MACHINES)
        assert "Table I" in device.about["source"]
        assert device.about["fits"]
        platforms = Platforms(shape, device, cloud, 20.0, 0.04, assumed_accuracy(model))
        for name in POLICIES:
            make_policy(name, platforms)


def test_what_accuracy_is_known_or_assumed_is_told_apart():
    table = assumed_accuracy("vit-large-384")
    assert table.points[0].share == pytest.approx(0.8692)
    assert {"published", "assumed"} <= set(table.about)
    merged = make_schedule("fixed", 23.0, SHAPES["vit-large-384"])
    hard = table.of_plan(Plan("exponential", 0.27, merged.applied, 25, LOCAL))
    assert 0.85 < hard.share < 0.8692
    assert assumed_accuracy("st-mae-large") is None


def test_an_unknown_machine_names_the_known_ones():
    with pytest.raises(InputError, match=r"'tpu'.*orin-nano, v100"):
        published_profile("tpu", "vit-large-384")
