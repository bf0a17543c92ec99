"""The op as a part of torch: autocast, compiling, exporting, counting, checkpoints, ranks."""

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from dilsearch.errors import OpError
from dilsearch.layers import RelaxedConv2d
from dilsearch.ops import fractional_conv1d, fractional_conv2d, fractional_conv3d
from dilsearch.ops import on_gpu as on_gpu_path
from dilsearch.sites import PerSite

OURS = {1: fractional_conv1d, 2: fractional_conv2d, 3: fractional_conv3d}
OP = torch.ops.dilsearch.fractional_conv
GRID = [3, 1, 1, 1, 1, 1]
SHAPES_OF_RATES = {
    "site": 1.5,
    "branches": [1.5, 2.5],
    "channels": [1.5, 2.5, 0.5, 1.75],
    "axes": [[1.5, 2.5]],
}


def seeded(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def leaves(rates: Any = 1.5, count: int = 2, batch: int = 2) -> list[Tensor]:
    tensors = [
        seeded(0, batch, 4, *(6, 7, 5)[:count]),
        seeded(1, 4, 2, *[3] * count),
        seeded(2, 4),
        torch.tensor(rates),
    ]
    return [tensor.requires_grad_() for tensor in tensors]


def gradients(y: Tensor, tensors: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(y, tensors, seeded(9, *y.shape))


class Layer(nn.Module):
    def __init__(self, rates: Any = 1.5) -> None:
        super().__init__()
        _, weight, bias, rate = leaves(rates)
        self.weight, self.bias, self.rate = (nn.Parameter(t) for t in (weight, bias, rate))

    def forward(self, x: Tensor) -> Tensor:
        return fractional_conv2d(
            x, self.weight, self.bias, self.rate, padding=1, groups=2, upper=4.0
        )


# ------------------------------------------------------------------------------------ autocast


@pytest.mark.parametrize("rate", [2.0, 2.5])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_under_autocast_it_acts_as_a_convolution_does(count, rate):
    x, weight, bias, rates = leaves(rate, count)
    plain = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[count]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = OURS[count](x, weight, bias, rates, padding=1, groups=2)
        assert y.dtype == plain(x, weight, bias, padding=1, groups=2).dtype == torch.bfloat16
        found = torch.autograd.grad(y.float().sum(), (x, weight, bias, rates))
        assert OURS[count](x, weight, bias, rates.detach(), groups=2).dtype == torch.bfloat16
        # doubles are left alone, as conv2d leaves them
        double = OURS[count](x.double(), weight.double(), None, rates, padding=1, groups=2)
    assert [gradient.dtype for gradient in found] == [torch.float32] * 4
    exact = OURS[count](x, weight, bias, rates, padding=1, groups=2)
    torch.testing.assert_close(y.float(), exact, rtol=0.03, atol=0.06)
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), exact - bias.view(-1, *[1] * count))
    with torch.autocast("cpu", enabled=False):
        assert OURS[count](x, weight, bias, rates, groups=2).dtype == torch.float32


# --------------------------------------------------------------------- compiling and exporting


COMPILED = """
import torch

from dilsearch.ops import fractional_conv2d

RATES = [1.5, [1.5, 2.5], [1.5, 2.5, 0.5, 1.75], [[1.5, 2.5]]]


def seeded(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def check(run, compiled, rates, batch):
    tensors = [seeded(0, batch, 4, 6, 7), seeded(1, 4, 2, 3, 3), seeded(2, 4), torch.tensor(rates)]
    tensors = [tensor.requires_grad_() for tensor in tensors]
    ours, eager = compiled(*tensors), run(*tensors)
    assert torch.equal(ours, eager) and eager.abs().max() > 1
    cotangent = seeded(9, *eager.shape)
    pairs = (torch.autograd.grad(y, tensors, cotangent) for y in (ours, eager))
    for a, b in zip(*pairs, strict=True):
        torch.testing.assert_close(a, b)
    with torch.no_grad():  # integers are read by the operator, not while the graph is made
        for value in (2.0, 2.5):
            others = [*tensors[:3], torch.full_like(tensors[3], value)]
            torch.testing.assert_close(compiled(*others), run(*others))


for mode in ("zeros", "replicate"):
    for rates in RATES:

        def run(x, weight, bias, rate):
            settings = {"padding": 1, "groups": 2, "upper": 4.0, "padding_mode": mode}
            return fractional_conv2d(x, weight, bias, rate, **settings).relu()

        torch._dynamo.reset()
        check(run, torch.compile(run, fullgraph=True, backend="aot_eager"), rates, 2)

torch._dynamo.reset()
graphs = []


def backend(graph, _):
    graphs.append(graph)
    return graph.forward


dynamic = torch.compile(run, fullgraph=True, backend=backend)
with torch.no_grad():
    for batch in (2, 3, 5):
        x, weight = seeded(0, batch, 4, 6, 7), seeded(1, 4, 2, 3, 3)
        torch._dynamo.mark_dynamic(x, 0)
        arguments = (x, weight, None, torch.tensor(1.5))
        assert torch.equal(dynamic(*arguments), run(*arguments))
assert len(graphs) == 1
torch._dynamo.reset()
dynamic = torch.compile(run, fullgraph=True, dynamic=True, backend="aot_eager")
for batch in (2, 3):
    check(run, dynamic, 1.5, batch)
print("equal")
"""


def test_compiled_it_is_what_it_is_eagerly():
    # in a process of its own, without the shape checks of the test run: no compiler follows those
    command = [sys.executable, "-c", COMPILED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "equal", done.stderr


@pytest.mark.parametrize("rates", SHAPES_OF_RATES.values(), ids=SHAPES_OF_RATES)
def test_an_exported_program_keeps_it_whole_and_runs_alike(rates):
    layer, x = Layer(rates), leaves()[0].detach()
    batch = torch.export.Dim("batch", min=2, max=8)
    program = torch.export.export(layer, (x,), dynamic_shapes={"x": {0: batch}})
    nodes = [node for node in program.graph.nodes if node.target is OP.default]
    assert len(nodes) == 1
    for size in (2, 5):
        x = seeded(5, size, 4, 6, 7)
        assert torch.equal(program.module()(x), layer(x))


# ------------------------------------------------------------------------- operator contracts


def sample(count: int, rates: Any, **changed: Any) -> tuple[Any, ...]:
    x, weight, bias, rate = leaves(rates, count)
    table = rate.detach()
    table = table if table.dim() == 2 else table.reshape(-1, 1)
    named = {
        "x": x,
        "weight": weight,
        "bias": bias,
        "table": table.requires_grad_(),
        "upper": None,
        "grid": GRID * count,
        "groups": 2,
        "padding_mode": "zeros",
        "with_slope": True,
    } | changed
    return tuple(named.values())


@pytest.mark.parametrize(
    "arguments",
    [
        sample(2, 1.5),
        sample(2, [1.5, 2.0], bias=None, upper=torch.tensor(2.0)),
        sample(2, [1.5, 2.5, 0.5, 1.75], padding_mode="replicate"),
        sample(2, [[1.5, 2.5]], padding_mode="circular", upper=torch.tensor([[1.5, 4.0]])),
        sample(2, 1.5, with_slope=False, table=torch.tensor([[1.5]])),
        sample(1, [1.5, 2.0]),
        sample(3, 1.5, padding_mode="reflect"),
    ],
    ids=["site", "branches", "channels", "axes", "no slope", "sequence", "volume"],
)
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch's own check asks
def test_the_operator_keeps_its_contracts(arguments):
    torch.library.opcheck(OP, arguments)


@pytest.mark.parametrize("needs_slope", [True, False])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("kind", ["meta", "fake"])
def test_shapes_are_known_without_numbers(kind, count, needs_slope):
    rates = [1.5, [1.5, 2.5], [1.5, 2.5, 0.5, 1.75], [list((1.5, 2.5, 0.5)[:count])]]
    changes = [
        {"padding": 1},
        {"padding": "same", "padding_mode": "reflect"},
        {"stride": 2, "padding": 2, "padding_mode": "circular", "upper": 3.0},
        {"dilation": 2, "padding": 2},
    ]
    for values, changed in zip(rates, changes, strict=True):
        tensors = leaves(values, count)
        expected = OURS[count](*tensors, groups=2, **changed)
        if kind == "meta":
            there = [tensor.detach().to("meta").requires_grad_() for tensor in tensors]
            there[3].requires_grad_(needs_slope)
            y = OURS[count](*there, groups=2, **changed)
        else:
            with FakeTensorMode() as mode:
                there = [mode.from_tensor(tensor) for tensor in tensors]
                if not needs_slope:
                    there[3] = there[3].detach()
                y = OURS[count](*there, groups=2, **changed)
        assert (y.shape, y.dtype) == (expected.shape, expected.dtype)
        wanted = [tensor for tensor in there if tensor.requires_grad]
        found = torch.autograd.grad(y.sum(), wanted)
        assert [gradient.shape for gradient in found] == [tensor.shape for tensor in wanted]


# -------------------------------------------------------------------------------------- counting


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("rates", [1.5, [1.5, 2.5, 0.5, 1.75]])
def test_it_counts_as_many_operations_as_the_plain_convolution(count, rates):
    x, weight, bias, rate = leaves(rates, count)
    plain = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[count]

    def counted(function: Any) -> tuple[int, int]:
        with FlopCounterMode(display=False) as counter:
            y = function()
            forwards = counter.get_total_flops()
            y.sum().backward()
        return forwards, counter.get_total_flops() - forwards

    ours = counted(lambda: OURS[count](x, weight, bias, rate, stride=2, padding=1, groups=2))
    theirs = counted(lambda: plain(x, weight, bias, stride=2, padding=1, groups=2))
    outputs = plain(x, weight, bias, stride=2, padding=1, groups=2).numel()
    assert ours[0] == theirs[0] == 2 * outputs * weight[0].numel()
    assert ours[1] == 2 * ours[0]
    frozen = counted(lambda: OURS[count](x, weight.detach(), bias, rate, padding=1, groups=2))
    assert frozen[1] == frozen[0]  # without the weight's gradient


# ------------------------------------------------------------------------------------- training


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("rates", [1.5, [1.5, 2.5, 0.5, 1.75]])
def test_activation_checkpoints_change_nothing(reentrant, rates):
    layer, x = Layer(rates), leaves()[0]
    inputs = [x, *layer.parameters()]
    results = []
    for y in (layer(x), checkpoint(layer, x, use_reentrant=reentrant)):
        layer.zero_grad()
        x.grad = None
        y.backward(seeded(9, *y.shape))
        results.append([y, *(tensor.grad.clone() for tensor in inputs)])
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


def test_deterministic_algorithms_are_enough_for_it():
    torch.use_deterministic_algorithms(True)
    try:
        for rates in SHAPES_OF_RATES.values():
            for mode in ("zeros", "replicate"):
                runs = []
                for _ in range(2):
                    tensors = leaves(rates)
                    y = fractional_conv2d(*tensors, padding=1, groups=2, padding_mode=mode)
                    runs.append([y, *gradients(y, tensors)])
                assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    finally:
        torch.use_deterministic_algorithms(False)


RANK = """
import sys
from datetime import timedelta

import torch
from torch import nn

from dilsearch.ops import fractional_conv2d


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(4, 2, 3, 3, generator=draw))
        self.rate = nn.Parameter(torch.tensor([1.5, 2.5]))

    def forward(self, x):
        return fractional_conv2d(x, self.weight, None, self.rate, padding=1, groups=2)


rank, store = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
torch.distributed.init_process_group(
    "gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=timedelta(seconds=30)
)
images = torch.randn(4, 4, 6, 7, generator=torch.Generator().manual_seed(1))
layer = nn.parallel.DistributedDataParallel(Layer())
layer(images[2 * rank : 2 * rank + 2]).square().mean().backward()
alone = Layer()
alone(images).square().mean().backward()
half = Layer()
half(images[:2]).square().mean().backward()
for ours, whole, part in zip(layer.parameters(), alone.parameters(), half.parameters()):
    torch.testing.assert_close(ours.grad, whole.grad)
    assert not torch.allclose(part.grad, whole.grad)  # the control: one rank's images alone
torch.distributed.destroy_process_group()
print("equal")
"""


def test_two_ranks_train_as_one_process_does(tmp_path: Path):
    command = [sys.executable, "-c", RANK]
    ranks = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path / "store")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for rank in ranks:
        out, errors = rank.communicate(timeout=90)
        assert out.strip() == "equal", errors


# ------------------------------------------------------------------------- as a part of autograd


def saved(*tensors: Tensor | None, **settings: Any) -> list[Tensor]:
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        fractional_conv2d(*tensors, **settings)
    return kept


@pytest.mark.parametrize("mode", ["zeros", "replicate"])
def test_only_input_weight_and_one_map_are_kept_for_the_gradients(mode):
    x, weight, bias, _ = leaves()
    plain = {"padding": 1, "groups": 2, "padding_mode": mode}
    for rates, maps in (
        (torch.tensor(1.5), 0),
        (torch.tensor(1.5, requires_grad=True), 1),
        (torch.tensor([1.5, 2.5, 0.5, 1.75], requires_grad=True), 0),
    ):
        kept = saved(x, weight, bias, rates, upper=3.0, **plain)
        assert sum(tensor is x or tensor.data_ptr() == x.data_ptr() for tensor in kept) == 1
        assert sum(tensor.data_ptr() == weight.data_ptr() for tensor in kept) == 1
        outputs = 2 * 4 * 6 * 7
        own = [t for t in kept if t.data_ptr() not in (x.data_ptr(), weight.data_ptr())]
        large = [tensor.numel() for tensor in own if tensor.numel() > 8]
        assert large == [outputs] * maps


def test_differentiating_twice_is_refused_rather_than_wrong():
    x, weight, _, rate = leaves()
    y = fractional_conv2d(x, weight, None, rate, padding=1, groups=2)
    (slope,) = torch.autograd.grad(y.square().sum(), rate, create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula was registered"):
        slope.backward()


@pytest.mark.parametrize("wanted", [0, 1, 2, 3], ids=["x", "weight", "bias", "rate"])
@pytest.mark.parametrize("rates", SHAPES_OF_RATES.values(), ids=SHAPES_OF_RATES)
def test_gradients_come_one_at_a_time_as_they_come_together(wanted, rates):
    tensors = leaves(rates)
    together = gradients(fractional_conv2d(*tensors, padding=1, groups=2), tensors)[wanted]
    others = [t if i == wanted else t.detach() for i, t in enumerate(tensors)]
    y = fractional_conv2d(*others, padding=1, groups=2)
    (alone,) = gradients(y, [tensors[wanted]])
    torch.testing.assert_close(alone, together)


def test_a_functional_call_takes_other_rates():
    layer, x = Layer(), leaves()[0]
    rate = torch.tensor(2.25, requires_grad=True)
    y = torch.func.functional_call(layer, {"rate": rate}, (x,))
    other = Layer(2.25)
    assert torch.equal(y, other(x))
    (slope,) = gradients(y, [rate])
    torch.testing.assert_close(slope, gradients(other(x), [other.rate])[0])


# torch itself uses what it calls deprecated, once forward derivatives are asked for
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("rates", [[1.5, 2.5], [2.0, 2.0]])
def test_derivatives_that_would_be_zero_without_a_word_are_refused(rates):
    x, weight, bias, _ = (tensor.detach() for tensor in leaves())
    rate = torch.tensor(rates, dtype=x.dtype)

    def loss(value: Tensor) -> Tensor:
        return fractional_conv2d(x, weight, bias, value, padding=1, groups=2).square().sum()

    with pytest.raises(
        OpError, match=r"no derivative under torch.func.grad, .* Use torch.autograd"
    ):
        torch.func.grad(loss)(rate)
    with pytest.raises(OpError, match="no derivative under"):
        torch.func.jvp(loss, (rate,), (torch.ones_like(rate),))
    with torch.autograd.forward_ad.dual_level():
        loss(rate)  # without a tangent there is nothing to lose
        dual = torch.autograd.forward_ad.make_dual(rate, torch.ones_like(rate))
        with pytest.raises(OpError, match="no derivative under"):
            loss(dual)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_program_exported_without_gradients_learns_the_rates_all_the_same(frozen):
    layer = RelaxedConv2d(nn.Conv2d(4, 4, 3, padding=1), PerSite(1, 8, initial=1.5))
    x = torch.rand(1, 4, 7, 7)
    layer.rate.requires_grad_(not frozen)
    with torch.no_grad():
        program = torch.export.export(layer, (x,)).module()
    layer.rate.requires_grad_()
    rate = program.get_parameter("rate").requires_grad_()
    (expected,) = torch.autograd.grad(layer(x).square().sum(), layer.rate)
    (found,) = torch.autograd.grad(program(x).square().sum(), rate)
    torch.testing.assert_close(found, expected)
    assert expected != 0


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_shapes_are_known_beforehand_where_an_axis_has_one_tap_and_padding(mode):
    x, weight = torch.rand(1, 2, 6, 6), torch.rand(2, 2, 3, 1)
    arguments = (x, weight, None, torch.tensor([[1.5]]), None)
    grid = [3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0]
    real = torch.ops.dilsearch.fractional_conv(*arguments, grid, 1, mode, True)
    meta = [None if each is None else each.to("meta") for each in arguments]
    fake = torch.ops.dilsearch.fractional_conv(*meta, grid, 1, mode, True)
    assert [each.shape for each in fake] == [each.shape for each in real]


@pytest.mark.parametrize("rates", [[1.5, 2.5], [1.5, 2.5, 0.5, 1.5], [2.0, 2.0]])
def test_what_comes_next_may_change_the_outputs_in_place(rates):
    x, weight = torch.rand(1, 4, 6, 7), torch.rand(4, 2, 3, 3)
    rate = torch.tensor(rates, requires_grad=True)
    y = fractional_conv2d(x, weight, None, rate, padding=1, groups=2)
    (slope,) = torch.autograd.grad(y.relu().sum(), rate)
    y = fractional_conv2d(x, weight, None, rate, padding=1, groups=2)
    y.relu_()
    (other,) = torch.autograd.grad(y.sum(), rate)
    assert torch.equal(slope, other)


def test_only_outputs_have_a_gradient():
    x, weight, bias, rate = leaves()
    y = fractional_conv2d(x, weight, bias, rate, padding=1, groups=2)
    assert y.requires_grad
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y.mul(0).sum().backward()
    assert all((tensor.grad == 0).all() for tensor in (x, weight, bias, rate))


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "by_kernels"), [(torch.float32, True), (torch.float64, False)])
def test_on_a_gpu_it_agrees_with_itself_on_the_cpu(dtype, by_kernels):
    tensors = [tensor.detach().to(dtype).requires_grad_() for tensor in leaves([1.5, 4.25])]
    assert on_gpu_path.takes(tensors[0].cuda(), "zeros") is by_kernels
    on_gpu = [tensor.detach().cuda().requires_grad_() for tensor in tensors]
    results = []
    for arguments in (tensors, on_gpu):
        y = fractional_conv2d(*arguments, padding=1, groups=2, upper=torch.tensor([8.0, 4.25]))
        found = torch.autograd.grad(y.square().sum(), arguments)
        results.append([value.cpu() for value in (y, *found)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)
