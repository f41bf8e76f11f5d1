"""Where a step runs: one device, all local devices, or all devices of all processes.

The only file that knows of devices and processes. The state is the same everywhere;
batches are split over devices by their first dimension. Back ends:

    "jit"   one device
    "pmap"  the local devices of one process
    "mesh"  the devices of all processes: `jit` over a global mesh
"""

import functools
import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.errors import JaxRuntimeError
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lowlight_jax.runtime.compiler import cpu_compiler_options
from lowlight_jax.types import Batch, Metrics, TrainState

AXIS = "data"
BACKENDS = ("jit", "pmap", "mesh")
LOST_PROCESS_S = 30  # after which the others give up
Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def join_processes() -> None:
    """Makes this process one of several; call it before anything else uses JAX.

    The environment says which: JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and
    JAX_PROCESS_ID; what is not set there JAX finds out itself on Slurm, GKE and TPU
    pods. A process that is lost ends the others within `LOST_PROCESS_S` seconds.
    """
    number, this = (
        int(value) if (value := os.environ.get(name)) else None
        for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    )
    jax.distributed.initialize(
        os.environ.get("JAX_COORDINATOR_ADDRESS"),
        num_processes=number,
        process_id=this,
        heartbeat_timeout_seconds=LOST_PROCESS_S,
        shutdown_timeout_seconds=LOST_PROCESS_S,
    )


def says_lost_process(error: BaseException) -> bool:
    """Whether an error means that another process is gone.

    XLA raises JaxRuntimeError from a compiled step, ValueError from an eager call.
    """
    if jax.process_count() == 1:
        return False
    return isinstance(error, JaxRuntimeError) or "Gloo" in str(error)


def is_main_process() -> bool:
    """Whether this process is the one that writes logs, pictures and weights."""
    return jax.process_index() == 0


def choose_backend(requested: str, batch_size: int, accumulate: int = 1) -> str:
    """One of `BACKENDS`; "auto" is the first of them that uses every device.

    Args:
      requested: "auto" or a back end.
      batch_size: over all devices.
      accumulate: parts of a batch that each device takes one after the other.
    Raises:
      ValueError: it does not fit the processes, or the batch does not divide.
    """
    processes = jax.process_count()
    backend = requested
    if requested == "auto":
        single = "pmap" if jax.local_device_count() > 1 else "jit"
        backend = single if processes == 1 else "mesh"
    if backend != "mesh" and processes > 1:
        raise ValueError(
            f"parallel is {backend!r}, which is for one process, but {processes} run; "
            "pass --config.parallel=auto"
        )
    devices = 1 if backend == "jit" else jax.device_count()
    if batch_size % (devices * accumulate):
        parts = f" in {accumulate} parts each" if accumulate > 1 else ""
        one = ", or --config.parallel=jit to use one device" if processes == 1 else ""
        raise ValueError(
            f"data.batch_size is {batch_size}, which {devices} device(s) cannot share "
            f"evenly{parts}; pass a multiple of {devices * accumulate}"
            + (one if devices > 1 else "")
        )
    return backend


def compile_step(step: Callable, backend: str) -> Step:
    """The compiled step; `step` takes `axis_name`. It consumes the state given.

    It is compiled once for arguments placed by `place_state` and `place_batch`.
    """
    if backend == "pmap":
        step = jax.pmap(
            functools.partial(step, axis_name=AXIS),
            axis_name=AXIS,
            in_axes=(None, 0),
            out_axes=None,
        )
    elif backend == "mesh":
        step = jax.shard_map(
            functools.partial(step, axis_name=AXIS),
            mesh=_mesh(),
            in_specs=(PartitionSpec(), PartitionSpec(AXIS)),
            out_specs=PartitionSpec(),
            check_vma=False,  # the step itself takes the mean of the gradients
        )
    # pmap takes no compiler options; the jit that it is made of since JAX 0.8 becomes
    # part of this one.
    return jax.jit(step, donate_argnums=0, compiler_options=cpu_compiler_options())


def _mesh() -> Mesh:
    return Mesh(np.asarray(jax.devices()), (AXIS,))


def place_batch(batch: dict[str, np.ndarray], backend: str) -> Batch:
    """Puts this process's part of a batch on its device(s)."""
    if backend == "jit":
        return jax.device_put(batch)
    if backend == "pmap":
        devices = jax.local_device_count()
        batch = {k: v.reshape(devices, -1, *v.shape[1:]) for k, v in batch.items()}
    sharding = NamedSharding(_mesh(), PartitionSpec(AXIS))
    return jax.make_array_from_process_local_data(sharding, batch)


def place_state(state: TrainState, backend: str) -> TrainState:
    """Puts a state of NumPy arrays, the same in all processes, on every device."""
    if backend == "jit":
        return jax.device_put(state)
    sharding = NamedSharding(_mesh(), PartitionSpec())
    return jax.make_array_from_process_local_data(sharding, state)


def own_part(items: Sequence) -> Sequence:
    """This process's share of a list, every n-th one of it."""
    first, every = jax.process_index(), jax.process_count()
    if every == 1:
        return items  # which may be decoded as they are used
    return [items[i] for i in range(first, len(items), every)]


def gather(value: Any) -> list:
    """`value` of every process, in their order; anything that JSON can say."""
    if jax.process_count() == 1:
        return [value]
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.asarray(text.size))
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: text.size] = text
    texts = multihost_utils.process_allgather(padded)
    return [
        json.loads(row[:size].tobytes()) for row, size in zip(texts, sizes, strict=True)
    ]


def share(arrays: Sequence[np.ndarray]) -> list[jax.Array]:
    """Arrays split over the local devices, which must divide their first dimension."""
    sharding = NamedSharding(Mesh(jax.local_devices(), AXIS), PartitionSpec(AXIS))
    return [jax.device_put(array, sharding) for array in arrays]
