"""Writes the graphs of the networks that ship, anew after each change of either.

python -m lowlight_jax.onnx_graphs
"""

from lowlight_jax import weights
from lowlight_jax.onnx_graphs.models import window_model
from lowlight_jax.onnx_graphs.networks import has_graph
from lowlight_jax.runtime.whole_file import write_whole

for name in weights.shipped_names():
    network, params = weights.load_shipped(name)
    if has_graph(network):
        model = window_model(network, params)
        write_whole(
            weights.SHIPPED / f"{name}.onnx",
            model.SerializeToString(deterministic=True),
        )
