"""The JobSets of launch/, read as YAML: what they say, and that it fits together."""

import math
import re

import pytest

from rats_jax.errors import FAILED
from tests.launch.commands import LAUNCH, training

jsonschema = pytest.importorskip("jsonschema", reason="pip install -r requirements-test.txt")
yaml = pytest.importorskip("yaml", reason="pip install -r requirements-test.txt")

CHIPS_PER_HOST = 4  # of a slice of several hosts: v4, v5e, v5p and v6e alike


def exactly(optional: dict | None = None, **fields) -> dict:
    """An object with these fields, the optional ones, and no others."""
    return {
        "type": "object",
        "properties": fields | (optional or {}),
        "required": list(fields),
        "additionalProperties": False,
    }


def some(items: dict) -> dict:
    return {"type": "array", "items": items, "minItems": 1}


TEXT = {"type": "string", "minLength": 1}
COUNT = {"type": "integer", "minimum": 1}
TEXTS = {"type": "object", "additionalProperties": TEXT}
NAME = {"type": "string", "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$"}  # a DNS label, RFC 1035

CONTAINER = exactly(
    {"env": some(exactly(name=TEXT, valueFrom=exactly(fieldRef=exactly(fieldPath=TEXT))))},
    name=NAME,
    image=TEXT,
    command=some(TEXT),
    args=some(TEXT),
    resources=exactly(
        limits=exactly({"google.com/tpu": COUNT, "nvidia.com/gpu": COUNT}) | {"minProperties": 1}
    ),
    volumeMounts=some(exactly(name=NAME, mountPath={"type": "string", "pattern": "^/"})),
)
VOLUME = exactly(
    {
        "persistentVolumeClaim": exactly(claimName=NAME),
        "emptyDir": exactly(medium={"const": "Memory"}),
    },
    name=NAME,
) | {"minProperties": 2, "maxProperties": 2}
POD = exactly(
    restartPolicy={"const": "Never"},  # as a podFailurePolicy requires
    terminationGracePeriodSeconds={"type": "integer", "minimum": 300},  # to save
    shareProcessNamespace={"const": True},
    nodeSelector=TEXTS,
    containers=some(CONTAINER),
    volumes=some(VOLUME),
)
JOB = exactly(
    parallelism=COUNT,
    completions=COUNT,
    backoffLimit={"const": 0},  # one pod alone cannot start again
    podFailurePolicy=exactly(
        rules=some(
            exactly(
                action={"const": "FailJob"},
                onExitCodes=exactly(
                    containerName=NAME, operator={"const": "In"}, values=some(COUNT)
                ),
            )
        )
    ),
    template=exactly(spec=POD),
)
#: What we use of jobset.x-k8s.io/v1alpha2, and nothing else.
JOBSET = exactly(
    apiVersion={"const": "jobset.x-k8s.io/v1alpha2"},
    kind={"const": "JobSet"},
    metadata=exactly({"annotations": TEXTS}, name=NAME),
    spec=exactly(
        {"coordinator": exactly(replicatedJob=NAME)},
        failurePolicy=exactly(
            maxRestarts=COUNT,
            rules=some(
                exactly(
                    name=NAME,
                    action={"const": "FailJobSet"},
                    onJobFailureReasons={"const": ["PodFailurePolicy"]},
                )
            ),
        ),
        replicatedJobs=some(exactly(name=NAME, replicas=COUNT, template=exactly(spec=JOB))),
    ),
)

TPU, GPU = "gke_jobset.yaml", "gke_jobset_gpu.yaml"
both = pytest.mark.parametrize("file", [TPU, GPU])


def read(file: str):
    """(JobSet, its only job, the job's pod, the pod's container)"""
    jobset = yaml.safe_load((LAUNCH / file).read_text())
    jsonschema.validate(jobset, JOBSET)
    [group] = jobset["spec"]["replicatedJobs"]
    job = group["template"]["spec"]
    pod = job["template"]["spec"]
    [container] = pod["containers"]
    return jobset, job, pod, container


def command(container: dict, **values: str) -> list[str]:
    """What the container runs: Kubernetes puts variables in the place of $(NAME)."""
    words = container["command"] + container["args"]
    return [re.sub(r"\$\((\w+)\)", lambda name: values[name[1]], word) for word in words]


@both
def test_it_is_a_jobset(file):
    jobset, job, *_ = read(file)
    [group] = jobset["spec"]["replicatedJobs"]
    assert job["parallelism"] == job["completions"]
    # The longest name made of these: a pod's, by JobSet, jobs, job, pod and five random letters.
    longest = f"{jobset['metadata']['name']}-{group['name']}-999-999-aaaaa"
    assert len(longest) <= 63


@both
def test_a_mistake_ends_it_and_nothing_else_does(file):
    _, job, _, container = read(file)
    [rule] = job["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["values"] == [FAILED]
    assert rule["onExitCodes"]["containerName"] == container["name"]


@pytest.mark.processes
@both
def test_workdir_and_images_lie_on_the_shared_volume_and_batches_in_memory(file):
    _, _, pod, container = read(file)
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
    assert mounts.keys() == {"/mnt/shared", "/dev/shm"} and len(volumes) == len(mounts)
    assert "persistentVolumeClaim" in mounts["/mnt/shared"] and "emptyDir" in mounts["/dev/shm"]
    flags = training(command(container, COORDINATOR="a.b", JOB_COMPLETION_INDEX="0"))
    assert flags["workdir"].startswith("/mnt/shared/")
    assert flags["config"]["data"]["path"].startswith("/mnt/shared/")


def test_a_slice_has_a_pod_for_each_host_with_all_its_chips():
    jobset, job, pod, container = read(TPU)
    topology = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"]
    chips = math.prod(int(side) for side in topology.split("x"))
    assert container["resources"]["limits"] == {"google.com/tpu": CHIPS_PER_HOST}
    assert job["completions"] * CHIPS_PER_HOST == chips
    assert jobset["metadata"]["annotations"] == {
        "alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"
    }


@pytest.mark.processes
def test_gpu_processes_are_told_of_each_other():
    jobset, job, _, container = read(GPU)
    [group] = jobset["spec"]["replicatedJobs"]
    assert jobset["spec"]["coordinator"] == {"replicatedJob": group["name"]}
    [variable] = container["env"]
    assert variable["name"] == "COORDINATOR"
    path = variable["valueFrom"]["fieldRef"]["fieldPath"]
    assert path == "metadata.annotations['jobset.sigs.k8s.io/coordinator']"
    flags = training(
        command(container, COORDINATOR="rats-nodes-0-0.rats", JOB_COMPLETION_INDEX="1")
    )
    assert re.fullmatch(r"rats-nodes-0-0\.rats:\d+", flags["coordinator"])
    assert (flags["processes"], flags["process"]) == (job["completions"], 1)
