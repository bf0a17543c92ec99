"""Multiply-accumulates of one operation, from the shapes of its tensors."""

from math import prod

from dilsearch.tracing.calls import Call

_PRODUCTS = {"mm": 0, "bmm": 0, "matmul": 0, "addmm": 1, "baddbmm": 1}
"""Matrix products, and the position of their left factor."""


def macs_of(call: Call) -> int:
    """What convolutions, linear layers, matrix products and attention cost; nothing else counts.

    Source: the rules of ``torch.utils.flop_counter``, which counts two FLOPs for each.
    """
    if call.name.startswith("conv"):
        x, weight = call.tensor(0, "input"), call.tensor(1, "weight")
        assert x is not None
        assert weight is not None
        transposed = "transpose" in call.name or (
            call.name == "convolution" and bool(call.argument(6, "transposed"))
        )
        return prod(x.shape if transposed else call.shape) * prod(weight.shape[1:])
    if call.name == "linear":
        x = call.tensor(0, "input")
        assert x is not None
        return prod(call.shape) * int(x.shape[-1])
    if call.name in _PRODUCTS:
        left = call.tensor(_PRODUCTS[call.name], "self")
        return 0 if left is None else prod(call.shape) * int(left.shape[-1])
    if call.name == "einsum":
        return _einsum(call)
    if "scaled_dot_product" in call.name:
        query, key = call.tensor(0, "query"), call.tensor(1, "key")
        assert query is not None
        assert key is not None
        weights = prod(query.shape[:-1]) * int(key.shape[-2])
        return weights * (int(query.shape[-1]) + call.shape[-1])
    return 0


def _einsum(call: Call) -> int:
    """One multiplication for each combination of its letters."""
    equation = str(call.argument(0, "equation")).replace(" ", "")
    if "." in equation:
        return 0
    letters = equation.split("->")[0].split(",")
    tensors = [node.meta["val"] for node in call.argument(1, "tensors")]
    sizes = {
        letter: int(size)
        for word, tensor in zip(letters, tensors, strict=True)
        for letter, size in zip(word, tensor.shape, strict=True)
    }
    return prod(sizes.values()) if len(letters) > 1 else 0
