"""Workers: the scores of one process, bit for bit, whatever becomes of the workers."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial

import pytest
import torch
from worlds import TinyVGG, compared, gathered, held, tiny_images, tiny_network

from sycam.cams import cam_from_text, find_cam, find_cams, terminal_variable
from sycam.errors import OracleError, SycamError, Unavailable
from sycam.job import ScoringSpec
from sycam.metrics.metric import Metric
from sycam.metrics.own.find import find_metric
from sycam.metrics.protocol import find_protocol
from sycam.network import Network, Preprocessing, load_network
from sycam.run import bench
from sycam.run.synthesize import synthesize
from sycam.scoring import MetricOracle
from sycam.scoring.blocks import block_of
from sycam.store import TerminalStore
from sycam.theory import CAM
from sycam.workers import RemoteOracle, open_pool, tabulate_on
from sycam.workers import pool as pool_module
from sycam.workers.tasks import describe_network, make_network, unpack_answers
from sycam.workers.transports import Died
from sycam.workers.worker import Worker
from sygus import Term

TEXTS = ["(gap G)", "(gap (m* A G))", "(m* A (mrelu G))", "(m* A G)", "(/ (gap (m* A G)) (gap A))", "(softmax (gap G))", "drop"]
NAMES = ["A", "G", "drop"]
PROTOCOL = find_protocol("opticam")
MIXED = [find_metric("average-gain"), find_metric("iou"), find_metric("coherency"), find_metric("adcc-of-means")]


def terms():
    return [cam_from_text(text).term for text in TEXTS]


@pytest.fixture(scope="module")
def network():
    return tiny_network()


@pytest.fixture(scope="module")
def pool(network):
    with open_pool(ScoringSpec(workers=2), network, PROTOCOL) as pool:
        yield pool


def scored(oracle, places):
    maps, finite = oracle.maps(terms(), places)
    return [maps, finite, *oracle.score_each(maps, places, terms())]


def same(found, expected):
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_two_workers_give_the_bits_of_one_process(network, pool):
    images, order = tiny_images(41), torch.randperm(41, generator=torch.Generator().manual_seed(3))
    passes = network.passes.full, network.passes.tail, network.passes.backward
    here = gathered(network, images, NAMES)
    one = MetricOracle(here, MIXED, batch=7, protocol=PROTOCOL)
    expected = [scored(one, places) for places in (torch.arange(41), order[:9])]
    between = network.passes.full, network.passes.tail, network.passes.backward
    steps = []
    there = held(pool, network, images, NAMES, on_batch=steps.append)
    two = RemoteOracle(there, MIXED, batch=7, protocol=PROTOCOL)
    found = [scored(two, places) for places in (torch.arange(41), order[:9])]
    after = network.passes.full, network.passes.tail, network.passes.backward
    assert all(same(a, b) for a, b in zip(found, expected, strict=True))
    assert two.spent == one.spent
    assert [b - a for a, b in zip(passes, between, strict=True)] == [b - a for a, b in zip(between, after, strict=True)]
    assert steps == sorted(steps) and steps[-1] == 41
    assert (
        torch.equal(there.classes, here.classes) and torch.equal(there.p, here.p) and torch.equal(there.predicted, here.predicted)
    )
    assert there.bytes == here.bytes
    assert torch.equal(there.values["G"][order[:5]], here.values["G"][order[:5]])
    assert two.of(find_metric("iou")).spent is two.spent


def test_no_batch_holds_images_of_two_blocks():
    network, images = tiny_network(), tiny_images(20)
    seen = []
    logits = network.logits
    network.logits = lambda x: seen.append(len(x)) or logits(x)
    oracle = MetricOracle(gathered(network, images, NAMES), find_metric("average-drop"), batch=64)
    maps, _ = oracle.maps(terms())
    oracle.score(maps, torch.arange(20))
    assert len(seen) == len(block_of(20).unique()) == 16
    assert sum(seen) == oracle.spent.passes


class Here:
    """A transport whose workers are objects of this process."""

    where, missing = "here", 0

    def __init__(self, count, device):
        self.count = count

    def start(self, number):
        return HereWorker()

    def options(self, number):
        return {"device": "cpu", "threads": None}

    def wait(self, workers):
        return workers[:1]

    def close(self):
        pass


class HereWorker:
    name = "worker"

    def __init__(self):
        self.worker, self.answers = Worker(), []

    def send(self, message):
        self.answers.append(self.worker.answer(message))

    def receive(self):
        return self.answers.pop()

    def interrupt(self):
        pass

    def close(self):
        pass


@pytest.mark.parametrize(("count", "busy"), [(40, 16), (1040, 20)])
def test_twenty_workers_have_the_bits_of_one_process(network, monkeypatch, count, busy):
    monkeypatch.setattr(pool_module, "Local", Here)
    images, places = tiny_images(count), torch.randperm(count)
    one = MetricOracle(gathered(network, images, NAMES), find_metric("average-gain"), protocol=PROTOCOL)
    with open_pool(ScoringSpec(workers=20), network, PROTOCOL) as pool:
        many = RemoteOracle(held(pool, network, images, NAMES), find_metric("average-gain"), protocol=PROTOCOL)
        assert same(scored(many, places), scored(one, places))
        assert sum(bool(slot.held) for slot in pool._slots) == busy
        assert asdict(many.spent) == asdict(one.spent)


def test_four_workers_that_end_over_the_same_images_are_enough(network, monkeypatch):
    monkeypatch.setattr(pool_module, "Local", Here)
    images, places, warnings = tiny_images(16), torch.arange(16), []
    one = MetricOracle(gathered(network, images, NAMES), find_metric("average-gain"), protocol=PROTOCOL)
    with open_pool(ScoringSpec(workers=5), network, PROTOCOL, warnings.append) as pool:
        oracle = RemoteOracle(held(pool, network, images, NAMES), find_metric("average-gain"), protocol=PROTOCOL)
        maps, _ = oracle.maps(terms())

        def receive(worker):
            answer = worker.answers.pop()
            if unpack_answers(answer)[1][-1].tensors.keys() == {"0"} and deaths:  # it has scored
                deaths.pop()
                raise Died("had too little memory and ended")
            return answer

        deaths = [None] * 100
        monkeypatch.setattr(HereWorker, "receive", receive)
        with pytest.raises(SycamError, match="4 workers ended over the same images, the last as worker had too little memory"):
            oracle.score(maps, places)
        assert len(deaths) < 97 and len(pool) < 5 and warnings
        deaths.clear()
        assert same(scored(oracle, places), scored(one, places))


def test_masks_boxes_labels_classes_and_protocol_travel(network, pool):
    images = tiny_images(18)
    boxes = [torch.tensor([[1.0, 2.0, 7.0, 9.0]] * (1 + i % 2), dtype=torch.float64) for i in range(18)]
    images = replace(images, boxes=boxes, class_names={3: "three"})
    metrics = [find_metric("ba"), find_metric("iou@0.3"), find_metric("average-drop")]
    one = MetricOracle(gathered(network, images, NAMES, images.labels), metrics, protocol=PROTOCOL)
    two = RemoteOracle(held(pool, network, images, NAMES, images.labels), metrics, protocol=PROTOCOL)
    assert same(scored(two, torch.arange(18)), scored(one, torch.arange(18)))
    assert not same(scored(one, torch.arange(18)), scored(MetricOracle(one.cache, metrics), torch.arange(18)))


def test_assumptions_are_verified_where_the_terminals_are(network, pool):
    images = tiny_images(20)
    here, there = gathered(network, images, ["A", "G"]), held(pool, network, images, ["A", "G"])
    found = {}
    for operator in ("nonneg", "uniform"):
        for name in ("A", "G"):
            assumption = Term(CAM.operators[operator].function, (Term(terminal_variable(name)),))
            found[operator, name] = there.failing(assumption)
            assert here.failing(assumption) == found[operator, name]
    assert found["nonneg", "A"] is None and found["nonneg", "G"] == 0


def test_ctrl_c_leaves_workers_that_can_be_asked_again(network, pool, request):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    images = tiny_images(32)
    oracle = RemoteOracle(held(pool, network, images, NAMES), find_metric("average-gain"))
    expected = scored(oracle, torch.arange(32))
    pids = [slot.worker.pid for slot in pool._slots]
    many = terms() * 400
    maps, _ = oracle.maps(many)
    maps = maps * torch.rand(len(maps), 1, 1, 1)  # no two alike
    threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        while True:
            oracle.score(maps, torch.arange(32))
    start = time.monotonic()
    assert same(scored(oracle, torch.arange(32)), expected)
    assert time.monotonic() - start < 5
    assert [slot.worker.pid for slot in pool._slots] == pids


def test_a_run_and_a_table_on_workers_are_those_of_one_process(network, pool, monkeypatch):
    @contextmanager
    def ready(spec, *given):
        yield pool if spec.workers else None

    monkeypatch.setattr(bench, "open_pool", ready)
    images = replace(tiny_images(24), masks=tiny_images(24).masks & (torch.arange(24) % 3 > 0)[:, None, None])
    for more in ({}, {"stopping": "racing", "similar": 0.05}):
        given = {"budget": 40, "protocol": "opticam", **more}
        one, two = (synthesize("gradient", None, network, images, workers=workers, **given) for workers in (None, 2))
        a, b = one.describe(), two.describe()
        told = {"count": 2, "where": "this machine", "device": "cpu", "threads": max(1, torch.get_num_threads() // 2)}
        assert (a["manifest"]["workers"], b["manifest"]["workers"]) == (None, told)
        for found in (a, b):
            found["counts"].pop("seconds")
            found["counts"].pop("network_passes")  # of the network, which both runs share
        for key in ("answer", "table", "counts", "verdict", "stopped_by", "goals", "warnings"):
            assert a[key] == b[key], key
    cams = [
        *find_cams("gradcam"),
        *find_cams("CAM"),
        *find_cams("eigencam"),
        *find_cams("controls"),
        find_cam("(exp (* 1000000.0 (gap A)))"),
    ]
    metrics = [find_metric("average-gain"), find_metric("iou"), find_metric("coherency"), find_metric("adcc-of-means")]
    given = {"optional": cams, "protocol": PROTOCOL, "classes": images.labels}
    one, two = (compared(cams, metrics, network, images, by=by, **given) for by in (None, partial(tabulate_on, pool)))
    assert (
        [c.name for c in one.cams]
        == [c.name for c in two.cams]
        == ["Grad-CAM", "EigenCAM", "Fake-CAM", "Random-CAM", "Centre-Gaussian"]
    )
    assert all(torch.equal(one.scores[m.name], two.scores[m.name]) for m in metrics)
    assert [(c.name, why) for c, why in one.skipped] == [(c.name, why) for c, why in two.skipped]
    assert (one.without_mask, one.empty) == (two.without_mask, two.empty)


def test_oracles_that_fail_in_workers(network, pool, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "def hot(query):\n    if 'image-9.png' in query.names:\n        raise ValueError('not this one')\n    return query.o\n"
    )
    images, places = tiny_images(20), torch.arange(20)
    metrics = [find_metric(f"{path}:hot"), find_metric("iou")]
    one = MetricOracle(gathered(network, images, NAMES), metrics, protocol=PROTOCOL)
    two = RemoteOracle(held(pool, network, images, NAMES), metrics, protocol=PROTOCOL)
    maps, _ = one.maps(terms())
    for stop in (False, True):
        errors: list[dict] = [{}, {}]
        a, b = (oracle.score_each(maps, places, None, lost, stop) for oracle, lost in zip((one, two), errors, strict=True))
        assert all(torch.equal(x.nan_to_num(nan=-1), y.nan_to_num(nan=-1)) for x, y in zip(a, b, strict=True))
        assert str(errors[0]["hot"]) == str(errors[1]["hot"]) and errors[1]["hot"].images == errors[0]["hot"].images
    with pytest.raises(OracleError, match=r"mine.py:3: ValueError: not this one; asked about image-9.png"):
        two.score(maps, places)


def test_workers_read_and_keep_terminals_on_disk(network, pool, tmp_path):
    images, store = tiny_images(20), TerminalStore(tmp_path, 10**9)
    first = held(pool, network, images, NAMES, store=store)
    before = vars(network.passes).copy()
    second = held(pool, network, images, NAMES, store=store)
    assert vars(network.passes) == before
    assert (first.stored.images_read, first.stored.images_computed) == (0, 20)
    assert (second.stored.images_read, second.stored.images_computed) == (20, 0)
    here = gathered(network, images, NAMES, store=store)
    assert here.stored.images_read == 20 and torch.equal(here.p, second.p)


def test_errors_of_workers_are_errors_here(network, pool):
    images = tiny_images(20)
    with pytest.raises(Unavailable, match="fc"):
        held(pool, network, images, ["fc"])
    with pytest.raises(SycamError, match="no terminal 'Q'"):
        held(pool, network, images, ["Q"])
    cache = held(pool, network, images, ["A"])
    with pytest.raises(SycamError, match="term uses 'G', which was not computed"):
        RemoteOracle(cache, find_metric("iou")).maps([cam_from_text("(gap G)").term])
    with pytest.raises(SycamError, match="'mine' was made in this process"):
        RemoteOracle(cache, Metric("mine", lambda query: query.o, "high"))
    with pytest.raises(SycamError, match="needs a mask"):
        RemoteOracle(held(pool, network, tiny_images(4, masks=False), ["A"]), find_metric("iou"))
    with pytest.raises(SycamError, match="so score must be given the 1 CAMs"):
        RemoteOracle(cache, find_metric("coherency")).score(torch.zeros(1, 20, 8, 8), torch.arange(20))


def test_modules_travel_or_are_refused():
    described, tensors = describe_network(tiny_network())
    assert "load" not in described and tensors["module"].dtype == torch.uint8

    class Local(TinyVGG):
        pass

    local = Network(Local().eval(), Preprocessing(16, (0.5,) * 3, (0.25,) * 3), "features.1")
    with pytest.raises(SycamError, match=r"Local cannot be sent to workers: .* is defined in a script or in a function"):
        describe_network(local)
    holder = tiny_network()
    holder.model.register_forward_hook(lambda *args: None)
    with pytest.raises(SycamError, match="cannot be sent to workers"):
        describe_network(holder)


def test_a_factory_that_draws_its_weights_is_told(tmp_path):
    (tmp_path / "random_net.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))\n"
    )
    network = load_network(f"{tmp_path}/random_net.py:build", size=16)
    with pytest.raises(SycamError, match="has other weights in a worker than here: its factory draws them at random"):
        make_network(*describe_network(network), "cpu")


def test_a_worker_killed_between_questions_and_one_killed_within(network, pool, monkeypatch):  # the last: it uses the pool up
    images, warnings = tiny_images(40), []
    pool._warn = warnings.append
    expected = scored(MetricOracle(gathered(network, images, NAMES), MIXED, protocol=PROTOCOL), torch.arange(40))
    oracle = RemoteOracle(held(pool, network, images, NAMES), MIXED)
    os.kill(pool._slots[0].worker.pid, signal.SIGKILL)
    assert same(scored(oracle, torch.arange(40)), expected)
    (warning,) = warnings
    assert "was ended by SIGKILL: another takes its place and computes the terminals" in warning
    again = pool._slots[0].worker
    sent = again.send
    again.send = lambda message: (sent(message), os.kill(again.pid, signal.SIGKILL))  # before it can answer
    assert same(scored(oracle, torch.arange(40)), expected)
    assert len(pool) == 1 and len(warnings) == 2 and "was ended by SIGKILL: the others take" in warnings[1]
    assert same(scored(oracle, torch.arange(40)), expected)
    monkeypatch.setattr(pool_module, "RESTARTS", 0)
    os.kill(pool._slots[0].worker.pid, signal.SIGKILL)
    for why in ("was ended by SIGKILL, and it was the last worker", "no worker is left"):
        with pytest.raises(SycamError, match=why):
            scored(oracle, torch.arange(40))
