"""The generator: published vectors, independence of batch and shape, distributions, frozen values."""

import struct

import numpy as np
import pytest
import torch
from scipy import stats

from bench import rng

MASK = 0xFFFFFFFF
IDS = [f"img{i}" for i in range(12)]
DRAWS = {
    "bits": rng.bits,
    "uniform": rng.uniform,
    "normal": rng.normal,
    "integers": lambda keys, shape, stream=0: rng.integers(keys, -3, 1000, shape, stream),
    "poisson": lambda keys, shape, stream=0: rng.poisson(keys, levels(keys, shape), [0.0, 7.3], stream),
}


def levels(keys, shape, level=1):
    """Which of the rates of `poisson` each element has."""
    return torch.full((len(keys.words_N2), *shape), level, dtype=torch.uint8)


every_draw = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """On a busy machine threads wait longer for each other than these small tensors take."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def keys():
    return rng.keys(3, "noise", IDS)


def reference_threefry(key, counter):
    """Threefry-2x32-20 of Salmon et al. 2011 in Python integers."""
    schedule = (*key, key[0] ^ key[1] ^ 0x1BD11BDA)
    x0, x1 = (counter[0] + key[0]) & MASK, (counter[1] + key[1]) & MASK
    for turn in range(20):
        left = (13, 15, 26, 6, 17, 29, 16, 24)[turn % 8]
        x0 = (x0 + x1) & MASK
        x1 = ((x1 << left) | (x1 >> (32 - left))) & MASK ^ x0
        if turn % 4 == 3:
            j = turn // 4 + 1
            x0, x1 = (x0 + schedule[j % 3]) & MASK, (x1 + schedule[(j + 1) % 3] + j) & MASK
    return x0, x1


def int32(*words):
    return torch.tensor(struct.unpack(f"<{len(words)}i", struct.pack(f"<{len(words)}I", *words))).int()


def unsigned(words):
    return words.numpy().view(np.uint32).astype(np.int64)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),  # "threefry2x32 20" in Random123's kat_vectors
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((MASK, MASK), (MASK, MASK), (0x1CB996FC, 0xBB002BE7)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ],
)
@pytest.mark.parametrize("copies", [1, 37])  # the tail of a vector loop, and the loop
def test_threefry_gives_the_published_words(counter, key, expected, copies):
    out = rng.threefry(*(word.expand(copies) for word in int32(*key, *counter)[:, None]))
    assert torch.equal(torch.stack(out), int32(*expected)[:, None].expand(2, copies))
    assert reference_threefry(key, counter) == expected


def test_element_j_is_word_j_mod_2_of_block_j_div_2(keys):
    got = unsigned(rng.bits(keys, (41,), stream=5))
    for row, key in zip(got, unsigned(keys.words_N2).tolist(), strict=True):
        assert row.tolist() == [reference_threefry(key, (j // 2, 5))[j % 2] for j in range(41)]


@every_draw
def test_an_element_depends_on_its_flat_index_and_not_on_the_shape(draw, keys):
    image = draw(keys, (3, 10, 14))
    assert image.shape == (12, 3, 10, 14)
    assert torch.equal(image.flatten(1), draw(keys, (700,)).flatten(1)[:, :420])
    for size in (1, 7, 419):
        assert torch.equal(image.flatten(1)[:, :size], draw(keys, (size,)))
    assert torch.equal(image[:, 0, 0, 0], draw(keys, ()))


@every_draw
def test_a_sample_does_not_depend_on_batch_order_or_tile(draw, keys, monkeypatch):
    expected = draw(keys, (5, 31))
    for some in ([4], [9, 2, 4], list(reversed(range(12)))):
        assert torch.equal(draw(rng.keys(3, "noise", [IDS[i] for i in some]), (5, 31)), expected[some])
    monkeypatch.setattr(rng, "_TILE", 29)
    monkeypatch.setattr(torch.Tensor, "is_cpu", False)
    assert torch.equal(draw(keys, (5, 31)), expected)


@every_draw
@pytest.mark.parametrize("size", [1, 2, 2047, 2048, 2049, 5001])
def test_compiled_loops_and_tensor_operations_give_the_same_numbers(draw, keys, size, monkeypatch):
    compiled = draw(keys, (size,), 11)
    monkeypatch.setattr(torch.Tensor, "is_cpu", False)  # every choice between the two goes by it
    assert torch.equal(draw(keys, (size,), 11), compiled)


def test_threads_do_not_change_a_number():
    keys, shape = rng.keys(0, "threads", ["a"]), (140_001,)  # 70,001 blocks: torch gives a thread 32,768
    expected = rng.normal(keys, shape)
    torch.set_num_threads(2)
    try:
        assert torch.equal(rng.normal(keys, shape), expected)
    finally:
        torch.set_num_threads(1)


@every_draw
def test_global_state_is_neither_used_nor_changed(draw, keys):
    expected, state = draw(keys, (9,)), torch.get_rng_state()
    torch.manual_seed(99)
    torch.set_default_dtype(torch.float64)
    try:
        again = draw(keys, (9,))
    finally:
        torch.set_default_dtype(torch.float32)
    assert again.dtype == expected.dtype
    assert torch.equal(again, expected)
    torch.set_rng_state(state)
    draw(keys, (9,))
    assert torch.equal(torch.get_rng_state(), state)


@every_draw
def test_no_samples_and_no_elements_give_empty_tensors(draw, keys):
    assert draw(rng.keys(0, "c", []), (3, 4)).shape == (0, 3, 4)
    assert draw(keys, (3, 0)).shape == (12, 3, 0)


@every_draw
def test_a_negative_stream_is_refused(draw, keys):
    with pytest.raises(ValueError, match=r"from 0 to 2\^31 - 1, got -1"):
        draw(keys, (2,), -1)


def test_seed_condition_id_fold_and_stream_all_matter(keys):
    first = rng.keys(0, "c", ["a"])
    others = [rng.keys(1, "c", ["a"]), rng.keys(0, "d", ["a"]), rng.keys(0, "c", ["b"])]
    others += [first.fold("x"), first.fold("y"), first.fold("x").fold("y"), first.fold("y").fold("x")]
    draws = [rng.bits(k, (64,)) for k in (first, *others)]
    draws += [rng.bits(first, (64,), stream=s) for s in (1, 2, 2**31 - 1)]
    assert len({tuple(draw.flatten().tolist()) for draw in draws}) == len(draws)


def test_the_parts_of_a_key_do_not_run_into_each_other():
    named = [(1, "ab", "c"), (1, "a", "bc"), (11, "", "abc"), (1, 'a", "b', "c"), (1, "1", ""), (11, "", "")]
    words = {tuple(rng.keys(seed, text, [name]).words_N2[0].tolist()) for seed, text, name in named}
    assert len(words) == len(named)


def test_a_file_name_that_is_not_utf8_makes_a_key():
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    assert rng.keys(0, "c", [name]).fold(name).words_N2.shape == (1, 2)


def test_numbers_stay_as_they_were_when_results_were_stored():
    keys = rng.keys(7, "noise", ["a", "b"])
    assert keys.words_N2.tolist() == [[-2070478077, -355912134], [1078223626, -1297714327]]
    assert keys.fold("x").words_N2.tolist() == [[1070174363, 1367839410], [1328216299, 1098204531]]
    assert rng.bits(keys, (2,)).tolist() == [[-1049434314, -2112848384], [-77195580, 1048040383]]
    assert rng.integers(keys, 0, 100, (4,)).tolist() == [[75, 50, 47, 16], [98, 24, 51, 36]]
    normals = [["-0x1.e0b56ap-6", "0x1.286a28p+0"], ["-0x1.8f2684p-3", "-0x1.806b02p-3"]]
    assert rng.normal(keys, (2,)).tolist() == [[float.fromhex(value) for value in row] for row in normals]
    assert rng.poisson(keys, levels(keys, (4,), 0), [12.3]).tolist() == [[10, 5, 19, 14], [12, 14, 6, 16]]


def test_uniform_is_the_top_24_bits(keys):
    values = rng.uniform(keys, (1000,))
    assert values.dtype == torch.float32
    # The sign bit of int32 is inverted, as the shift is arithmetic and half is added.
    top = (unsigned(rng.bits(keys, (1000,))) ^ 0x80000000) >> 8
    np.testing.assert_array_equal(values.double().numpy() * 2.0**24, top)


def test_uniform_stays_in_its_interval_at_the_ends():
    ends, _ = rng._units(torch.tensor([-(2**31), 2**31 - 1], dtype=torch.int32), torch.zeros(2, dtype=torch.int32))
    assert ends.tolist() == [0.0, 1 - 2.0**-24]


@pytest.mark.parametrize(("draw", "law"), [(rng.uniform, stats.uniform), (rng.normal, stats.norm)])
def test_values_follow_their_distribution(draw, law):
    values = draw(rng.keys(0, "law", ["a", "b"]), (100_000,)).double().numpy()
    for row in values:
        assert stats.kstest(row, law.cdf).pvalue > 1e-3
        assert stats.kstest(row[::2], law.cdf).pvalue > 1e-3
        assert stats.kstest(row[1::2], law.cdf).pvalue > 1e-3


def test_normal_has_gaussian_moments_and_tails():
    values = rng.normal(rng.keys(0, "tails", ["a"]), (2_000_000,)).double().numpy().ravel()
    n = values.size
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((values**power).mean() - moment) < 4 * np.sqrt(variance / n)
    for cut in (3.0, 4.0, 4.5):
        expected = 2 * n * stats.norm.sf(cut)
        assert abs((np.abs(values) > cut).sum() - expected) < 4 * np.sqrt(expected)


def test_normal_is_the_box_muller_transform_of_its_bits():
    keys = rng.keys(0, "exact", ["a"])
    word0, word1 = rng.bits(keys, (200_000,)).double().numpy().reshape(-1, 2).T
    radius = np.sqrt(-2 * np.log((np.where(word0 < 0, word0 + 2.0**31, word0) + 0.5) / 2.0**31))
    angle = np.pi / 2 * word1 / 2.0**31 + np.where(word0 < 0, np.pi, 0)
    error = rng.normal(keys, (200_000,)).double().numpy().reshape(-1, 2).T
    error -= radius * np.cos(angle), radius * np.sin(angle)
    # float32 holds the uniform of the radius to 2^-25, which moves the radius by at most 2^-25 / radius.
    assert (np.abs(error) < 1.5e-6 + 2.0**-25 / radius).all()


def test_normal_is_finite_at_the_extreme_words():
    words = torch.tensor([0, -1, 1, 2**31 - 1, -(2**31), 2**30], dtype=torch.int32)
    word0, word1 = (grid.flatten().contiguous() for grid in torch.meshgrid(words, words, indexing="ij"))
    values = torch.stack(rng._box_muller(word0.clone(), word1))
    assert values.isfinite().all()
    assert 6.6 < values.abs().max() < 6.7


def test_the_logarithm_is_never_negative_up_to_one():
    near_one = torch.arange(2**14, dtype=torch.int32).neg_().add_(0x3F800000).view(torch.float32)
    assert (rng._minus_2_log(near_one) >= 0).all()
    assert rng._minus_2_log(torch.ones(1)).item() == 0


@pytest.mark.parametrize("rate", [0.0, 0.3, 3.0, 12.0, 60.0, 300.0, 699.9])
def test_poisson_counts_follow_their_distribution(rate):
    level = torch.zeros(2, 40_000, dtype=torch.uint8)
    counts = rng.poisson(rng.keys(0, "shot", ["a", "b"]), level, [rate]).numpy().ravel()
    if rate == 0:
        assert not counts.any()
        return
    assert (counts == np.floor(counts)).all()
    cells = np.unique(stats.poisson.ppf(np.linspace(0, 1, 40)[1:-1], rate))
    observed = np.histogram(counts, [-1, *cells + 0.5, np.inf])[0]
    probabilities = np.diff(stats.poisson.cdf([-1, *cells, np.inf], rate))
    assert stats.chisquare(observed, probabilities * counts.size).pvalue > 1e-3
    assert abs(counts.mean() - rate) < 4 * np.sqrt(rate / counts.size)
    assert abs(counts.var() / rate - 1) < 4 * np.sqrt((2 + 1 / rate) / counts.size)


def test_a_poisson_count_is_the_quantile_of_its_word():
    rates = [value / 255 * 60 for value in range(256)]
    keys, level = rng.keys(0, "quantile", ["a"]), torch.arange(256, dtype=torch.uint8).repeat(1, 40)
    word = rng.bits(keys, (256 * 40,)).numpy().astype(np.float64)
    expected = stats.poisson.ppf((word + 2.0**31 + 0.5) / 2.0**32, np.array(rates)[level.numpy()])
    np.testing.assert_array_equal(rng.poisson(keys, level, rates).numpy(), expected)


def test_poisson_does_not_depend_on_the_other_rates_or_on_the_layout(keys):
    level = rng.integers(keys, 0, 3, (3, 8, 9), stream=1).to(torch.uint8)
    expected = rng.poisson(keys, level, [1.5, 20.0, 3.0])
    last = level.to(memory_format=torch.channels_last)
    assert torch.equal(rng.poisson(keys, last, [1.5, 20.0, 3.0]), expected)
    assert torch.equal(rng.poisson(keys, level, [1.5, 20.0, 3.0, 650.0]), expected)


def test_each_call_of_draws_takes_the_next_stream(keys):
    draws = rng.Draws(keys)
    assert (len(draws), draws.device) == (12, keys.words_N2.device)
    assert torch.equal(draws.uniform(3, 5), rng.uniform(keys, (3, 5), 0))
    assert torch.equal(draws.normal(7), rng.normal(keys, (7,), 1))
    assert torch.equal(draws.integers(-2, 9, 4), rng.integers(keys, -2, 9, (4,), 2))
    level = levels(keys, (6,), 0)
    assert torch.equal(draws.poisson(level, [3.0]), rng.poisson(keys, level, [3.0], 3))


def test_integers_cover_their_interval_evenly(keys):
    values = rng.integers(keys, -2, 5, (10_000,))
    assert values.dtype == torch.int64
    counts = torch.bincount((values + 2).flatten(), minlength=7)
    assert len(counts) == 7
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3
    assert rng.integers(keys, 4, 5, (3,)).unique().tolist() == [4]
    wide = rng.integers(keys, -(2**30), 2**30, (1000,))
    assert -(2**30) <= wide.min() < -(2**29) < 2**29 < wide.max() < 2**30


def test_neighbouring_ids_streams_folds_and_elements_are_uncorrelated():
    n, keys = 50_000, rng.keys(0, "pairs", ["0", "1", "2"])
    plain = rng.normal(keys, (n,))
    others = [rng.normal(keys, (n,), stream=1), rng.normal(keys.fold("x"), (n,))]
    table = torch.cat([plain, *others, plain.roll(1, 1), plain.roll(2, 1)]).double().numpy()
    for values in (table, table**2):
        off_diagonal = np.corrcoef(values)[~np.eye(len(values), dtype=bool)]
        assert np.abs(off_diagonal).max() < 4.8 / np.sqrt(n)


def test_every_key_bit_and_counter_bit_flips_half_the_output():
    base = [0x12345678, 0x0BADF00D, 77, 3]
    words = [[word ^ (bit >> (32 * i) & MASK) for bit in (1 << b for b in range(128))] for i, word in enumerate(base)]
    after = np.stack([unsigned(word) for word in rng.threefry(*(int32(*word) for word in words))], 1)
    changed = (after ^ reference_threefry(base[:2], base[2:])).astype("<u4").view(np.uint8)
    flips = np.unpackbits(changed, axis=1).sum(1)
    assert abs(flips.mean() - 32) < 4 * np.sqrt(16 / 128)
    assert flips.min() > 12


@pytest.mark.parametrize(("low", "high"), [(3, 3), (4, 3), (0, 2**31 + 1)])
def test_integers_refuse_an_empty_or_too_wide_interval(keys, low, high):
    with pytest.raises(ValueError, match=rf"low < high <= low \+ 2\^31, got low={low}, high={high}"):
        rng.integers(keys, low, high, (1,))


@pytest.mark.parametrize("wrong", [-0.1, 700.1, float("inf"), float("nan")])
def test_poisson_refuses_a_rate_out_of_range(keys, wrong):
    with pytest.raises(ValueError, match=r"rates in \[0, 700\], got"):
        rng.poisson(keys, levels(keys, (5,)), [1.0, wrong])


@pytest.mark.parametrize("shape", [(), (11, 5)])
def test_poisson_refuses_rates_that_do_not_match_the_keys(keys, shape):
    with pytest.raises(ValueError, match="a row of levels for each of 12 keys, got shape"):
        rng.poisson(keys, torch.zeros(shape, dtype=torch.uint8), [1.0])
