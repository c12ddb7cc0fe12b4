"""Workers on a real Ray cluster of two nodes, one of which is killed."""

from __future__ import annotations

import time

import pytest
import torch
from worlds import gathered, held, tiny_images, tiny_network

from sycam.cams import cam_from_text
from sycam.job import ScoringSpec
from sycam.metrics.own.find import find_metric
from sycam.metrics.protocol import DEFAULT
from sycam.scoring import MetricOracle
from sycam.workers import RemoteOracle, open_pool

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'sycam[ray]'")

NAMES = ["A", "G"]


@pytest.fixture
def cluster(monkeypatch):
    """Two nodes of one CPU on this machine."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    node = {"num_cpus": 1, "object_store_memory": 80 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    cluster.add_node(**node)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_a_cluster_of_two_nodes_gives_the_bits_of_one_process_and_so_does_what_is_left_of_it(cluster):
    network, images, warnings = tiny_network(), tiny_images(24), []
    terms = [cam_from_text(text).term for text in ("(gap G)", "(m* A G)", "(softmax (gap G))")]
    metrics, places = [find_metric("average-gain"), find_metric("iou"), find_metric("coherency")], torch.randperm(24)

    def scored(oracle):
        maps, finite = oracle.maps(terms, places)
        return [maps, finite, *oracle.score_each(maps, places, terms)]

    expected = scored(MetricOracle(gathered(network, images, NAMES), metrics))
    with open_pool(ScoringSpec(ray=cluster.address), network, DEFAULT, warnings.append) as pool:
        names = [slot.worker.name for slot in pool._slots]
        assert len(pool) == 2 and len({name.split()[3] for name in names}) == 2, names
        oracle = RemoteOracle(held(pool, network, images, NAMES), metrics)
        assert all(torch.equal(a, b) for a, b in zip(scored(oracle), expected, strict=True))
        assert not warnings
        other = next(node for node in cluster.worker_nodes)
        cluster.remove_node(other, allow_graceful=False)
        deadline = time.monotonic() + 20
        while True:  # the node's processes outlive it for a moment, and answer
            assert all(torch.equal(a, b) for a, b in zip(scored(oracle), expected, strict=True))
            if len(pool) == 1 or time.monotonic() > deadline:
                break
        assert len(pool) == 1
        (warning,) = warnings
        assert "has ended" in warning and "the others take its 12 images" in warning
