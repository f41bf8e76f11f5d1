"""A short hand for ONNX graphs of images, NCHW, float32.

Layers mean what they mean in `lowlight_jax.models.layers`, and take the same
parameters.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17  # of 2022; later ones offer nothing that is needed
IR_VERSION = 8

Value = str  # the name of what an operation gives
Layer = Mapping[str, Any]  # "kernel" and "bias"


class Graph:
    """Operations in their order; each method appends some and names what they give."""

    def __init__(self, outer: "Graph | None" = None):
        self._nodes: list[onnx.NodeProto] = []
        self._root: Graph = self if outer is None else outer._root
        if outer is None:
            self._constants: dict[tuple, onnx.TensorProto] = {}
            self._count = 0

    def op(
        self, kind: str, *inputs: Value | float, outputs: int = 1, **attributes
    ) -> Any:
        """One operation; numbers among its inputs become float32 constants."""
        names = [
            value if isinstance(value, str) else self.constant(np.float32(value))
            for value in inputs
        ]
        results = [self._new_name(kind) for _ in range(outputs)]
        self._nodes.append(helper.make_node(kind, names, results, **attributes))
        return results[0] if outputs == 1 else results

    def constant(self, value: Any) -> Value:
        """An array, kept once however often it is asked for."""
        array = np.array(value, order="C")
        constants = self._root._constants
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in constants:
            name = f"constant_{len(constants)}"
            constants[key] = numpy_helper.from_array(array, name)
        return constants[key].name

    def integers(self, *values: int) -> Value:
        """A constant vector of int64, for shapes and axes."""
        return self.constant(np.int64(values))

    def _new_name(self, kind: str) -> Value:
        self._root._count += 1
        return f"{kind}_{self._root._count}"

    def choose(
        self,
        condition: Value,
        then: "Callable[[Graph], Sequence[Value]]",
        otherwise: "Callable[[Graph], Sequence[Value]]",
    ) -> list[Value]:
        """Computes only one of two branches; they see all that was computed before."""
        branches, counts = {}, set()
        for name, branch in (("then_branch", then), ("else_branch", otherwise)):
            inner = Graph(self)
            # A branch's outputs must be its own.
            values = [inner.op("Identity", value) for value in branch(inner)]
            counts.add(len(values))
            outputs = [helper.make_empty_tensor_value_info(value) for value in values]
            branches[name] = helper.make_graph(inner._nodes, name, [], outputs)
        (count,) = counts
        results = self.op("If", condition, outputs=count, **branches)
        return results if count > 1 else [results]

    # Shapes.

    def size(self, x: Value, axis: int) -> Value:
        """`[1]`, int64: how long an axis is."""
        return self.op("Shape", x, start=axis, end=axis + 1)

    def reshape(self, x: Value, *shape: int | Value) -> Value:
        """0 keeps an axis, -1 takes what is left; a value is a size."""
        sizes = [s if isinstance(s, str) else self.integers(s) for s in shape]
        return self.op("Reshape", x, self.op("Concat", *sizes, axis=0))

    def transpose(self, x: Value, *axes: int) -> Value:
        return self.op("Transpose", x, perm=axes)

    def concat(self, *values: Value, axis: int = 1) -> Value:
        return self.op("Concat", *values, axis=axis)

    def slice(
        self, x: Value, axis: int, start: int | Value, stop: int | Value
    ) -> Value:
        ends = [e if isinstance(e, str) else self.integers(e) for e in (start, stop)]
        return self.op("Slice", x, *ends, self.integers(axis))

    # Arithmetic.

    def add(self, a: Value | float, b: Value | float) -> Value:
        return self.op("Add", a, b)

    def sub(self, a: Value | float, b: Value | float) -> Value:
        return self.op("Sub", a, b)

    def mul(self, a: Value | float, b: Value | float) -> Value:
        return self.op("Mul", a, b)

    def div(self, a: Value | float, b: Value | float) -> Value:
        return self.op("Div", a, b)

    def clip(self, x: Value, lowest: float, highest: float) -> Value:
        return self.op("Clip", x, lowest, highest)

    def at_least(self, x: Value, lowest: float) -> Value:
        return self.op("Max", x, lowest)

    def mean(self, x: Value, *axes: int) -> Value:
        """The axes stay, with length 1."""
        return self.op("ReduceMean", x, axes=axes, keepdims=1)

    # Layers.

    def conv(
        self, x: Value, layer: Layer, stride: int = 1, relu: bool = False
    ) -> Value:
        """`layers.Conv`."""
        kernel = np.asarray(layer["kernel"], np.float32)
        k = kernel.shape[0]
        y = self.op(
            "Conv",
            x,
            self.constant(kernel.transpose(3, 2, 0, 1)),
            self.constant(np.asarray(layer["bias"], np.float32)),
            kernel_shape=(k, k),
            strides=(stride, stride),
            pads=(k // 2,) * 4,
        )
        return self.op("Relu", y) if relu else y

    def conv_transposed(
        self, x: Value, layer: Layer, stride: int = 2, relu: bool = False
    ) -> Value:
        """`layers.ConvTransposed`."""
        kernel = np.asarray(layer["kernel"], np.float32)
        k = kernel.shape[0]
        y = self.op(
            "ConvTranspose",
            x,
            self.constant(kernel.transpose(3, 2, 0, 1)),
            self.constant(np.asarray(layer["bias"], np.float32)),
            kernel_shape=(k, k),
            strides=(stride, stride),
            pads=(k // 2,) * 4,
            output_padding=(stride - 1,) * 2,
        )
        return self.op("Relu", y) if relu else y

    def spread(self, x: Value, side: int) -> Value:
        """Channels to blocks of pixels, `dual_global._spread_blocks`."""
        return self.op("DepthToSpace", x, blocksize=side, mode="DCR")

    def gather(self, x: Value, side: int) -> Value:
        """Blocks of pixels to channels, `dual_global._gather_blocks`."""
        return self.op("SpaceToDepth", x, blocksize=side)

    def model(
        self,
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Mapping[Value, onnx.ValueInfoProto],
        *,
        name: str,
        about: Mapping[str, str],
    ) -> onnx.ModelProto:
        """The whole, checked.

        Args:
          inputs: their names are used as values by what was added.
          outputs: what each of these values is called outside.
          about: kept in the file, as texts by name.
        """
        for value, info in outputs.items():
            self._nodes.append(helper.make_node("Identity", [value], [info.name]))
        graph = helper.make_graph(
            self._nodes,
            name,
            inputs,
            list(outputs.values()),
            list(self._constants.values()),
        )
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
        helper.set_model_props(model, dict(about))
        onnx.checker.check_model(model, full_check=True)
        return model


def tensor(
    name: str, *shape: int | str, dtype: int = TensorProto.FLOAT
) -> onnx.ValueInfoProto:
    """What goes in or comes out; texts are sizes that are free."""
    return helper.make_tensor_value_info(name, dtype, shape)
