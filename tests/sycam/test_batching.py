"""Batches found by trying, the precision of masked passes, and the same bits twice."""

from __future__ import annotations

import pytest
import torch
from worlds import gathered, tiny_images, tiny_network

from sycam.cams import cam_from_text
from sycam.errors import SycamError
from sycam.metrics.own.find import find_metric
from sycam.network import batching, load_network
from sycam.network.batching import batch_by_trying, fastest, images_at_once
from sycam.network.device import computing_in
from sycam.scoring import MetricOracle

TEXTS = ["(gap G)", "(gap (m* A G))", "(m* A (mrelu G))", "(/ (gap (m* A G)) (gap A))"]


def scores(network, batch):
    oracle = MetricOracle(gathered(network, tiny_images(12), ("A", "G")), find_metric("average-gain"), batch=batch)
    return oracle.score(oracle.maps([cam_from_text(text).term for text in TEXTS])[0], torch.arange(12))


def test_the_choice_follows_the_clock_and_a_batch_too_large_for_memory_is_dropped():
    seconds = {8: [9.0, 1.0, 1.0, 1.0], 16: [0.1, 0.8, 0.6, 0.7], 32: [0.1, 0.1]}
    asked = []

    def trial(batch):
        asked.append(batch)
        return seconds[batch].pop(0) if seconds[batch] else None

    assert fastest(trial, [8, 16, 32], 100.0, rounds=3) == 16  # the first round warms up; 32 ran out of memory in the third
    assert asked == [8, 16, 32, 8, 16, 32, 8, 16, 32, 8, 16]


def test_a_default_that_memory_does_not_hold_gives_way():
    assert fastest({8: None, 4: 1.0, 2: 2.0}.get, [8, 4, 2], 1.0) == 4
    assert fastest({8: None}.get, [8], 1.0) == 1


def test_few_passes_are_not_worth_trying_and_many_are_tried_once(monkeypatch):
    network, tried = tiny_network(), []
    monkeypatch.setattr(batching, "_found", {})
    default = images_at_once(network.device, 16, 16)
    monkeypatch.setattr(batching, "fastest", lambda trial, choices, seconds: tried.append(list(choices)) or 7)
    monkeypatch.setattr(batching._Trial, "__call__", lambda self, batch: 0.001)
    assert batch_by_trying(network, (16, 16), 59_000) == default and not tried  # less than a minute
    assert batch_by_trying(network, (16, 16), 61_000) == 7
    assert batch_by_trying(network, (16, 16), 10**6) == 7
    assert tried == [[default, default // 4, default // 2, default * 2, default * 4]]
    with torch.no_grad():
        next(iter(network.model.parameters())).add_(1)
    network.memo.pop("weights_digest")
    assert batch_by_trying(network, (16, 16), 10**6) == 7 and len(tried) == 2  # another network is tried anew


def test_trying_counts_no_passes_and_takes_the_same_network():
    network = tiny_network()
    trial = batching._Trial(network, (16, 16))
    before = network.passes.full
    assert trial(4) > 0
    assert network.passes.full == before


def test_a_cpu_that_runs_out_of_memory_halves_the_batch_too(monkeypatch):
    network = tiny_network()
    expected, logits = scores(network, 4), network.logits

    def small(images):
        if len(images) > 5:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried ...")
        return logits(images)

    monkeypatch.setattr(network, "logits", small)
    assert batching._Trial(network, (16, 16))(8) is None
    torch.testing.assert_close(scores(network, 32), expected, atol=1e-6, rtol=0)


def test_scores_are_bit_equal_when_repeated_and_within_1e_5_with_another_batch():
    first = scores(tiny_network(), 8)
    again = scores(tiny_network(), 8)
    assert torch.equal(first, again)
    torch.testing.assert_close(scores(tiny_network(), 5), first, atol=1e-5, rtol=0)


def test_bfloat16_rounds_masked_passes_only():
    def network(precision):
        return load_network("embedded", precision=precision)

    images = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    plain, rounded = network("float32"), network("bf16")
    assert rounded.logits(images).dtype == torch.float32
    difference = (plain.logits(images) - rounded.logits(images)).abs().max() / plain.logits(images).abs().max()
    assert 1e-5 < float(difference) < 0.05  # bfloat16 has 8 bits: 2^-9 an operation
    assert torch.equal(plain.activations(images)[0], rounded.activations(images)[0])
    assert rounded.describe()["precision"] == "bf16" and plain.describe()["precision"] == "float32"


def test_a_precision_that_is_none_or_not_to_be_had_is_said():
    with pytest.raises(SycamError, match="no precision 'half'; there are float32, tf32, bf16"):
        load_network("embedded", precision="half")
    with pytest.raises(SycamError, match="tf32 is a GPU's, and the device is cpu"):
        load_network("embedded", precision="tf32")


def test_torch_is_left_as_it_was():
    cudnn = torch.backends.cudnn.allow_tf32
    with pytest.raises(ZeroDivisionError), computing_in("bf16", torch.device("cpu")):
        _ = 1 // (not torch.is_autocast_enabled("cpu"))
    assert not torch.is_autocast_enabled("cpu")
    assert torch.backends.cudnn.allow_tf32 == cudnn
