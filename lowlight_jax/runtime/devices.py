"""Whether there is anything to compute on."""


def check_devices() -> None:
    """Starts JAX's back end, so that a command without one ends before it begins.

    Of several processes, each joins the others before.

    Raises:
      ValueError: there is no such device here.
    """
    import jax

    try:
        jax.devices()
    except Exception as error:  # RuntimeError, AssertionError: it depends
        reason = str(error).partition("\n")[0].partition(" (set JAX_PLATFORMS")[0]
        platforms = jax.config.jax_platforms
        asked = f" for JAX_PLATFORMS={platforms}" if platforms else ""
        raise ValueError(
            f"JAX has no device{asked}{f' ({reason})' if reason else ''}; unset "
            "JAX_PLATFORMS to use what there is, or set it to cpu"
        ) from error
