"""Where a step runs: one device under `jit`, or all local devices under `pmap`.

The only file that knows of devices. State is held once per device and never stacked;
batches are split over devices by their first dimension.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np

from lowlight_jax.compile import cpu_compiler_options
from lowlight_jax.train_step import Batch, Metrics, TrainState

AXIS = "data"
Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def choose_backend(requested: str, batch_size: int) -> str:
    """ "jit" or "pmap" for "auto": pmap where there is more than one local device.

    Raises:
      ValueError: the batch does not divide over the devices.
    """
    devices = jax.local_device_count()
    backend = requested
    if requested == "auto":
        backend = "pmap" if devices > 1 else "jit"
    if backend == "pmap" and batch_size % devices:
        raise ValueError(
            f"data.batch_size is {batch_size}, which {devices} devices cannot share "
            "evenly; pass a multiple, or --config.parallel=jit to use one device"
        )
    return backend


def compile_step(step: Callable, backend: str) -> Step:
    """The compiled step; `step` takes `axis_name`. It consumes the state given."""
    if backend == "jit":
        options = cpu_compiler_options()
        return jax.jit(step, donate_argnums=0, compiler_options=options)
    return jax.pmap(
        functools.partial(step, axis_name=AXIS),
        axis_name=AXIS,
        in_axes=(None, 0),
        out_axes=None,
        donate_argnums=0,
    )


def place(batch: Batch, backend: str) -> Batch:
    """Puts a host batch on the device(s)."""
    if backend == "jit":
        return jax.device_put(batch)
    devices = jax.local_device_count()
    return {
        name: array.reshape(devices, -1, *array.shape[1:])
        for name, array in batch.items()
    }


def share(arrays: Sequence[np.ndarray]) -> list[jax.Array]:
    """Arrays split over the local devices, which must divide their first dimension."""
    mesh = jax.sharding.Mesh(jax.local_devices(), AXIS)
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(AXIS))
    return [jax.device_put(array, sharding) for array in arrays]
