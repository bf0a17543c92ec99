"""Which operation of a program is handled how. What is in no table is named as not followed."""

from collections.abc import Callable

from dilsearch.tracing import mixing, moving
from dilsearch.tracing.calls import Call
from dilsearch.tracing.values import Value
from dilsearch.tracing.walk import Walk

Handler = Callable[[Walk, Call], Value | list[Value]]

_BY_HANDLER: dict[Handler, str] = {
    mixing.same: (
        "_assert_tensor_metadata _to_copy alias alpha_dropout batch_norm bernoulli clone "
        "contiguous copy _native_batch_norm_legit_no_training detach dropout feature_alpha_dropout "
        "feature_dropout fill hardswish lift_fresh_copy log_sigmoid native_batch_norm "
        "native_dropout prelu rrelu threshold to tril triu type_as view_as_real"
    ),
    mixing.constant: (
        "empty_like full_like new_empty new_full new_ones new_zeros ones_like rand_like "
        "randn_like zeros_like"
    ),
    mixing.permutation: "adjoint mT movedim numpy_T permute swapaxes t transpose",
    mixing.reshaping: "_unsafe_view flatten reshape reshape_as unflatten view view_as",
    mixing.squeezing: "squeeze unsqueeze",
    mixing.expanding: "expand expand_as repeat",
    mixing.concatenation: "cat concat stack",
    mixing.splitting: "chunk split split_with_sizes tensor_split unbind unsafe_chunk unsafe_split",
    mixing.slicing: "narrow slice",
    mixing.selecting: "select",
    mixing.picking: "index index_select",
    mixing.flipping: "flip",
    mixing.shuffling: "channel_shuffle native_channel_shuffle",
    mixing.reduction: (
        "all amax amin any argmax argmin linalg_vector_norm logsumexp max mean min norm prod std "
        "std_mean sum var var_mean"
    ),
    mixing.softmax: "_log_softmax _softmax log_softmax softmax",
    mixing.statistics: "group_norm instance_norm native_group_norm",
    mixing.layer_norm: "layer_norm rms_norm",
    mixing.linear: "linear",
    mixing.product: "addmm baddbmm bmm matmul mm",
    mixing.attention: "_scaled_dot_product_flash_attention scaled_dot_product_attention einsum",
    mixing.running: "cummax cumprod cumsum",
    mixing.gated: "glu",
    moving.convolution: (
        "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution"
    ),
    moving.pooling: "avg_pool1d avg_pool2d avg_pool3d max_pool1d max_pool2d max_pool3d",
    moving.adaptive_pooling: (
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
    moving.pixel_shuffle: "pixel_shuffle",
    moving.pixel_unshuffle: "pixel_unshuffle",
}

HANDLERS: dict[str, Handler] = {
    name: handler for handler, names in _BY_HANDLER.items() for name in names.split()
}


def handler_of(call: Call) -> Handler:
    """How an operation is handled; torch itself marks those that go element by element."""
    return HANDLERS.get(call.name) or (Walk.pointwise if call.pointwise else Walk.unfollowed)
