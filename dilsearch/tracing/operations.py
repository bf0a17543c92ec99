"""Which operation of a program is handled how. What is in no table is named as not followed."""

from collections.abc import Callable

from dilsearch.tracing import mixing, moving, rearranging
from dilsearch.tracing.calls import Call
from dilsearch.tracing.values import Value
from dilsearch.tracing.walk import Walk

Handler = Callable[[Walk, Call], Value | list[Value]]

_BY_HANDLER: dict[Handler, str] = {
    rearranging.same: (
        "_assert_tensor_metadata _to_copy alias alpha_dropout bernoulli clone "
        "contiguous _native_batch_norm_legit_no_training detach dropout feature_alpha_dropout "
        "feature_dropout hardswish lift_fresh_copy log_sigmoid native_batch_norm "
        "native_dropout prelu rrelu threshold to tril triu type_as"
    ),
    rearranging.constant: (
        "empty_like fill full_like new_empty new_full new_ones new_zeros ones_like rand_like "
        "randn_like zeros_like"
    ),
    rearranging.complexity: "view_as_real",
    rearranging.copying: "copy",
    rearranging.writing: "select_scatter slice_scatter",
    rearranging.permutation: (
        "adjoint mT moveaxis movedim numpy_T permute swapaxes swapdims t transpose"
    ),
    rearranging.reshaping: "_unsafe_view flatten reshape reshape_as unflatten view view_as",
    rearranging.squeezing: "squeeze unsqueeze",
    rearranging.expanding: "expand expand_as repeat",
    rearranging.concatenation: "cat concat stack",
    rearranging.splitting: (
        "chunk split split_with_sizes tensor_split unbind unsafe_chunk unsafe_split"
    ),
    rearranging.slicing: "narrow slice",
    rearranging.selecting: "select",
    rearranging.picking: "index index_select",
    rearranging.flipping: "flip",
    rearranging.shuffling: "channel_shuffle native_channel_shuffle",
    mixing.reduction: (
        "all amax amin any argmax argmin linalg_vector_norm logsumexp max mean min norm prod std "
        "std_mean sum var var_mean"
    ),
    mixing.softmax: "_log_softmax _softmax log_softmax softmax",
    mixing.statistics: "batch_norm group_norm instance_norm native_group_norm",
    mixing.layer_norm: "layer_norm rms_norm",
    mixing.linear: "linear",
    mixing.product: "addmm baddbmm bmm matmul mm",
    mixing.attention: "_scaled_dot_product_flash_attention scaled_dot_product_attention",
    mixing.einsum: "einsum",
    mixing.pointwise: "complex where",
    mixing.running: "cummax cummin cumprod cumsum logcumsumexp",
    mixing.gated: "glu",
    moving.convolution: (
        "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution"
    ),
    moving.pooling: (
        "avg_pool1d avg_pool2d avg_pool3d "
        "max_pool1d max_pool1d_with_indices max_pool2d max_pool2d_with_indices max_pool3d "
        "max_pool3d_with_indices"
    ),
    moving.adaptive_pooling: (
        "_adaptive_avg_pool2d _adaptive_avg_pool3d "
        "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d "
        "adaptive_max_pool2d adaptive_max_pool3d"
    ),
    moving.interpolation: (
        "_upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d "
        "upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d "
        "upsample_nearest2d upsample_nearest3d upsample_trilinear3d"
    ),
    moving.padding: (
        "constant_pad_nd pad reflection_pad1d reflection_pad2d reflection_pad3d "
        "replication_pad1d replication_pad2d replication_pad3d"
    ),
    moving.repeating: "repeat_interleave",
    rearranging.pixel_shuffle: "pixel_shuffle",
    rearranging.pixel_unshuffle: "pixel_unshuffle",
}

HANDLERS: dict[str, Handler] = {
    name: handler for handler, names in _BY_HANDLER.items() for name in names.split()
}


def handler_of(call: Call) -> Handler:
    """How an operation is handled; torch itself marks those that go element by element."""
    return HANDLERS.get(call.name) or (mixing.pointwise if call.pointwise else Walk.unfollowed)
