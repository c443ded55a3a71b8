"""Triton kernels that write rows: sizes into keys, and the residual stream with its norm, merged or not.

Rows of all frames lie one behind the other. `before` and `after`, int32 [F + 1], hold the first row of each frame and
the end, as the block begins and as it ends. Frames may be empty. A program without work returns at once, so that the
grid may be larger than the batch, as it is in a CUDA graph. No sum depends on the order in which programs run.
"""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["rows"])
def mark_sizes(
    keys,
    sizes,
    rows,
    stride: tl.constexpr,
    heads: tl.constexpr,
    wide: tl.constexpr,
    first_channel: tl.constexpr,
    block: tl.constexpr,
):
    """Write the logarithm of each size, in two parts, into two channels of all heads of its key.

    Args:
        keys: [rows, heads, wide], stride values from row to row.
        sizes: [rows] float32.
        first_channel: the first of the two.
    """
    place = tl.program_id(0) * block + tl.arange(0, block)
    row, head = place // heads, place % heads
    there = row < rows
    logs = tl.log(tl.load(sizes + row, mask=there, other=1.0))
    high = logs.to(keys.dtype.element_ty)
    low = (logs - high.to(tl.float32)).to(keys.dtype.element_ty)
    target = keys + row.to(tl.int64) * stride + head * wide + first_channel
    tl.store(target, high, mask=there)
    tl.store(target + 1, low, mask=there)


@triton.jit
def _summed(x, branch, branch_bias, row, channel, there, width: tl.constexpr, add: tl.constexpr):
    """One row of x plus the same row of the branch and the branch's bias, float32 [block]."""
    place = row.to(tl.int64) * width + channel
    values = tl.load(x + place, mask=there, other=0.0).to(tl.float32)
    if add:
        values += tl.load(branch + place, mask=there, other=0.0).to(tl.float32)
        values += tl.load(branch_bias + channel, mask=there, other=0.0).to(tl.float32)
    return values


@triton.jit
def _write_norm(normalised, values, weight, bias, eps, row, channel, there, width: tl.constexpr):
    """Write the layer norm of one row, float32 [block]."""
    mean = tl.sum(values, axis=0) / width
    centred = tl.where(there, values - mean, 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, axis=0) / width + eps)
    gain = tl.load(weight + channel, mask=there, other=0.0).to(tl.float32)
    shift = tl.load(bias + channel, mask=there, other=0.0).to(tl.float32)
    place = normalised + row.to(tl.int64) * width + channel
    tl.store(place, (centred * scale * gain + shift).to(normalised.dtype.element_ty), mask=there)


@triton.jit
def add_norm(
    x,
    branch,
    branch_bias,
    out,
    normalised,
    weight,
    bias,
    eps,
    width: tl.constexpr,
    block: tl.constexpr,
    add: tl.constexpr,
):
    """Add a branch to the residual stream and normalise the sum. One program a row.

    Args:
        x: [rows, width] residual stream.
        branch: [rows, width], left out unless add.
        branch_bias: [width] float32.
        out: [rows, width] the sum; may be x. Not written unless add.
        normalised: [rows, width].
        weight: [width] of the norm.
        bias: [width] of the norm.
    """
    row = tl.program_id(0)
    channel = tl.arange(0, block)
    there = channel < width
    values = _summed(x, branch, branch_bias, row, channel, there, width, add)
    stored = values.to(out.dtype.element_ty)
    if add:
        tl.store(out + row.to(tl.int64) * width + channel, stored, mask=there)
    _write_norm(normalised, stored.to(tl.float32), weight, bias, eps, row, channel, there, width)


@triton.jit
def merge_norm(
    x,
    branch,
    branch_bias,
    sizes,
    before,
    after,
    origin,
    begin,
    finish,
    sources,
    out,
    out_sizes,
    normalised,
    weight,
    bias,
    eps,
    protected: tl.constexpr,
    width: tl.constexpr,
    block: tl.constexpr,
):
    """Add a branch to the residual stream, merge its rows and normalise them. Programs: frames x rows that remain.

    Args:
        x: [N, width] residual stream before.
        branch: [N, width].
        branch_bias: [width] float32.
        sizes: [N] float32 patches each row stands for.
        origin: as `select` writes it, and likewise begin, finish and sources.
        out: [rows after, width] residual stream; not x.
        out_sizes: [rows after] float32.
        normalised: [rows after, width].
        weight: [width] of the norm.
        bias: [width] of the norm.
    """
    frame, index = tl.program_id(0), tl.program_id(1)
    first, end = tl.load(before + frame), tl.load(before + frame + 1)
    kept_first, kept_end = tl.load(after + frame), tl.load(after + frame + 1)
    row = kept_first + index
    if row >= kept_end:
        return
    moved = (end - first > kept_end - kept_first) & (index >= protected)
    own = first + tl.load(origin + row, mask=moved, other=0) + tl.where(moved, 0, index)
    start, stop = tl.load(begin + row, mask=moved, other=0), tl.load(finish + row, mask=moved, other=0)
    channel = tl.arange(0, block)
    there = channel < width
    values = _summed(x, branch, branch_bias, own, channel, there, width, True)
    total = tl.load(sizes + own)
    if stop > start:
        values *= total
        for place in range(start, stop):
            source = first + tl.load(sources + first + place)
            size = tl.load(sizes + source)
            values += _summed(x, branch, branch_bias, source, channel, there, width, True) * size
            total += size
        values /= total
    stored = values.to(out.dtype.element_ty)
    tl.store(out + row.to(tl.int64) * width + channel, stored, mask=there)
    tl.store(out_sizes + row, total)
    _write_norm(normalised, stored.to(tl.float32), weight, bias, eps, row, channel, there, width)
