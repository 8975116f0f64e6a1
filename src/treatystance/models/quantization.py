"""Weights of an ONNX graph in 8 bits, activations in 8 bits row by row.

Linear layers compute in integers: each column of the weights has a scale of its own, and each token's activations get
one while scoring (the per-token dynamic quantisation of ZeroQuant, Yao et al. 2022). onnxruntime's `quantize_dynamic`
has one scale for a whole batch: there the same sentence scores differently beside other sentences, and one token
with large activations coarsens all others. The operators are onnxruntime's either way.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["quantize"]

_CONTRIB = "com.microsoft"
_LEAST = 1 << 14  # tables of fewer values stay as they are
# The smallest value of x * Phi(x), rounded down: what comes out of a GELU needs no room below it.
_GELU_FLOOR = -0.17


class _Graph:
    """A graph whose nodes are replaced one by one."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.weights = {entry.name: entry for entry in graph.initializer}
        self.makers = {name: node.op_type for node in graph.node for name in node.output}
        self.nodes: list[Any] = []
        self.scaled: dict[str, tuple[str, str]] = {}

    def constant(self, name: str, value: Any, kind: Any = np.float32) -> str:
        from onnx.numpy_helper import from_array

        if name not in self.weights:
            self.weights[name] = from_array(np.asarray(value, kind), name)
        return name

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx.helper import make_node

        self.nodes.append(make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def table(self, name: str, least: int = _LEAST) -> Any:
        """The matrix of this name where it is one of the weights and large enough, else None."""
        from onnx.numpy_helper import to_array

        entry = self.weights.get(name)
        if entry is None or len(entry.dims) != 2 or entry.dims[0] * entry.dims[1] < least:
            return None
        return to_array(entry).astype(np.float64)

    def whole_numbers(self, x: str) -> tuple[str, str]:
        """Activations as bytes with the zero point of `zero_point`, and the scale of each row."""
        if x not in self.scaled:
            from onnx import TensorProto

            axis = self.constant("int8/axis", [-1], np.int64)
            gelu = self.makers.get(x) == "Gelu"
            room = x if gelu else self.add("Abs", [x], f"{x}/abs")
            top = self.add("ReduceMax", [room, axis], f"{x}/top", keepdims=1)
            if gelu:
                top = self.add("Sub", [top, self.constant("int8/floor", _GELU_FLOOR)], f"{x}/span")
            top = self.add("Max", [top, self.constant("int8/least", 1e-9)], f"{x}/least")
            steps = self.constant("int8/steps_gelu" if gelu else "int8/steps", 255.0 if gelu else 127.0)
            factor = self.add("Div", [steps, top], f"{x}/factor")
            scale = self.add("Div", [top, steps], f"{x}/scale")
            # The cast cuts decimals off: with the half added it rounds.
            if gelu:
                start = self.add("Mul", [factor, self.constant("int8/minus_floor", -_GELU_FLOOR)], f"{x}/from")
                start = self.add("Add", [start, self.constant("int8/half", 0.5)], f"{x}/start")
            else:
                start = self.constant("int8/middle", 128.5)
            spread = self.add("Mul", [x, factor], f"{x}/spread")
            shifted = self.add("Add", [spread, start], f"{x}/shifted")
            self.scaled[x] = self.add("Cast", [shifted], f"{x}/bytes", to=TensorProto.UINT8), scale
        return self.scaled[x]

    def linear(self, node: Any, table: Any) -> None:
        """A product with a weight matrix, computed in integers."""
        x, name = node.input
        scales = np.maximum(np.abs(table).max(0), 1e-12) / 127
        rounded = np.rint(table / scales).astype(np.int8)
        gelu = self.makers.get(x) == "Gelu"
        numbers, scale = self.whole_numbers(x)
        inputs = [
            numbers,
            self.constant(f"{name}/int8", rounded, np.int8),
            self.constant("int8/one", 1.0),
            self.constant(f"{name}/scales", scales),
            self.constant("int8/zero_gelu" if gelu else "int8/zero", 0 if gelu else 128, np.uint8),
        ]
        output = node.output[0]
        product = self.add("MatMulIntegerToFloat", inputs, f"{output}/product", domain=_CONTRIB)
        if not gelu:
            self.add("Mul", [product, scale], output)
            return
        product = self.add("Mul", [product, scale], f"{output}/scaled")
        self.add("Add", [product, self.constant(f"{name}/floor", _GELU_FLOOR * (rounded * scales).sum(0))], output)

    def embedding(self, node: Any, table: Any) -> None:
        """A look-up in a table of embeddings, each row of which has a scale of its own."""
        from onnx import TensorProto

        name, ids = node.input
        scales = np.maximum(np.abs(table).max(1, keepdims=True), 1e-12) / 127
        rounded = np.rint(table / scales).astype(np.int8)
        output = node.output[0]
        found = self.add("Gather", [self.constant(f"{name}/int8", rounded, np.int8), ids], f"{output}/bytes")
        found = self.add("Cast", [found], f"{output}/numbers", to=TensorProto.FLOAT)
        scale = self.add("Gather", [self.constant(f"{name}/scales", scales), ids], f"{output}/scale")
        self.add("Mul", [found, scale], output)

    def rewrite(self) -> None:
        for node in self.graph.node:
            if node.op_type == "MatMul" and (table := self.table(node.input[1], 0)) is not None:
                self.linear(node, table)
            elif node.op_type == "Gather" and _axis(node) == 0 and (table := self.table(node.input[0])) is not None:
                self.embedding(node, table)
            else:
                self.nodes.append(node)
        used = {name for node in self.nodes for name in node.input}
        del self.graph.node[:], self.graph.initializer[:]
        self.graph.node.extend(self.nodes)
        self.graph.initializer.extend(entry for name, entry in self.weights.items() if name in used)


def _axis(node: Any) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)


def quantize(model: Any) -> None:
    """Write the weight matrices and embeddings of an `onnx.ModelProto` (opset 18 or later) in 8 bits, in place.

    Products of weights with activations (MatMul) are computed in integers. What has a bias of its own (Gemm), such as
    the final head, stays in float32.
    """
    from onnx.helper import make_opsetid

    _Graph(model.graph).rewrite()
    if _CONTRIB not in {entry.domain for entry in model.opset_import}:
        model.opset_import.append(make_opsetid(_CONTRIB, 1))
