"""The networks as ONNX graphs: built by hand, so that any image size fits."""

DECLARED = "lowlight_jax"  # key, in a model's metadata, of what `Runner` must know
