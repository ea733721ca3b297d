"""Which process this is, by flags and in the environments of TPU pods, SLURM and Kubernetes."""

import pytest

from rats_jax.errors import UserError
from rats_jax.parallel.cluster import Place, find_place, visible_gpus

SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NODELIST": "gpu[007-008]",
    "SLURM_STEP_TASKS_PER_NODE": "8(x2)",
    "SLURM_STEP_NUM_TASKS": "16",
    "SLURM_NTASKS": "16",
    "SLURM_GPUS_ON_NODE": "8",
    "SLURM_PROCID": "11",
    "SLURM_LOCALID": "3",
    "SLURM_NODEID": "1",
}
GCE = {
    "agent-worker-number": "2",
    "worker-network-endpoints": "10.0.0.1,10.0.0.2,10.0.0.3,10.0.0.4",
    "tpu-env": "ACCELERATOR_TYPE: 'v5litepod-16'\nNODE_ID: 'a'\n",
}


def test_a_laptop_runs_alone():
    assert find_place({}) == Place()


@pytest.mark.parametrize(
    "environ",
    [
        {"TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"},
        # The shell that salloc opens is a step of one task, whatever was allocated.
        {**SLURM, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"},
        # A batch script is not started by srun.
        {k: v for k, v in SLURM.items() if not k.startswith("SLURM_STEP")},
        {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "0"},
        # A pod's environment in which the CPU is asked for.
        {"TPU_WORKER_HOSTNAMES": "a,b", "TPU_WORKER_ID": "1", "JAX_PLATFORMS": "cpu"},
    ],
    ids=["tpu-host", "salloc", "sbatch", "pod", "cpu"],
)
def test_one_of_one_runs_alone(environ):
    assert find_place(environ, gpus=8) == Place()


def test_flags_go_before_the_environment():
    place = find_place(SLURM, coordinator="n1:99", processes=3, process=2, gpus=8)
    assert place == Place("n1:99", 3, 2)
    assert find_place(SLURM, processes=1, gpus=8) == Place()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"process": 3}, "--coordinator and --processes missing"),
        ({"coordinator": "n1:99", "processes": 2}, "--process missing"),
        ({"coordinator": "n1:99", "processes": 2, "process": 2}, "--process=2 of --processes=2"),
        ({"coordinator": "n1:99", "processes": 2, "process": -1}, "--process=-1"),
        ({"coordinator": "n1:99", "processes": 0, "process": 0}, "--processes=0"),
        ({"coordinator": "n1", "processes": 2, "process": 0}, "must be HOST:PORT"),
        ({"coordinator": ":99", "processes": 2, "process": 0}, "must be HOST:PORT"),
        ({"coordinator": "n1:http", "processes": 2, "process": 0}, "must be HOST:PORT"),
        ({"coordinator": "n1:70000", "processes": 2, "process": 0}, "must be HOST:PORT"),
    ],
)
def test_flags_that_name_no_place_are_a_mistake(flags, message):
    with pytest.raises(UserError, match=message):
        find_place({}, **flags)


def test_slurm_one_task_for_each_gpu_takes_its_own():
    place = find_place(SLURM, gpus=8)
    assert place.coordinator.startswith("gpu007:")
    assert place[1:] == (16, 11, (3,))
    # All tasks find the same address, another job another port.
    assert find_place({**SLURM, "SLURM_PROCID": "0"}, gpus=8).coordinator == place.coordinator
    other = find_place({**SLURM, "SLURM_JOB_ID": "4712"}, gpus=8).coordinator
    assert other != place.coordinator
    port = find_place({**SLURM, "JAX_COORDINATOR_PORT": "7"}, gpus=8).coordinator
    assert port == "gpu007:7"


@pytest.mark.parametrize(
    ("environ", "gpus", "devices"),
    [
        ({"SLURM_STEP_TASKS_PER_NODE": "1(x16)", "SLURM_LOCALID": "0"}, 8, None),
        ({"SLURM_STEP_TASKS_PER_NODE": "4(x4)"}, 8, (6, 7)),  # two GPUs for each task
        ({}, 1, None),  # --gpus-per-task=1: sees one, whatever its number among tasks
        ({"SLURM_STEP_TASKS_PER_NODE": "2(x8)"}, 4, None),  # --gpus-per-task=4: sees its own
        ({"SLURM_STEP_TASKS_PER_NODE": "15,1", "SLURM_LOCALID": "0"}, 8, None),
        ({}, 0, None),  # on CPUs
    ],
    ids=["task-per-node", "two-each", "bound", "bound-four", "uneven", "cpu"],
)
def test_slurm_shares_the_gpus_of_a_node_among_its_tasks(environ, gpus, devices):
    assert find_place({**SLURM, **environ}, gpus=gpus).devices == devices


def test_slurm_tasks_that_do_not_divide_the_gpus_are_a_mistake():
    with pytest.raises(UserError, match="3 tasks share 8 GPUs on a node"):
        find_place({**SLURM, "SLURM_STEP_TASKS_PER_NODE": "3(x6)"}, gpus=8)
    with pytest.raises(UserError, match="8 tasks share 1 GPUs"):
        find_place({**SLURM, "SLURM_GPUS_ON_NODE": "1"}, gpus=1)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("n1", "n1"),
        ("n1,n2", "n1"),
        ("n[07-09,12],m1", "n07"),
        ("n[3,5]", "n3"),
        ("rack[1-2]n[04-05]-ib", "rack1n04-ib"),
        ("gpu-a[1-2],gpu-b[3-4]", "gpu-a1"),
    ],
)
def test_slurm_process_0_is_on_the_first_node(nodes, first):
    place = find_place({**SLURM, "SLURM_STEP_NODELIST": nodes})
    assert place.coordinator.rpartition(":")[0] == first


def test_a_gke_tpu_pod_has_a_process_for_each_host():
    environ = {"TPU_WORKER_HOSTNAMES": "w-0.rats,w-1.rats", "TPU_WORKER_ID": "1"}
    assert find_place(environ) == Place("w-0.rats:8482", 2, 1)
    addresses = {"TPU_PROCESS_ADDRESSES": "w-0.rats:8471,w-1.rats:8471", "TPU_WORKER_ID": "1"}
    assert find_place(addresses) == Place("w-0.rats:8482", 2, 1)


def test_gke_slices_count_one_after_the_other():
    environ = {
        "TPU_WORKER_HOSTNAMES": "s-1-0.rats,s-1-1.rats",
        "TPU_WORKER_ID": "1",
        "MEGASCALE_NUM_SLICES": "3",
        "MEGASCALE_SLICE_ID": "1",
        "MEGASCALE_COORDINATOR_ADDRESS": "s-0-0.rats:8080",
    }
    assert find_place(environ) == Place("s-0-0.rats:8482", 6, 3)


def test_a_gce_tpu_pod_is_read_from_metadata():
    assert find_place({}, metadata=GCE.get) == Place("10.0.0.1:8482", 4, 2)
    named = {**GCE, "worker-network-endpoints": "unknown:0:10.1.0.1,unknown:1:10.1.0.2"}
    assert find_place({}, metadata=named.get) == Place("10.1.0.1:8482", 2, 2)
    slices = (
        "MEGASCALE_NUM_SLICES: '2'\nMEGASCALE_SLICE_ID: '1'\n"
        "MEGASCALE_COORDINATOR_ADDRESS: '10.9.0.1:8080'\n"
    )
    assert find_place({}, metadata={**GCE, "tpu-env": slices}.get) == Place("10.9.0.1:8482", 8, 6)


def test_a_tpu_host_of_its_own_runs_alone():
    host = {**GCE, "agent-worker-number": "0", "worker-network-endpoints": "10.0.0.1"}
    assert find_place({}, metadata=host.get) == Place()
    assert find_place({}, metadata={}.get) == Place()  # a machine without such attributes


def test_a_kubernetes_pod_knows_its_number():
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "3"}
    assert find_place(environ, coordinator="w-0.rats:8476", processes=4).process == 3
    with pytest.raises(UserError, match="pod 3 of an Indexed Job"):
        find_place(environ)


def test_visible_gpus_are_counted_without_a_driver():
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "0,3"}) == 2
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": ""}) == 0
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "0,3", "JAX_PLATFORMS": "cpu"}) == 0
