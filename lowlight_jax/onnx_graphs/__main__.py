"""Writes the graphs of the networks that ship, anew after each change of either.

python -m lowlight_jax.onnx_graphs
"""

from lowlight_jax import weights
from lowlight_jax.onnx_graphs.models import window_model
from lowlight_jax.runtime.whole_file import write_whole


def main() -> None:
    for name in weights.shipped_names():
        model = window_model(*weights.load_shipped(name))
        content = model.SerializeToString(deterministic=True)
        write_whole(weights.SHIPPED / f"{name}.onnx", content)


if __name__ == "__main__":
    main()
