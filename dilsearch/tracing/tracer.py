"""Follow a model's exported program and write down what moves its field of view.

``torch.export`` runs the model once on the meta device, without memory or arithmetic. Each
operation of the program either leaves the field alone (the result is another name for its input),
or becomes a node of the field graph. Convolutions are recognised as modules, so that one module is
one site even where it splits channels inside.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from dilsearch.errors import TraceError
from dilsearch.geometry import (
    FieldGraph,
    GlobalContext,
    Join,
    Node,
    Resample,
    Source,
    Window,
)
from dilsearch.layers import BranchConv2d
from dilsearch.layers.relaxed_conv import explicit_padding, present_rates
from dilsearch.tracing.shadow import Convolution, shadow_of, spatial_convolutions

Example = Tensor | Sequence[Tensor]


def trace_graph(model: nn.Module, example: Example) -> FieldGraph:
    """The field graph of a model: which windows its outputs see the input through.

    Nothing is computed and the model is not changed. Operations that cannot be followed are named
    with their module path in ``FieldGraph.unfollowed``; the field behind them is a lower bound.

    Args:
        model: Any module that ``torch.export`` can export; relaxed sites are allowed.
        example: Its input or inputs, (batch, channels, height, width); only the shape counts, and
            the meta device will do. Sizes that every stride divides let upsampling be followed.

    Raises:
        TraceError: If the model cannot be exported, or uses one convolution module twice.
    """
    inputs = (example,) if isinstance(example, Tensor) else tuple(example)
    shadow = shadow_of(model)
    meta_inputs = tuple(torch.empty_like(tensor, device="meta") for tensor in inputs)
    try:
        program = torch.export.export(shadow, meta_inputs)
    except Exception as error:  # whatever the model's own forward raises ends up here
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise TraceError(
            f"{type(model).__name__} cannot be exported with input of shape "
            f"{', '.join(str(tuple(t.shape)) for t in inputs)}: {first_line} "
            "Give an example input that its forward accepts."
        ) from error
    return _Walk(program, spatial_convolutions(shadow)).graph()


@dataclass
class _Walk:
    """One pass over an exported program; ``places`` maps each value to its node of the graph."""

    program: torch.export.ExportedProgram
    convolutions: dict[str, Convolution]
    nodes: list[Node] = field(default_factory=list)
    places: dict[fx.Node, str] = field(default_factory=dict)
    unfollowed: dict[str, str] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)

    def graph(self) -> FieldGraph:
        user_inputs = set(self.program.graph_signature.user_inputs)
        outputs: tuple[str, ...] = ()
        for node in self.program.graph.nodes:
            if node.op == "placeholder" and node.name in user_inputs:
                self._add(node, Source(node.name))
            elif node.op == "call_function":
                self._call(node)
            elif node.op == "output":
                returned = fx.node.map_arg(node.args, lambda n: n) and node.all_input_nodes
                outputs = tuple(self.places[n] for n in returned if n in self.places)
        return FieldGraph(nodes=tuple(self.nodes), outputs=outputs, unfollowed=self.unfollowed)

    def _call(self, node: fx.Node) -> None:
        sources = [n for n in node.all_input_nodes if n in self.places]
        if not sources or not _is_tensor(node):
            if sources:  # sizes and shapes read off a feature map, or a list of its parts
                self._alias_parts(node, sources)
            return
        site = self._site_of(node)
        if site is not None:
            self._site(node, site, sources)
            return
        handler = _HANDLERS.get(_operation(node))
        if handler is None:
            self._unfollowed(node, sources)
        else:
            handler(self, node, sources)

    def _site_of(self, node: fx.Node) -> str | None:
        """The convolution module this operation is part of."""
        return next(
            (path for path in reversed(_module_paths(node)) if path in self.convolutions), None
        )

    def _site(self, node: fx.Node, site: str, sources: list[fx.Node]) -> None:
        """Operations of one convolution module: the first makes the node, the rest are it."""
        conv = self.convolutions[site]
        self.calls[site] += "conv" in _operation(node)
        if self.calls[site] > _convolutions_per_call(conv):
            raise TraceError(
                f"convolution '{site}' is used twice in one forward pass, so that it has two "
                "fields; give each use a module of its own"
            )
        if not any(existing.name == site for existing in self.nodes):
            rates = present_rates(conv, _branch_count(conv))
            padding = explicit_padding(conv)
            dilation = _pair(conv.dilation)
            taps = _pair(conv.kernel_size)
            window = Window(
                name=site,
                source=self.places[sources[0]],
                taps=taps,
                stride=_pair(conv.stride),
                anchor=tuple(
                    (k - 1) // 2 * d - p for k, d, p in zip(taps, dilation, padding, strict=True)
                ),
                rates=tuple((rate, rate) for rate in rates)
                if isinstance(conv, BranchConv2d)
                else (dilation,),
                site=True,
            )
            self.nodes.append(window)
        self.places[node] = site

    def _alias_parts(self, node: fx.Node, sources: list[fx.Node]) -> None:
        value = node.meta.get("val")
        if isinstance(value, list | tuple) and _operation(node) in _CHANNEL_SPLITS:
            site = self._site_of(node)
            if site is not None:
                self._site(node, site, sources)
            elif _split_dimension(node) == 1:
                self.places[node] = self.places[sources[0]]
            else:
                self._unfollowed(node, sources)
        elif isinstance(value, list | tuple):
            self._unfollowed(node, sources)

    def _add(self, node: fx.Node, graph_node: Node) -> None:
        self.nodes.append(graph_node)
        self.places[node] = graph_node.name

    def _alias(self, node: fx.Node, sources: list[fx.Node]) -> None:
        self.places[node] = self.places[sources[0]]

    def _join(self, node: fx.Node, sources: list[fx.Node]) -> None:
        names = tuple(dict.fromkeys(self.places[source] for source in sources))
        if len(names) == 1:
            self.places[node] = names[0]
        else:
            self._add(node, Join(self._name(node), names))

    def _unfollowed(self, node: fx.Node, sources: list[fx.Node]) -> None:
        """Pass the sources on as a join, and say so: the field behind is a lower bound."""
        names = tuple(dict.fromkeys(self.places[source] for source in sources))
        name = self._name(node)
        self._add(node, Join(name, names))
        paths = _module_paths(node)
        where = f"module '{paths[-1]}'" if paths and paths[-1] else "the model's own forward"
        self.unfollowed[name] = f"{node.target} in {where}"

    def _name(self, node: fx.Node) -> str:
        paths = _module_paths(node)
        return f"{paths[-1]}.{node.name}" if paths and paths[-1] else node.name

    # one method for each kind of operation that moves the field

    def _concat(self, node: fx.Node, sources: list[fx.Node]) -> None:
        dimension = _argument(node, 1, "dim", 0)
        along_channels = dimension in (1, 1 - _rank(node))
        (self._join if along_channels else self._unfollowed)(node, sources)

    def _softmax(self, node: fx.Node, sources: list[fx.Node]) -> None:
        over_channels = _argument(node, 1, "dim", None) in (1, 1 - _rank(node))
        (self._alias if over_channels else self._unfollowed)(node, sources)

    def _slice(self, node: fx.Node, sources: list[fx.Node]) -> None:
        dimension = _argument(node, 1, "dim", 0)
        whole = node.meta["val"].shape[2:] == sources[0].meta["val"].shape[2:]
        (self._alias if dimension == 1 or whole else self._unfollowed)(node, sources)

    def _conv(self, node: fx.Node, sources: list[fx.Node]) -> None:
        """A convolution outside the sites: one tap wide, or called as a function."""
        weight = _argument(node, 1, "weight", None)
        taps = tuple(int(size) for size in weight.meta["val"].shape[2:])
        stride = _per_axis(_argument(node, 3, "stride", 1), len(taps))
        padding = _argument(node, 4, "padding", 0)
        dilation = _per_axis(_argument(node, 5, "dilation", 1), len(taps))
        if isinstance(padding, str):
            reach = [(k - 1) * d for k, d in zip(taps, dilation, strict=True)]
            padding = [r // 2 if padding == "same" else 0 for r in reach]
        self._window(node, sources, taps, stride, _per_axis(padding, len(taps)), dilation)

    def _pool(self, node: fx.Node, sources: list[fx.Node]) -> None:
        taps = _per_axis(_argument(node, 1, "kernel_size", 1), 2)
        stride = _per_axis(_argument(node, 2, "stride", None) or taps, 2)
        padding = _per_axis(_argument(node, 3, "padding", 0), 2)
        dilated = _operation(node).startswith("max_pool")
        dilation = _per_axis(_argument(node, 4, "dilation", 1) if dilated else 1, 2)
        self._window(node, sources, taps, stride, padding, dilation)

    def _window(
        self,
        node: fx.Node,
        sources: list[fx.Node],
        taps: tuple[int, ...],
        stride: tuple[int, ...],
        padding: tuple[int, ...],
        dilation: tuple[int, ...],
    ) -> None:
        anchor = tuple(
            (k - 1) // 2 * d - p for k, d, p in zip(taps, dilation, padding, strict=True)
        )
        if set(taps) == {1} and set(stride) == {1} and set(anchor) == {0}:
            self._alias(node, sources)
            return
        self._add(
            node,
            Window(
                name=self._name(node),
                source=self.places[sources[0]],
                taps=taps,
                stride=stride,
                anchor=anchor,
                rates=(dilation,),
                site=False,
            ),
        )

    def _adaptive_pool(self, node: fx.Node, sources: list[fx.Node]) -> None:
        if set(node.meta["val"].shape[2:]) == {1}:
            self._add(node, GlobalContext(self._name(node), self.places[sources[0]]))
        else:
            self._unfollowed(node, sources)

    def _mean(self, node: fx.Node, sources: list[fx.Node]) -> None:
        rank = sources[0].meta["val"].dim()
        axes = _argument(node, 1, "dim", None)
        dims = set(range(rank)) if axes is None else {int(axis) % rank for axis in axes}
        if set(range(2, rank)) <= dims:
            self._add(node, GlobalContext(self._name(node), self.places[sources[0]]))
        else:
            (self._alias if dims == {1} else self._unfollowed)(node, sources)

    def _spatial_norm(self, node: fx.Node, sources: list[fx.Node]) -> None:
        """Group and instance normalisation: pointwise, but for statistics of the whole map."""
        place = self.places[sources[0]]
        context = GlobalContext(f"{self._name(node)}.statistics", place)
        self.nodes.append(context)
        self._add(node, Join(self._name(node), (place, context.name)))

    def _resize(self, node: fx.Node, sources: list[fx.Node]) -> None:
        before = sources[0].meta["val"].shape[2:]
        after = node.meta["val"].shape[2:]
        place = self.places[sources[0]]
        if tuple(before) == tuple(after) or set(before) == {1}:
            self._alias(node, sources)  # same size, or a global value spread over the map
        elif any(int(b) % int(a) for a, b in zip(before, after, strict=True)):
            self._unfollowed(node, sources)
        else:
            taps = {"nearest": 1, "bilinear": 2, "bicubic": 4}[_resize_mode(node)]
            factor = tuple(int(b) // int(a) for a, b in zip(before, after, strict=True))
            self._add(
                node,
                Resample(
                    self._name(node), place, tuple(taps if f > 1 else 1 for f in factor), factor
                ),
            )

    def _pad(self, node: fx.Node, sources: list[fx.Node]) -> None:
        amounts = [int(amount) for amount in _argument(node, 1, "pad", ())]
        rank = _rank(node)
        before = [0] * rank
        for axis in range(len(amounts) // 2):
            before[rank - 1 - axis] = amounts[2 * axis]
        spatial = rank - 2
        self._window(
            node,
            sources,
            taps=(1,) * spatial,
            stride=(1,) * spatial,
            padding=tuple(before[2:]),
            dilation=(1,) * spatial,
        )


_Handler = Callable[[_Walk, fx.Node, list[fx.Node]], None]
_CHANNEL_SPLITS = frozenset({"chunk", "split", "split_with_sizes", "unbind", "tensor_split"})
_POINTWISE = (
    "_to_copy abs alias batch_norm celu clamp clone contiguous detach dropout elu exp "
    "feature_dropout gelu getitem hardsigmoid hardswish hardtanh leaky_relu lift_fresh_copy log "
    "mish native_batch_norm neg pow prelu relu relu6 rsqrt selu sigmoid silu "
    "softplus sqrt square tanh threshold to"
).split()
_JOINS = "add sub mul div maximum minimum where".split()
_HANDLERS: dict[str, _Handler] = {
    **dict.fromkeys(_POINTWISE, _Walk._alias),
    **dict.fromkeys(_JOINS, _Walk._join),
    "softmax": _Walk._softmax,
    "log_softmax": _Walk._softmax,
    "cat": _Walk._concat,
    "slice": _Walk._slice,
    "narrow": _Walk._slice,
    "conv2d": _Walk._conv,
    "convolution": _Walk._conv,
    "max_pool2d": _Walk._pool,
    "avg_pool2d": _Walk._pool,
    "adaptive_avg_pool2d": _Walk._adaptive_pool,
    "adaptive_max_pool2d": _Walk._adaptive_pool,
    "mean": _Walk._mean,
    "group_norm": _Walk._spatial_norm,
    "instance_norm": _Walk._spatial_norm,
    "upsample_nearest2d": _Walk._resize,
    "upsample_bilinear2d": _Walk._resize,
    "upsample_bicubic2d": _Walk._resize,
    "pad": _Walk._pad,
    "constant_pad_nd": _Walk._pad,
}


def _operation(node: fx.Node) -> str:
    """``aten.upsample_bilinear2d.vec`` is 'upsample_bilinear2d', ``aten.relu_`` is 'relu'."""
    name = getattr(node.target, "__name__", str(node.target))
    base = name.split(".")[0]
    return base if base.startswith("_") else base.rstrip("_")


def _resize_mode(node: fx.Node) -> str:
    return _operation(node).removeprefix("upsample_").removesuffix("2d")


def _module_paths(node: fx.Node) -> list[str]:
    """Module paths this operation was called through, outermost first."""
    stack = node.meta.get("nn_module_stack") or {}
    return [str(path) for path, _ in stack.values()]


def _argument(node: fx.Node, position: int, name: str, default: Any) -> Any:
    if len(node.args) > position:
        return node.args[position]
    return node.kwargs.get(name, default)


def _split_dimension(node: fx.Node) -> int:
    return int(_argument(node, 2, "dim", 0))


def _is_tensor(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), Tensor)


def _rank(node: fx.Node) -> int:
    return int(node.meta["val"].dim())


def _convolutions_per_call(conv: Convolution) -> int:
    """A branched convolution with equal rates runs as one."""
    rates = present_rates(conv, _branch_count(conv))
    return len(rates) if len(set(rates)) > 1 else 1


def _branch_count(conv: Convolution) -> int:
    return len(conv.rates) if isinstance(conv, BranchConv2d) else 1


def _pair(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return _per_axis(value, 2)


def _per_axis(value: Any, axes: int) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * axes
    values = tuple(int(v) for v in value)
    return values * axes if len(values) == 1 else values
