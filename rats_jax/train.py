"""rats train --config=RECIPE --workdir=DIR [--config.FIELD=VALUE ...]

On TPU pods and SLURM, start the same command on every host, or in every task. Elsewhere, several
processes also need --coordinator=HOST:PORT --processes=N --process=I.
"""

from absl import flags

from rats_jax import command_line, config_flag
from rats_jax.device_failures import TRAIN_SMALLER

CONFIG = config_flag.define_config()
WORKDIR = flags.DEFINE_string(
    "workdir", "", "The folder of the run. If it already contains the run, training resumes."
)
COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "HOST:PORT of process 0, to which the other processes connect."
)
PROCESSES = flags.DEFINE_integer("processes", None, "The number of processes that train together.")
PROCESS = flags.DEFINE_integer("process", None, "The number of this process, from 0.")
LOCAL_DEVICES = flags.DEFINE_list(
    "local_devices", None, "The GPUs of this machine to use, such as 0,1."
)
WAIT = flags.DEFINE_float(
    "wait", 300, "Seconds within which all processes must join.", lower_bound=1
)


def main() -> None:
    # Imported here, since every data worker imports this module and does not need JAX.
    from rats_jax.parallel.distributed import joined
    from rats_jax.runs.loop import train

    with joined(
        coordinator=COORDINATOR.value,
        processes=PROCESSES.value,
        process=PROCESS.value,
        local_devices=LOCAL_DEVICES.value,
        wait=WAIT.value,
    ):
        train(config_flag.read_config(CONFIG), WORKDIR.value)


if __name__ == "__main__":
    command_line.run(
        main, interrupted=command_line.INTERRUPTED_TRAINING, out_of_memory=TRAIN_SMALLER
    )
