"""Triton kernels that decide which tokens merge: `match` finds pairs, `select` chooses among those of a frame.

Arguments are as in `row_kernels`, whose `merge_norm` carries the decision out. Ties go to the lower index. Similarities
that are not numbers count as the least, so that a frame of such values merges as many tokens as any other.
"""

import triton
import triton.language as tl


@triton.jit
def _metric(
    keys,
    row,
    there,
    stride: tl.constexpr,
    heads: tl.constexpr,
    wide: tl.constexpr,
    head_width: tl.constexpr,
    block_width: tl.constexpr,
):
    """Mean of some keys over the heads, of length 1: float32 [rows, block_width]."""
    channel = tl.arange(0, block_width)
    mask = there[:, None] & (channel < head_width)[None, :]
    place = keys + row.to(tl.int64)[:, None] * stride + channel[None, :]
    total = tl.zeros([row.shape[0], block_width], tl.float32)
    for head in range(heads):
        total += tl.load(place + head * wide, mask=mask, other=0.0).to(tl.float32)
    mean = total / heads
    length = tl.sqrt(tl.sum(mean * mean, axis=1))
    return mean / tl.maximum(length, 1e-12)[:, None]


@triton.jit
def match(
    keys,
    before,
    after,
    best,
    partner,
    protected: tl.constexpr,
    stride: tl.constexpr,
    heads: tl.constexpr,
    wide: tl.constexpr,
    head_width: tl.constexpr,
    block_width: tl.constexpr,
    block: tl.constexpr,
):
    """Find the most similar token of set B for each token of set A. Programs: frames x blocks of set A.

    Args:
        keys: [N, heads, wide], of which the first head_width channels count; stride values from row to row.
        best: [N] float32 similarity of token a of a frame, at the frame's first row + a.
        partner: [N] int32 index in set B, at the same place.
    """
    frame = tl.program_id(0)
    first, end = tl.load(before + frame), tl.load(before + frame + 1)
    merges = end - first - (tl.load(after + frame + 1) - tl.load(after + frame))
    number_a, number_b = (end - first - protected + 1) // 2, (end - first - protected) // 2
    a = tl.program_id(1) * block + tl.arange(0, block)
    if (merges == 0) | (tl.program_id(1) * block >= number_a):
        return
    mine = _metric(keys, first + protected + 2 * a, a < number_a, stride, heads, wide, head_width, block_width)
    most = tl.full([block], float("-inf"), tl.float32)
    found = tl.zeros([block], tl.int32)
    for start in range(0, number_b, block):
        b = start + tl.arange(0, block)
        row = first + protected + 2 * b + 1
        theirs = _metric(keys, row, b < number_b, stride, heads, wide, head_width, block_width)
        similarity = tl.dot(mine, tl.trans(theirs), input_precision="ieee")
        comparable = (b < number_b)[None, :] & (similarity == similarity)
        similarity = tl.where(comparable, similarity, float("-inf"))
        nearest, index = tl.max(similarity, axis=1, return_indices=True)
        found = tl.where(nearest > most, start + index, found)
        most = tl.maximum(most, nearest)
    tl.store(best + first + a, most, mask=a < number_a)
    tl.store(partner + first + a, found, mask=a < number_a)


@triton.jit
def select(
    best,
    partner,
    before,
    after,
    origin,
    begin,
    finish,
    sources,
    protected: tl.constexpr,
    block: tl.constexpr,
    chunk: tl.constexpr,
):
    """Choose the most similar pairs of a frame and lay out which rows become one. One program a frame.

    Args:
        best: as `match` writes it.
        partner: as `match` writes it.
        origin: [N] int32: for each row that remains, its row before, from the frame's first.
        begin: [N] int32: for each row that remains, the first of the sources that merge into it.
        finish: [N] int32: the end of these sources.
        sources: [N] int32 rows that merge away, from the frame's first, grouped by where they go; those of a frame
            begin at the frame's first row.
        block: at least the tokens of set A.
    """
    frame = tl.program_id(0)
    first, end = tl.load(before + frame), tl.load(before + frame + 1)
    kept_first = tl.load(after + frame)
    merges = end - first - (tl.load(after + frame + 1) - kept_first)
    number_a, number_b = (end - first - protected + 1) // 2, (end - first - protected) // 2
    if merges == 0:
        return
    index = tl.arange(0, block)
    score = tl.load(best + first + index, mask=index < number_a, other=float("-inf"))
    target = tl.load(partner + first + index, mask=index < number_a, other=0)
    rank = tl.zeros([block], tl.int32)
    for start in range(0, number_a, chunk):
        other = start + tl.arange(0, chunk)
        rival = tl.load(best + first + other, mask=other < number_a, other=float("-inf"))
        ahead = rival[None, :] > score[:, None]
        ahead |= (rival[None, :] == score[:, None]) & (other[None, :] < index[:, None])
        rank += tl.sum((ahead & (other < number_a)[None, :]).to(tl.int32), axis=1)
    # The last pair that is chosen tells whether another one is, without a second look at all ranks.
    is_last = (rank == merges - 1) & (index < number_a)
    last_score = tl.max(tl.where(is_last, score, float("-inf")), axis=0)
    last_index = tl.max(tl.where(is_last, index, -1), axis=0)
    chosen = (rank < merges) & (index < number_a)
    slot, opens, closes = tl.zeros([block], tl.int32), tl.zeros([block], tl.int32), tl.zeros([block], tl.int32)
    for start in range(0, number_a, chunk):
        other = start + tl.arange(0, chunk)
        rival = tl.load(best + first + other, mask=other < number_a, other=float("-inf"))
        goes = (rival > last_score) | ((rival == last_score) & (other <= last_index))
        goes = (goes & (other < number_a))[None, :]
        place = tl.load(partner + first + other, mask=other < number_a, other=0)[None, :]
        same = (place == target[:, None]) & (other[None, :] < index[:, None])
        slot += tl.sum((goes & ((place < target[:, None]) | same)).to(tl.int32), axis=1)
        opens += tl.sum((goes & (place < index[:, None])).to(tl.int32), axis=1)
        closes += tl.sum((goes & (place <= index[:, None])).to(tl.int32), axis=1)
    gone = tl.cumsum(chosen.to(tl.int32), axis=0)  # chosen tokens of set A up to and with this one
    tl.store(sources + first + slot, protected + 2 * index, mask=chosen)
    # A token of set A remains unless it was chosen. All of set B remain; sources `opens` to `closes` merge into them.
    remains = (index < number_a) & (rank >= merges)
    row = kept_first + protected + 2 * index - gone
    tl.store(origin + row, protected + 2 * index, mask=remains)
    tl.store(begin + row, tl.zeros([block], tl.int32), mask=remains)
    tl.store(finish + row, tl.zeros([block], tl.int32), mask=remains)
    row += 1
    tl.store(origin + row, protected + 2 * index + 1, mask=index < number_b)
    tl.store(begin + row, opens, mask=index < number_b)
    tl.store(finish + row, closes, mask=index < number_b)
