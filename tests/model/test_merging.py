"""Token merging against a slow and obvious reference."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from janus_vit.model.merging import match_tokens, merge_tokens


def reference(tokens, sizes, keys, merges, protected):
    """One input, tokens [T, C], with plain loops: pair, sort, average."""
    metric = keys.mean(dim=0)
    count = len(tokens)
    group_a, group_b = range(protected, count, 2), range(protected + 1, count, 2)
    proposals = []
    for a in group_a:
        similarity = [torch.cosine_similarity(metric[a], metric[b], dim=0).item() for b in group_b]
        best = max(range(len(similarity)), key=similarity.__getitem__)
        proposals.append((similarity[best], a, group_b[best]))
    groups = {index: [index] for index in range(count)}
    for _, a, b in sorted(proposals, reverse=True)[:merges]:
        groups[b] += groups.pop(a)
    means, totals = [], []
    for index in sorted(groups):
        members = groups[index]
        total = sum(sizes[member] for member in members)
        means.append(sum(tokens[member] * sizes[member] for member in members) / total)
        totals.append(total)
    return torch.stack(means), torch.stack(totals)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(0, 4), st.integers(4, 40), st.data())
def test_merging_equals_the_obvious_reference(seed, batch, protected, mergeable, data):
    merges = data.draw(st.integers(1, mergeable // 2))
    generator = torch.Generator().manual_seed(seed)
    count = protected + mergeable
    tokens = torch.randn(batch, count, 6, generator=generator, dtype=torch.float64)
    keys = torch.randn(batch, 2, count, 5, generator=generator, dtype=torch.float64)
    sizes = torch.randint(1, 9, (batch, count), generator=generator).double()
    merged, merged_sizes = merge_tokens(tokens, sizes, match_tokens(keys, merges, protected))
    for index in range(batch):
        expected, expected_sizes = reference(tokens[index], sizes[index], keys[index], merges, protected)
        torch.testing.assert_close(merged[index], expected)
        torch.testing.assert_close(merged_sizes[index], expected_sizes)


def test_the_most_similar_pair_merges_into_its_weighted_mean():
    keys = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1], [-1.0, 0.0]])[None, None]
    tokens = torch.tensor([[2.0], [10.0], [4.0], [20.0]])[None]
    sizes = torch.tensor([[1.0, 1.0, 3.0, 1.0]])
    # A = {0, 2}, B = {1, 3}: token 2 and token 1 are closest (cosine 0.0995), weights 3 and 1.
    merged, merged_sizes = merge_tokens(tokens, sizes, match_tokens(keys, 1, protected=0))
    torch.testing.assert_close(merged, torch.tensor([[[2.0], [5.5], [20.0]]]))
    assert merged_sizes.tolist() == [[1.0, 4.0, 1.0]]


def test_several_tokens_may_merge_into_one():
    keys = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.01], [-1.0, 0.0], [1.0, 0.02], [0.0, -1.0]])[None, None]
    tokens = torch.tensor([[0.0], [1.0], [2.0], [50.0], [9.0], [60.0]])[None]
    sizes = torch.ones(1, 6)
    merged, merged_sizes = merge_tokens(tokens, sizes, match_tokens(keys, 3, protected=0))
    torch.testing.assert_close(merged, torch.tensor([[[3.0], [50.0], [60.0]]]))
    assert merged_sizes.tolist() == [[4.0, 1.0, 1.0]]
