#!/bin/bash
# Trains on all workers of a Cloud TPU, from a machine with gcloud and this repository. See
# docs/launch.md. The TPU must exist: nothing is created or deleted here.
#
#   launch/tpu_pod.sh setup           the current commit and its environment, onto every worker
#   launch/tpu_pod.sh train --config=configs/rats_b16_in1k.py --workdir=/mnt/shared/runs/b \
#       --config.data.path=/mnt/shared/imagenet/train
#   launch/tpu_pod.sh log [WORKER]    follow the output of worker 0, of another, or of all
#   launch/tpu_pod.sh stop            saves, and ends
#
# Training goes on when this machine goes away: it is a systemd service of the workers.
set -euo pipefail

# --- Edit from here, or set in the environment.
TPU_NAME=${TPU_NAME:?"is not set: the TPU's name, as gcloud compute tpus tpu-vm list shows it"}
ZONE=${ZONE:?"is not set: the TPU's zone"}
# An NFS share, ADDRESS:/PATH, that setup mounts at /mnt/shared: the workdir must be one directory
# for all workers. Empty where they share a disk already.
SHARE=${SHARE-}
# What reaching the workers needs beside, such as --project=... --internal-ip --tunnel-through-iap.
ACCESS=(--zone="$ZONE")
# --- To here.

fail() {
    echo "error: $1" >&2
    exit 2
}

on_worker() {
    gcloud compute tpus tpu-vm ssh "$TPU_NAME" "${ACCESS[@]}" --worker="$1" --command="$2"
}

cd "$(dirname "$0")/.."

# The commit's folder on the workers: they have the same code, or none.
same_commit() {
    [[ -z $(git status --porcelain) ]] ||
        fail "there are changes that are not committed, and the workers get commits: commit them"
    folder=rats_jax-$(git rev-parse --short=12 HEAD)
}

setup() {
    same_commit
    local archive
    archive=$(mktemp)
    # shellcheck disable=SC2064  # the name as it is now
    trap "rm -f '$archive'" EXIT
    git archive --format=tar.gz --prefix="$folder/" HEAD >"$archive"
    gcloud compute tpus tpu-vm scp "$archive" "$TPU_NAME:$folder.tar.gz" "${ACCESS[@]}" --worker=all
    # uv brings a Python, since that of the TPU's image may be too old. Newer images want to be told
    # that pip may install it beside the system's packages.
    on_worker all "set -e
        if [ -n '$SHARE' ] && ! mountpoint --quiet /mnt/shared; then
            sudo apt-get install --yes --quiet nfs-common
            sudo mkdir -p /mnt/shared
            sudo mount -t nfs '$SHARE' /mnt/shared
        fi
        PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --quiet --user uv
        python3 -m uv python install 3.12
        python=\$(python3 -m uv python find 3.12)
        tar -xzf $folder.tar.gz
        cd $folder
        make install PYTHON=\$python
        .venv/bin/pip install --quiet -r requirements-tpu.txt"
    echo "$folder is on all workers of $TPU_NAME"
}

train() {
    same_commit
    # All or none: a worker that is missing would keep the others waiting.
    on_worker all "test -x $folder/.venv/bin/python &&
        test \"\$(systemctl show --property=ActiveState --value rats_jax)\" = inactive" ||
        fail "a worker is not ready: run setup for this commit, or stop what is training"
    # Restarted when a process was lost (75) or killed, and when all were saved because of a SIGTERM
    # to one (85), but not by stop: after the minute in which the others notice, five times an hour.
    # Stopped, or with the machine, it has five minutes to save, while there is still a network. A
    # service has no login's limits: the TPU's memory must be lockable.
    on_worker all "cd $folder && sudo systemd-run --unit=rats_jax --collect \
        --uid=\$(id -u) --working-directory=\$PWD \
        --property=Restart=on-abnormal --property=RestartForceExitStatus='75 85' \
        --property=SuccessExitStatus=85 --property=RestartSec=60 \
        --property=StartLimitIntervalSec=3600 --property=StartLimitBurst=5 \
        --property=TimeoutStopSec=300 --property=After='network.target remote-fs.target' \
        --property=LimitMEMLOCK=infinity \
        \$PWD/.venv/bin/python -m rats_jax.train$(printf ' %q' "$@")" ||
        fail "not all workers have started: stop, look at log all"
    echo "started; follow it with: launch/tpu_pod.sh log"
}

case ${1-} in
setup) setup ;;
train)
    (($# > 1)) || fail "train needs the flags of rats_jax.train, such as --config and --workdir"
    train "${@:2}"
    ;;
log) on_worker "${2-0}" "sudo journalctl --unit=rats_jax --lines=100 --follow" ;;
stop) on_worker all "sudo systemctl stop rats_jax" ;;
*) fail "no such command: launch/tpu_pod.sh setup | train FLAGS | log [WORKER] | stop" ;;
esac
