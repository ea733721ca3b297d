"""launch/tpu_pod.sh, with a gcloud whose two workers are folders of this machine."""

import os
import shutil
import subprocess

import pytest

from rats_jax.errors import LOST, SAVED
from tests.launch.commands import CONFIG, LAUNCH, calls, check_shell, program, training

pytestmark = pytest.mark.processes

WORKERS = (0, 1)
# compute tpus tpu-vm scp FILE TPU:FILE ..., or ssh TPU --worker=WHICH --command=WHAT ...
GCLOUD = """
for argument; do
    case $argument in
    --worker=*) workers=${argument#*=} ;;
    --command=*) command=${argument#*=} ;;
    esac
done
[[ $workers == all ]] && workers="0 1"
status=0
for worker in $workers; do
    export HOME=$WORKERS/$worker
    case $4 in
    scp) cp "$5" "$HOME/${6#*:}" ;;
    ssh) (cd "$HOME" && bash -c "$command") || status=1 ;;
    esac
done
exit $status
"""
# What `make install` leaves: a python, and a pip that notes what it is asked for.
MAKE = """
mkdir -p .venv/bin
printf '#!/bin/bash\\n' >.venv/bin/python
printf '#!/bin/bash\\necho "$@" >>installed\\n' >.venv/bin/pip
chmod +x .venv/bin/*
"""


@pytest.fixture
def pod(tmp_path):
    """Programs, two workers, and a repository with one commit."""
    program(tmp_path, "gcloud", GCLOUD)
    program(tmp_path, "make", MAKE)
    program(tmp_path, "python3", '[[ "$*" != *find* ]] || echo /opt/python3.12')
    program(tmp_path, "sudo", '"$@"')
    program(tmp_path, "apt-get")
    program(tmp_path, "mountpoint", "exit 1")
    program(tmp_path, "mount")
    program(tmp_path, "mkdir", '[[ $2 == /mnt/* ]] || exec /bin/mkdir "$@"')
    program(tmp_path, "systemd-run")
    program(tmp_path, "systemctl", 'cat "$HOME/state" 2>/dev/null || echo inactive')
    program(tmp_path, "journalctl")
    for worker in WORKERS:
        (tmp_path / "workers" / str(worker)).mkdir(parents=True)
    repository = tmp_path / "repository"
    (repository / "launch").mkdir(parents=True)
    shutil.copy(LAUNCH / "tpu_pod.sh", repository / "launch")
    (repository / "code.py").write_text("first\n")
    git(repository, "init")
    commit(repository)
    return tmp_path


def git(repository, *arguments) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    command = ["git", "-C", repository, *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(repository) -> None:
    git(repository, "add", ".")
    git(repository, "commit", "-m", "a commit")


def run(pod, *arguments, **settings) -> subprocess.CompletedProcess:
    environment = os.environ | {
        "PATH": f"{pod}:{os.environ['PATH']}",
        "WORKERS": str(pod / "workers"),
        "TPU_NAME": "tpu",
        "ZONE": "zone-a",
        **settings,
    }
    # From another folder: the script finds its repository.
    return subprocess.run(
        ["bash", pod / "repository/launch/tpu_pod.sh", *arguments],
        cwd=pod,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def folders(pod) -> list:
    name = "rats_jax-" + git(pod / "repository", "rev-parse", "--short=12", "HEAD")
    return [pod / "workers" / str(worker) / name for worker in WORKERS]


def test_the_script_is_sound_shell():
    check_shell(LAUNCH / "tpu_pod.sh")


def test_setup_puts_the_commit_and_an_environment_onto_every_worker(pod):
    ran = run(pod, "setup")
    assert ran.returncode == 0, ran.stderr
    for folder in folders(pod):
        assert (folder / "code.py").read_text() == "first\n"
        assert "requirements-tpu.txt" in (folder / "installed").read_text()
    assert calls(pod, "make") == [["install", "PYTHON=/opt/python3.12"]] * 2
    assert calls(pod, "mount") == []
    for call in calls(pod, "gcloud"):
        assert call[:3] == ["compute", "tpus", "tpu-vm"]
        assert {"--zone=zone-a", "--worker=all"} <= set(call)


def test_setup_mounts_the_share(pod):
    assert run(pod, "setup", SHARE="10.0.0.2:/runs").returncode == 0
    assert calls(pod, "mount") == [["-t", "nfs", "10.0.0.2:/runs", "/mnt/shared"]] * 2


def test_training_starts_as_a_service_on_every_worker(pod):
    assert run(pod, "setup").returncode == 0
    ran = run(pod, "train", CONFIG, "--workdir=/mnt/shared/it's a run")
    assert ran.returncode == 0, ran.stderr
    services = calls(pod, "systemd-run")
    assert len(services) == len(WORKERS)
    for service, folder in zip(services, folders(pod), strict=True):
        assert f"--working-directory={folder}" in service
        assert f"--uid={os.getuid()}" in service
        assert f"--property=RestartForceExitStatus={LOST} {SAVED}" in service
        assert "--property=TimeoutStopSec=300" in service  # to save
        python = service.index(f"{folder}/.venv/bin/python")
        assert all(option.startswith("--") for option in service[:python])
        assert training(service)["workdir"] == "/mnt/shared/it's a run"


def test_no_worker_starts_when_one_has_another_commit(pod):
    assert run(pod, "setup").returncode == 0
    shutil.rmtree(folders(pod)[1])
    ran = run(pod, "train", CONFIG)
    assert ran.returncode == 2 and "run setup" in ran.stderr
    (pod / "repository/code.py").write_text("second\n")
    commit(pod / "repository")
    assert run(pod, "train", CONFIG).returncode == 2
    assert calls(pod, "systemd-run") == []


def test_no_second_training_starts_beside_the_first(pod):
    assert run(pod, "setup").returncode == 0
    (pod / "workers/1/state").write_text("activating")
    assert run(pod, "train", CONFIG).returncode == 2
    assert calls(pod, "systemd-run") == []


@pytest.mark.parametrize("command", ["setup", "train"])
def test_what_is_not_committed_is_refused(pod, command):
    (pod / "repository/new_config.py").write_text("")
    ran = run(pod, command, "--config=configs/demo.py")
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: there are changes that are not committed")
    assert calls(pod, "gcloud") == []


def test_log_follows_worker_0_and_stop_reaches_all(pod):
    assert run(pod, "log").returncode == 0
    assert run(pod, "log", "1").returncode == 0
    assert run(pod, "stop").returncode == 0
    assert calls(pod, "journalctl") == [["--unit=rats_jax", "--lines=100", "--follow"]] * 2
    assert calls(pod, "systemctl") == [["stop", "rats_jax"]] * 2
    workers = [next(a for a in call if "--worker" in a) for call in calls(pod, "gcloud")]
    assert workers == ["--worker=0", "--worker=1", "--worker=all"]


def test_a_missing_setting_and_an_unknown_command_are_told(pod):
    ran = run(pod, "setup", TPU_NAME="")
    assert ran.returncode != 0 and "TPU_NAME: is not set" in ran.stderr
    ran = run(pod, "create")
    assert ran.returncode == 2 and "setup | train FLAGS | log" in ran.stderr
    assert calls(pod, "gcloud") == []


def test_train_without_flags_is_refused(pod):
    ran = run(pod, "train")
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: train needs the flags of rats_jax.train")
