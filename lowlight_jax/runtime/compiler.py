"""How XLA compiles for us: options of the CPU back end."""

import functools

import jax


@functools.cache
def cpu_compiler_options() -> dict[str, str] | None:
    """Options for `jax.jit(..., compiler_options=...)`; None where there are none.

    YNNPACK, which XLA's CPU back end gives plain convolutions to, is 1.6 to 2.5 times
    slower than its own code on our few-channel layers (400x600, 1080x1920). An option
    that a jaxlib does not know is an error, so it is tried once on a trivial function.
    """
    if jax.default_backend() != "cpu":
        return None
    options = {"xla_cpu_experimental_ynn_fusion_type": ""}
    try:
        jax.jit(lambda x: x + 1, compiler_options=options).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return None
    return options
