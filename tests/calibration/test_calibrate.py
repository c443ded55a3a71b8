"""Calibration: few configurations well chosen, the same table after an interruption, nothing measured twice."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import small_model

from janus_vit.calibration import evaluator
from janus_vit.calibration.calibrate import Calibration
from janus_vit.calibration.evaluator import Configuration, Evaluator
from janus_vit.calibration.journal import Journal
from janus_vit.calibration.search import Search, schedules_of
from janus_vit.errors import InputError
from janus_vit.model.catalog import load_model
from janus_vit.model.engines.eager import EagerEngine
from janus_vit.planning.accuracy.points import Point
from janus_vit.planning.accuracy.table import load_accuracy
from janus_vit.planning.payloads import LOCAL
from janus_vit.planning.plan import ModelShape, Plan
from janus_vit.planning.policies.presets import baseline_merges
from janus_vit.planning.schedules import make_schedule
from janus_vit.sources.frames import Sample, Source

PAYLOADS = ("float32", "float16", "int4", "float16+zstd", "tensor", "png", "jpeg50")
LOSSY = {"float16", "int4", "jpeg50"}
FRAMES, BUDGET = 40, 11
SHAPE = ModelShape("example", 12, 197, 1, 64, (3, 224, 224))


def source(labels=None, count=FRAMES):
    rng = np.random.default_rng(5)
    images = [rng.integers(0, 256, (32, 32, 3), np.uint8) for _ in range(count)]
    samples = [Sample(f"{i}", image, None if labels is None else labels[i]) for i, image in enumerate(images)]
    return Source(lambda: iter(samples), count)


@pytest.fixture
def calibration(model, engine):
    search = Search(model.shape, schedules_of(["exponential", "fixed"], model.shape), PAYLOADS, BUDGET)
    return Calibration(model, engine, Evaluator(model, engine, source()), search)


@pytest.fixture
def table(calibration, tmp_path):
    return calibration.run(calibration.journal(tmp_path / "whole"))


class Interrupted(Exception):
    """Somebody pressed Ctrl-C."""


def interrupt_after(count):
    def progress(share, what):
        if share * BUDGET > count:
            raise Interrupted

    return progress


def test_unmerged_model_agrees_with_itself(table):
    first = table.points[0]
    assert (first.family, first.payload, first.agreeing, first.frames) == ("none", LOCAL, FRAMES, FRAMES)
    assert first.kl == pytest.approx(0, abs=1e-12)
    assert table.metric == "agreement"
    assert table.of_plan(Plan("none", 0.0, (0,) * 6, 7, LOCAL)).share == 1


def test_budget_is_spent_on_different_configurations(table):
    assert len(table.points) == BUDGET
    assert len({point.identity for point in table.points}) == BUDGET
    assert table.families == ("exponential", "fixed")
    assert {point.payload for point in table.points} == LOSSY | {LOCAL}


def test_merging_and_coarse_payloads_cost_agreement(table):
    shares = {(point.family, point.payload): point for point in reversed(table.points)}
    assert shares["exponential", LOCAL].kl > shares["none", "int4"].kl > shares["none", "float16"].kl > 0
    assert shares["none", "int4"].size_bytes < shares["none", "float16"].size_bytes


def test_interval_of_each_point_contains_its_share(table):
    for point in table.points:
        low, high = point.interval
        assert low <= point.share <= high


@pytest.mark.parametrize("count", [0, 1, 6, 10])
def test_interrupted_measurement_goes_on_and_gives_the_identical_table(calibration, model, engine, tmp_path, count):
    whole = calibration.run(calibration.journal(tmp_path / "whole"))
    path = tmp_path / "cut"
    with pytest.raises(Interrupted):
        calibration.run(calibration.journal(path), progress=interrupt_after(count))
    again = replace(calibration, evaluator=Evaluator(model, engine, source()))
    journal = again.journal(path)
    assert len(journal.points) == count
    table = again.run(journal)
    assert table.to_json() == whole.to_json()


def test_line_that_was_cut_is_measured_again(calibration, tmp_path):
    path = tmp_path / "cut"
    with pytest.raises(Interrupted):
        calibration.run(calibration.journal(path), progress=interrupt_after(5))
    path.write_bytes(path.read_bytes()[:-20])
    journal = calibration.journal(path)
    assert len(journal.points) == 4
    calibration.run(journal)
    assert len(calibration.journal(path).points) == BUDGET


def test_measurement_of_other_frames_is_not_continued_unless_told_to_begin_anew(calibration, model, engine, tmp_path):
    path = tmp_path / "cut"
    with pytest.raises(Interrupted):
        calibration.run(calibration.journal(path), progress=interrupt_after(3))
    fewer = replace(calibration, evaluator=Evaluator(model, engine, source(count=20)))
    with pytest.raises(InputError, match=r"another value of frames \(40, now 20\): .* discard its points with --anew"):
        fewer.journal(path)
    with pytest.raises(InputError, match=r"another value of budget \(11, now 15\)"):
        replace(calibration, search=replace(calibration.search, budget=15)).journal(path)
    assert len(calibration.journal(path).points) == 3
    assert fewer.journal(path, anew=True).points == []
    assert fewer.journal(path).points == []


@pytest.mark.parametrize(
    ("line", "text", "says"),
    [
        (0, "{}", "line 1: field schema is missing"),
        (0, "not at all", "cut: line 1, column 1: not valid JSON"),
        (2, '{"family": "none"}', "line 3: field frames is missing"),
    ],
)
def test_damaged_journal_names_its_line(calibration, tmp_path, line, text, says):
    path = tmp_path / "cut"
    with pytest.raises(Interrupted):
        calibration.run(calibration.journal(path), progress=interrupt_after(3))
    lines = path.read_text().splitlines()
    lines[line] = text
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=says):
        calibration.journal(path)


def test_batch_answers_as_each_frame_alone(model, engine, monkeypatch):
    together = Evaluator(model, engine, source())
    monkeypatch.setattr(evaluator, "_LARGEST_BATCH", 1)
    alone = Evaluator(model, engine, source())
    for payload, split in ((LOCAL, 7), ("int4", 1), ("jpeg50", 0)):
        configuration = Configuration(make_schedule("fixed", 1.0, model.shape), split, payload)
        one, other = together.run(configuration), alone.run(configuration)
        assert one.agreeing == other.agreeing
        assert one.kl == pytest.approx(other.kl, rel=1e-4)
        assert one.size_bytes == other.size_bytes


def test_labels_turn_agreement_into_right_answers(model, engine, calibration, tmp_path):
    labelled = replace(calibration, evaluator=Evaluator(model, engine, source([3] * FRAMES)))
    table = labelled.run(labelled.journal(tmp_path / "labelled"))
    assert table.metric == "right"
    assert all(point.hits == point.right <= point.frames for point in table.points)
    assert table.points[0].agreeing == FRAMES
    table.save(tmp_path / "table.json")
    assert load_accuracy(tmp_path / "table.json") == table


def test_lossless_payloads_share_one_measurement(model, calibration, tmp_path):
    search = replace(calibration.search, payloads=("float32", "tensor", "png", "float32+zstd"))
    lossless = replace(calibration, search=search)
    table = lossless.run(lossless.journal(tmp_path / "journal"))
    assert {point.payload for point in table.points} == {LOCAL}


def test_a_configuration_that_is_given_up_is_stopped_after_a_quarter_or_a_half_of_the_frames(
    model, engine, monkeypatch
):
    monkeypatch.setattr(evaluator, "_LARGEST_BATCH", 4)
    runs = Evaluator(model, engine, source())
    configuration = Configuration(make_schedule("fixed", 1.0, model.shape), 7, LOCAL)
    assert runs.run(configuration, give_up=lambda point: True).frames == 12
    assert runs.run(configuration, give_up=lambda point: point.frames > 12).frames == 20
    assert runs.run(configuration, give_up=lambda point: False).frames == FRAMES


def test_an_embedding_agrees_if_its_own_frame_is_found_again(tmp_path):
    embedding = small_model(classes=0)
    engine = EagerEngine(embedding)
    runs = Evaluator(embedding, engine, source())
    search = Search(embedding.shape, schedules_of(["exponential"], embedding.shape), PAYLOADS, 8)
    table = Calibration(embedding, engine, runs, search).run(Journal(tmp_path / "j", {}))
    assert table.metric == "agreement"
    assert table.points[0].agreeing == FRAMES
    assert table.points[0].kl == pytest.approx(0.0, abs=1e-9)
    merged = next(point for point in table.points if point.saved)
    assert merged.kl > 1e-4
    vectors = [
        torch.nn.functional.normalize(run(embedding, engine, image, merges))
        for merges in ((0,) * 6, merged.merges)
        for image in runs.images
    ]
    before, after = torch.cat(vectors[:FRAMES]), torch.cat(vectors[FRAMES:])
    assert merged.agreeing == int(((after @ before.T).argmax(1) == torch.arange(FRAMES)).sum())
    assert merged.kl == pytest.approx(float((1 - (before * after).sum(1)).mean()), abs=1e-4)


def run(model, engine, image, merges):
    return engine.head(engine.run(engine.embed(model.preprocessing.normalise(image), merges), model.shape.blocks))


def test_source_without_frames_is_refused(model, engine):
    with pytest.raises(InputError, match="no frame to measure on"):
        Evaluator(model, engine, source(count=0))


def measured(configuration, share, frames=1000, size_bytes=0.0):
    schedule = configuration.schedule
    hits = round(share * frames)
    place = (configuration.split, configuration.payload)
    return Point(schedule.family, schedule.level, schedule.applied, *place, frames, hits, None, 0.0, size_bytes)


def explored(search, share_of):
    points = []
    while (configuration := search.next_configuration(points)) is not None:
        points.append(measured(configuration, share_of(configuration)))
    return points


def test_levels_are_refined_where_the_curve_bends():
    search = Search(SHAPE, schedules_of(["exponential"], SHAPE), (), 10)
    cliff = {True: 0.95, False: 0.4}
    points = explored(search, lambda each: cliff[each.schedule.level <= 0.37] if each.schedule.level else 1.0)
    levels = sorted(point.level for point in points)
    assert len(points) == 10
    assert {0.37, 0.38} <= set(levels)
    assert sum(abs(level - 0.375) < 0.1 for level in levels) >= 6


def test_payloads_that_change_most_answers_are_looked_at_more_closely_and_exact_ones_no_more():
    kept = {"float16": 1.0, "float8": 0.99, "int4": 0.9, "jpeg50": 0.8, LOCAL: 1.0}
    search = Search(SHAPE, schedules_of(["exponential"], SHAPE), tuple(kept)[:-1], 14)
    points = explored(search, lambda each: kept[each.payload])
    again = [point for point in points[6:] if point.payload != LOCAL]
    assert [(point.payload, point.split, point.saved > 0) for point in again] == [
        ("jpeg50", 0, True),
        ("int4", 1, True),
        ("int4", 6, False),
        ("float8", 1, True),
    ]
    assert not [point for point in points[6:] if point.payload == "float16"]


def test_dominated_configurations_are_found():
    search = Search(SHAPE, schedules_of(["fixed", "linear"], SHAPE), (), 10)
    few, many = (make_schedule("fixed", level, SHAPE) for level in (4.0, 8.0))
    good = measured(Configuration(many, 1, "int8"), 0.95, size_bytes=1000)
    assert search.is_dominated(measured(Configuration(few, 1, "int8"), 0.8, 250, 2000), [good])
    assert not search.is_dominated(measured(Configuration(few, 1, "int8"), 0.94, 250, 2000), [good])  # not surely worse
    assert not search.is_dominated(measured(Configuration(few, 1, "int4"), 0.8, 250, 500), [good])  # sends less
    elsewhere = measured(Configuration(few, 6, "int8"), 0.8, 250, 2000)
    assert not search.is_dominated(elsewhere, [good])
    more = make_schedule("fixed", 9.0, SHAPE)
    assert not search.is_dominated(measured(Configuration(more, 1, "int8"), 0.8, 250, 2000), [good])  # computes less


def test_budget_and_families_must_make_sense():
    with pytest.raises(InputError, match="schedule 'best' cannot be calibrated: use some of exponential, linear"):
        schedules_of(["best"], SHAPE)
    with pytest.raises(InputError, match="allow 3 configurations or more"):
        Search(SHAPE, schedules_of(["exponential", "fixed"], SHAPE), (), 2)


def test_table_that_ships_belongs_to_the_model_that_ships():
    model = load_model()
    table = model.accuracy.for_model(model.name, model.fingerprint, "float32")
    merged = make_schedule("fixed", baseline_merges(model.shape), model.shape)
    baseline = table.of_plan(Plan("fixed", merged.level, merged.applied, 13, LOCAL))
    unmerged = table.of_plan(Plan("none", 0.0, (0,) * 12, 13, LOCAL))
    assert 0.85 < baseline.share < unmerged.share < 1
    assert json.loads(table.to_json())["about"]["command"].startswith("janus-vit calibrate")
