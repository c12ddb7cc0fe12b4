"""The settings of terminals: checked, on the command line, in manifests, and the same in a run and after it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from worlds import compared, gathered, tiny_images, tiny_network

import sycam
from sycam.cams import find_cams
from sycam.errors import SycamError
from sycam.metrics.own.find import find_metric
from sycam.terminals import TerminalSettings, View

GRAMMAR = """(set-logic ALL)(declare-sort Map 0)(declare-fun gap (Map) Real)(declare-fun m* (Map Map) Map)
(synth-fun w ((G_noise Map) (shap Real)) Real ((W Real)(M Map)) ((W Real (shap (gap M) (* W W))) (M Map (G_noise))))
(check-synth)
"""


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"shap_orderings": 1}, "`shap_orderings` must be a whole number, at least 2, not 1"),
        ({"noise_samples": 2.5}, "`noise_samples` must be a whole number, at least 1, not 2.5"),
        ({"noise_level": -0.1}, "`noise_level` must be a finite number, at least 0, not -0.1"),
        ({"opti_rate": float("nan")}, "`opti_rate` must be a finite number, at least 0, not nan"),
        ({"seed": -1}, "`terminal_seed` must be a whole number, at least 0, not -1"),
        ({"seed": True}, "`terminal_seed` must be a whole number, at least 0, not True"),
    ],
)
def test_what_makes_no_sense_is_refused(given, message):
    with pytest.raises(SycamError, match=message):
        TerminalSettings(**given)


def test_equal_settings_give_equal_values_and_others_differ():
    network, images = tiny_network(), tiny_images(6)
    settings = TerminalSettings(seed=5, noise_samples=2, shap_orderings=3)
    names = ["G_noise", "shap", "score_noise"]
    cache = gathered(network, images, names, batch=4, settings=settings)
    again = gathered(network, images, names, batch=2, settings=TerminalSettings(5, noise_samples=2, shap_orderings=3))
    other = gathered(network, images, names, settings=TerminalSettings(6, noise_samples=2, shap_orderings=3))
    for name in names:
        torch.testing.assert_close(again.values[name], cache.values[name], rtol=0, atol=1e-5)
        assert not torch.allclose(other.values[name], cache.values[name], atol=1e-4), name
    assert cache.select(torch.tensor([0, 2])).settings == settings
    assert len({settings, TerminalSettings(5, noise_samples=2, shap_orderings=3), TerminalSettings(6)}) == 2


def test_a_run_keeps_them_and_its_answer_is_drawn_with_them(tmp_path: Path):
    path = tmp_path / "noisy.sy"
    path.write_text(GRAMMAR)
    network, images = tiny_network(3), tiny_images(8, seed=3)
    settings = TerminalSettings(seed=2, noise_samples=2, shap_orderings=4)
    result = sycam.synthesize(path, "iou", network, images, budget=6, terminals=settings, out=tmp_path / "run")
    assert settings_in(json.loads((tmp_path / "run/job.json").read_text())) == settings
    assert result.terminal_settings == settings
    x = images.normalised(slice(0, 3), network)
    torch.testing.assert_close(result.cam(x), sycam.heatmaps(result, network, x), rtol=0, atol=0)
    torch.testing.assert_close(result.cam(x), sycam.heatmaps(result.answer.cam, network, x, settings=settings), rtol=0, atol=0)
    default = sycam.synthesize(path, "iou", network, images, budget=2, seed=9)
    assert settings_in(default.manifest["job"]) == default.job.terminals == TerminalSettings(9)


def settings_in(job: dict) -> TerminalSettings:
    """The terminal settings of a job as JSON."""
    return TerminalSettings(**{one.attribute: job[name] for name, one in TerminalSettings.options().items()})


def test_scores_take_them():
    network, images = tiny_network(3), tiny_images(6, seed=3)
    few, many = (TerminalSettings(shap_orderings=n) for n in (2, 50))
    scores = [sycam.score("shap", "average-gain", network, images, settings=s) for s in (few, few, many)]
    assert torch.equal(scores[0], scores[1])
    assert not torch.equal(scores[0], scores[2])
    x = images.normalised(slice(None), network)
    assert not torch.equal(View(network, x, settings=few)["shap"], View(network, x, settings=many)["shap"])


def test_a_comparison_says_how_far_shap_is_sampled():
    network, images = tiny_network(3), tiny_images(5, seed=3)
    settings = TerminalSettings(shap_orderings=8)
    view = View(network, images.normalised(slice(None), network), settings=settings)
    share = view["shap_error"].abs().amax(1) / view["shap"].abs().amax(1)
    found = compared(find_cams("SHAP-CAM"), [find_metric("iou")], network, images, settings=settings)
    assert found.shap_error == pytest.approx(float(share.median())) and found.shap_error > 0
    assert compared(find_cams("Grad-CAM"), [find_metric("iou")], network, images).shap_error is None


def run(*arguments: str, folder: Path) -> dict:
    command = [sys.executable, "-c", "from sycam.cli import main; main()", *arguments]
    found = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


def test_the_command_line_takes_them(tmp_path: Path):
    options = ["--set", "noise_samples=2", "--set", "noise_level=0.3", "--set", "path_steps=3", "--set", "shap_orderings=7", "--set", "opti_steps=5",
               "--set", "finer_classes=2", "--set", "finer_strength=0.6", "--seed", "4", "--json"]  # fmt: skip
    expected = TerminalSettings(4, 2, 0.3, 3, 7, 5, 0.1, 2, 0.6).describe()
    scored = run("score", "shap", "--limit", "2", *options, folder=tmp_path)
    assert scored["terminal_settings"] == expected
    assert 0 < scored["shap_error"] < 1
    path = tmp_path / "noisy.sy"
    path.write_text(GRAMMAR)
    made = run("synth", str(path), "--budget", "2", "--limit", "6", "--out", "made", *options, folder=tmp_path)
    assert settings_in(made["manifest"]["job"]).describe() == expected
    from sycam.embedded import images_csv

    image = next(images_csv().parent.glob("**/*.png"))
    drawn = run("explain", "made", str(image), "--set", "path_steps=9", "--json", folder=tmp_path)  # the run's own, but for one
    assert drawn["terminal_settings"] == expected | {"path_steps": 9}
