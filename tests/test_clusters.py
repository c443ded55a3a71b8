"""The files for Ray clusters and Kubernetes say what the code understands. They were not applied to a cluster."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from janus_vit.cli.main import app
from janus_vit.cloud.ray.proxy import APPLICATION
from janus_vit.cloud.ray.scale import DEPLOYMENT
from janus_vit.cloud.ray.settings import RaySettings
from janus_vit.wire.rpc import SERVICE

CLUSTERS = Path(__file__).parents[1] / "docs" / "clusters"
PORT = 50051
CHECK = """
import sys, yaml
from ray.serve.schema import ServeDeploySchema
for text in yaml.safe_load(sys.stdin):
    ServeDeploySchema(**yaml.safe_load(text))
"""


def documents(name: str) -> dict[str, dict]:
    """The documents of a file, by kind."""
    return {each["kind"]: each for each in yaml.safe_load_all((CLUSTERS / name).read_text("utf-8"))}


def ray_service() -> dict:
    return documents("ray-service.yaml")["RayService"]["spec"]


CONFIGS = {
    "serve.yaml": lambda: (CLUSTERS / "serve.yaml").read_text("utf-8"),
    "ray-service.yaml": lambda: ray_service()["serveConfigV2"],
}


@pytest.mark.parametrize("name", CONFIGS)
def test_ray_serve_gets_arguments_that_we_parse_and_names_that_exist(name):
    config = yaml.safe_load(CONFIGS[name]())
    (application,) = config["applications"]
    assert application["name"] == APPLICATION
    assert application["import_path"] == "janus_vit.cloud.ray:app"
    assert [each["name"] for each in application["deployments"]] == [DEPLOYMENT]
    RaySettings.parse(application["args"])
    assert config["grpc_options"]["port"] == PORT
    (function,) = config["grpc_options"]["grpc_servicer_functions"]
    module, _, attribute = function.rpartition(".")
    assert callable(getattr(import_module(module), attribute))


def test_ray_serve_accepts_the_files_and_builds_the_application():
    texts = [read() for read in CONFIGS.values()]
    subprocess.run([sys.executable, "-c", CHECK], input=yaml.safe_dump(texts), text=True, check=True)


def test_every_pod_of_the_ray_cluster_has_the_port_of_the_proxy():
    spec = ray_service()
    cluster = spec["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        assert PORT in [port["containerPort"] for port in container["ports"]]
    assert [port["targetPort"] for port in spec["serveService"]["spec"]["ports"]] == [PORT]


def test_the_plain_cloud_runs_with_options_that_exist_and_probes_its_health_service():
    found = documents("cloud.yaml")
    pod = found["Deployment"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    known = {option for each in get_command(app).commands["cloud"].params for option in each.opts}
    options = [argument for argument in container["args"] if argument.startswith("--")]
    assert set(options) <= known
    assert container["args"][container["args"].index("--listen") + 1] == f"0.0.0.0:{PORT}"
    assert container["readinessProbe"]["grpc"] == {"port": PORT, "service": SERVICE}
    labels = pod["metadata"]["labels"]
    assert found["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert found["Service"]["spec"]["selector"] == labels
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    ports = [port["name"] for port in container["ports"]]
    assert all(port["targetPort"] in ports for port in found["Service"]["spec"]["ports"])


def test_the_page_shows_these_files():
    page = (CLUSTERS.parent / "ray.md").read_text("utf-8")
    shown = re.findall(r'--8<-- "docs/clusters/([\w.-]+)"', page)
    assert sorted(shown) == sorted(path.name for path in CLUSTERS.iterdir())
