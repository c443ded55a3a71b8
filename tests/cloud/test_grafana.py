"""The dashboard for Grafana asks only for metrics that a cloud has."""

import json
import re
from pathlib import Path

from janus_vit.cloud.metrics import CloudMetrics

DASHBOARD = Path(__file__).parents[2] / "docs/grafana/cloud.json"


def test_every_metric_of_the_dashboard_exists():
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    asked = {name for query in queries for name in re.findall(r"janus_\w+", query)}
    families = list(CloudMetrics().registry.collect())
    known = {sample.name for family in families for sample in family.samples}
    known |= {f"{family.name}_total" for family in families if family.type == "counter"}
    assert len(asked) >= 10
    assert asked <= known
