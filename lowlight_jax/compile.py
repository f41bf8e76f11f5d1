"""How the networks are compiled: what XLA must be told to run them fast on CPU."""

import functools

import jax

# No fusion is given to YNNPACK, which by default takes the plain convolutions and
# products and runs the dual network at half the speed of Eigen (jaxlib 0.10.2).
_WITHOUT_YNNPACK = {"xla_cpu_experimental_ynn_fusion_type": ""}


@functools.cache
def cpu_compiler_options() -> dict[str, str]:
    """Options for `jax.jit(..., compiler_options=)`: empty unless the backend is CPU.

    As an XLA_FLAG an option unknown to the installed jaxlib would end the process, so
    it is tried on an empty program, once (10 ms), and left out if refused. Initialises
    the backend: call it after `jax.distributed.initialize`.
    """
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=_WITHOUT_YNNPACK).lower().compile()
    except (jax.errors.JaxRuntimeError, ValueError):
        return {}
    return _WITHOUT_YNNPACK
