"""The Kubernetes manifests: every pod is watched, bounded and without rights; what names something else finds it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemon.settings.settings import load_settings

FOLDER = Path(__file__).resolve().parents[3] / "deploy" / "kubernetes"
ANSWERS = ("serve", "vllm")  # what is applied: each brings the base
CLAIMS = {"upkeep-data", "upkeep-hub"}

Manifest = dict[str, Any]


def _manifests() -> list[tuple[str, Manifest]]:
    """Every object by the folder that it stands in; kustomizations are not objects."""
    return [
        (path.parent.name, manifest)
        for path in sorted(FOLDER.glob("*/*.yaml"))
        if path.name != "kustomization.yaml"
        for manifest in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]


def _kind(kind: str) -> list[Manifest]:
    return [manifest for _, manifest in _manifests() if manifest["kind"] == kind]


DEPLOYMENTS = {manifest["metadata"]["name"]: manifest for manifest in _kind("Deployment")}


def _pod(name: str) -> Manifest:
    pod: Manifest = DEPLOYMENTS[name]["spec"]["template"]["spec"]
    return pod


def _patched(folder: str, name: str) -> list[dict[str, str]]:
    """What a kustomization adds to a deployment's environment; each of its files is mounted."""
    kustomization = yaml.safe_load((FOLDER / folder / "kustomization.yaml").read_text(encoding="utf-8"))
    added = []
    for patch in kustomization.get("patches", []):
        deployment = yaml.safe_load(patch["patch"])
        if deployment["metadata"]["name"] == name:
            pod = deployment["spec"]["template"]["spec"]
            ((_, items),) = [(v["name"], v["secret"]["items"]) for v in pod["volumes"]]
            added += pod["containers"][0]["env"]
            own = {
                item["key"]
                for volume in _pod(name)["volumes"]
                if "secret" in volume
                for item in volume["secret"]["items"]
            }
            assert {item["key"] for item in items} == own | {Path(entry["value"]).name for entry in added}
    return added


def _container(name: str) -> Manifest:
    (container,) = _pod(name)["containers"]
    found: Manifest = container
    return found


def test_each_role_has_a_deployment() -> None:
    assert DEPLOYMENTS.keys() == {"consume", "schedule", "worker", "serve", "gateway", "vllm"}
    for name in DEPLOYMENTS.keys() - {"vllm"}:
        assert _container(name)["args"] == [name]


@pytest.mark.parametrize("name", sorted(DEPLOYMENTS))
def test_every_pod_runs_without_rights_on_a_root_that_it_cannot_write(name: str) -> None:
    pod, container = _pod(name), _container(name)

    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for one in [container, *pod.get("initContainers", [])]:
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in one["resources"]["limits"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert not any("hostPath" in volume for volume in pod["volumes"])
    assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}  # noqa: S108 -- else nothing is writable


@pytest.mark.parametrize("name", sorted(DEPLOYMENTS))
def test_every_pod_is_watched_and_bounded(name: str) -> None:
    container, ports = _container(name), {port["name"] for port in _container(name)["ports"]}

    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] in ports
    # A model may take minutes to load: that is what the start is for, alive it is meanwhile.
    assert container["livenessProbe"]["httpGet"]["path"] in ("/healthz", "/metrics", "/health")
    resources = container["resources"]
    assert resources["limits"].keys() >= {"memory"} <= resources["requests"].keys()
    assert "cpu" in resources["requests"]
    gpu = "nvidia.com/gpu"
    assert (gpu in resources["limits"]) == (name in ("worker", "serve", "vllm"))
    assert resources["limits"].get(gpu) == resources["requests"].get(gpu)
    if gpu in resources["limits"]:  # another pod of its own could never start beside it
        assert DEPLOYMENTS[name]["spec"]["strategy"] == {"type": "Recreate"}
    scraped = DEPLOYMENTS[name]["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"]
    assert int(scraped) in {port["containerPort"] for port in container["ports"]}


@pytest.mark.parametrize("name", sorted(DEPLOYMENTS))
def test_secrets_come_as_files_and_only_those_that_the_pod_needs(name: str) -> None:
    volumes = {volume["name"]: volume for volume in _pod(name)["volumes"]}
    secret = volumes["secrets"]["secret"]
    environment = {
        entry["name"]: entry["value"] for entry in _container(name)["env"]
    }  # no valueFrom: no secret in it
    files = {Path(value).name for value in environment.values() if value.startswith("/run/secrets/upkeep/")}
    mounted = {item["path"] for item in secret["items"]}
    read = set(re.findall(r"/run/secrets/upkeep/(\w+)", str(_container(name).get("args"))))

    assert files | read == mounted
    assert secret["secretName"] == "upkeep"
    assert secret["defaultMode"] == 0o440
    for variable in environment:
        if re.search(r"PASSWORD|API_KEY|TOKEN|LEDGER__URL", variable):
            assert variable.endswith(("_FILE", "_PATH")), variable


@pytest.mark.parametrize("name", sorted(DEPLOYMENTS))
def test_every_mount_has_a_volume_and_every_claim_a_manifest(name: str) -> None:
    volumes = {volume["name"]: volume for volume in _pod(name)["volumes"]}

    assert {mount["name"] for mount in _container(name)["volumeMounts"]} == volumes.keys()
    claims = {
        v["persistentVolumeClaim"]["claimName"] for v in volumes.values() if "persistentVolumeClaim" in v
    }
    assert claims <= CLAIMS == {claim["metadata"]["name"] for claim in _kind("PersistentVolumeClaim")}
    if name != "vllm":
        assert volumes["settings"]["configMap"]["name"] == "upkeep-settings"


def test_services_policies_and_budgets_select_pods_and_ports_that_exist() -> None:
    for service in _kind("Service"):
        name = service["spec"]["selector"]["app.kubernetes.io/name"]
        names = {port["name"] for port in _container(name)["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names
        assert service["metadata"]["name"] == name
        assert service["spec"].get("type", "ClusterIP") == "ClusterIP"
    known = {port["name"] for name in DEPLOYMENTS for port in _container(name)["ports"]}
    for policy in _kind("NetworkPolicy"):
        labels = policy["spec"]["podSelector"]["matchLabels"]
        assert labels.get("app.kubernetes.io/name", "worker") in DEPLOYMENTS
        assert {port["port"] for rule in policy["spec"].get("ingress", []) for port in rule["ports"]} <= known
    for budget in _kind("PodDisruptionBudget"):
        assert budget["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"] in DEPLOYMENTS


def test_only_the_gateway_and_prometheus_reach_the_engine() -> None:
    (policy,) = [found for found in _kind("NetworkPolicy") if found["metadata"]["name"] == "upkeep-vllm"]
    (rule,) = policy["spec"]["ingress"]

    pods = [peer["podSelector"]["matchLabels"] for peer in rule["from"] if "podSelector" in peer]
    assert pods == [{"app.kubernetes.io/name": "gateway"}]
    assert {policy["metadata"]["name"] for policy in _kind("NetworkPolicy")} >= {"upkeep-default-deny"}


@pytest.mark.parametrize("folder", ["base", *ANSWERS])
def test_every_kustomization_names_the_files_beside_it_and_no_others(folder: str) -> None:
    kustomization = yaml.safe_load((FOLDER / folder / "kustomization.yaml").read_text(encoding="utf-8"))
    own = {path.name for path in (FOLDER / folder).glob("*.yaml")} - {"kustomization.yaml"}

    assert set(kustomization["resources"]) - {"../base"} == own
    assert ("../base" in kustomization["resources"]) == (folder != "base")
    for generator in kustomization.get("configMapGenerator", []):
        assert all((FOLDER / folder / file).is_file() for file in generator["files"])
    for image in kustomization["images"]:
        assert image["newTag"] != "latest"
    images = {_container(name)["image"] for name in DEPLOYMENTS}
    assert images == {"upkeep", "vllm/vllm-openai:v0.32.0"}


@pytest.mark.parametrize(("folder", "role"), [("base", "serve"), ("vllm", "gateway")])
def test_the_roles_settings_and_their_environment_are_accepted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: str, role: str
) -> None:
    kept = {"ledger_url": "postgresql://upkeep:hunter2@db/upkeep", "api_key": "k" * 32, "kafka_password": "p"}
    for name in DEPLOYMENTS.keys() - {"serve", "gateway", "vllm"} | {role}:
        for entry in [*_container(name)["env"], *_patched(folder, name)]:
            value = entry["value"]
            if value.startswith("/run/secrets/upkeep/"):
                file = tmp_path / Path(value).name
                file.write_text(kept.get(file.name, "secret") + "\n", encoding="utf-8")
                value = str(file)
            if entry["name"].startswith("UPKEEP_"):
                monkeypatch.setenv(entry["name"], value)

    settings = load_settings(FOLDER / folder / "upkeep.toml")

    ports = {port["name"]: port["containerPort"] for port in _container(role)["ports"]}
    answering = settings.serve if role == "serve" else settings.gateway
    assert answering.port == ports["http"]
    assert answering.metrics_port == ports["metrics"]
    assert settings.metrics.port == _container("worker")["ports"][0]["containerPort"]
    assert settings.metrics.host == answering.host == "0.0.0.0"  # noqa: S104 -- in its pod
    assert settings.serve.insecure is False
    assert settings.ledger.url == kept["ledger_url"]
    assert str(settings.store.path) == "/data/adapters"
    if role == "gateway":
        assert settings.serve.engine == "vllm"
        assert settings.gateway.url == f"http://gateway:{ports['http']}"
        engine = {entry["name"]: entry["value"] for entry in _container("vllm")["env"]}
        assert engine["MODEL"] == settings.model.path
        assert str(settings.gateway.max_adapters) in re.findall(
            r"--max-cpu-loras (\d+)", str(_container("vllm")["args"])
        )
