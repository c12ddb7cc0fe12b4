"""Draws candidates on images that are made while they are scored: masked, noisy, moved ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Union

from torch import Tensor

from sycam.baselines import Baseline
from sycam.heatmap import post
from sycam.network import Network
from sycam.terminals import TerminalSettings, View
from sycam.theory import Evaluator, combined_maps
from sygus import Term
from sygus.terms import expand, subterms

Drawable = Union[Term, Baseline]
"""What draws a heatmap on any image."""


class Drawer:
    """Heatmaps of candidates on other images, each on its own.

    One forward pass of a batch gives activations and probabilities; from these follow A, G, fc and whatever has a closed form
    on a verified GAP + linear head, so that scoring coherency costs the pass that the drop costs. Other terminals are computed
    once for the batch and shared by all candidates in it.

    Args:
        network: the CNN.
        cams: the candidates.
        settings: of terminals.
        norm: how heatmaps are normalised (`post`).
    """

    def __init__(self, network: Network, cams: Sequence[Drawable], settings: TerminalSettings, norm: str = "minmax") -> None:
        self.network, self.cams, self.settings, self.norm = network, cams, settings, norm
        self._terminals = [_terminals(cam) for cam in cams]

    def __call__(self, images: Tensor, candidates: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Heatmaps [b, H, W] in [0, 1] of candidates [b] for classes [b] on images [b, 3, H, W], and the network's
        probabilities there, [b, C]. Where a candidate is not finite its heatmap is empty.

        Raises:
            SycamError: the network cannot give a terminal, or a baseline.
        """
        size = (images.shape[-2], images.shape[-1])
        activations, logits = self.network.activations(images)
        view = View(self.network, images, classes, activations=activations, logits=logits, settings=self.settings)
        heatmaps = images.new_zeros(len(images), *size)
        present = candidates.unique().tolist()
        names = sorted({name for place in present for name in self._terminals[place]} | {"A"})
        values = {name: view[name] for name in names} if any(isinstance(self.cams[place], Term) for place in present) else {}
        drawn: dict[Baseline, Tensor] = {}
        for place in present:
            cam, rows = self.cams[place], (candidates == place).nonzero()[:, 0]
            if isinstance(cam, Term):
                part = Evaluator({name: values[name][rows] for name in (*self._terminals[place], "A")})
                heatmaps[rows] = post(combined_maps([cam], part)[0][0], size, norm=self.norm).to(heatmaps)
            else:
                if cam not in drawn:
                    drawn[cam] = post(cam.maps(view)[0], size, norm=self.norm).to(heatmaps)
                heatmaps[rows] = drawn[cam][rows]
        return heatmaps, logits.softmax(1)


def _terminals(cam: Drawable) -> list[str]:
    if isinstance(cam, Baseline):
        return []
    return sorted({part.name for part in subterms(expand(cam)) if part.is_variable})
