"""The networks as ONNX graphs: built by hand, so that any image size fits."""
