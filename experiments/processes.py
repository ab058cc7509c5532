"""The flags of programs that several processes run together."""

from absl import flags

_DISTRIBUTED = flags.DEFINE_bool(
    "distributed",
    False,
    "This is one of several processes that the cluster has started.",
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator_address", None, "Host and port of process 0."
)
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "Number of all processes."
)
_PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "Number of this process, from 0."
)
_HEARTBEAT = flags.DEFINE_integer(
    "heartbeat_seconds",
    100,
    "Seconds after which a silent process is taken for dead.",
)


def join() -> None:
    """Joins the other processes, if the flags say that there are any."""
    from mmc_jax import hosts

    process = _COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value
    if _DISTRIBUTED.value or any(value is not None for value in process):
        hosts.initialize(*process, heartbeat_seconds=_HEARTBEAT.value)
