"""How pytorch-grad-cam, torchcam and captum compute what a terminal of sycam is, for `terminals.py`.

A way takes a `Case` and returns the terminal's tensor, or what the package makes of it. Each starts from
normalised images, so the forward pass is in every time, as it is in ours. The packages' own entry points are called up to the
weights: their upsampling to heatmaps, in numpy, is left out.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from captum.attr import DeepLift, InternalInfluence, LayerActivation, LayerGradientXActivation, LayerLRP, ShapleyValueSampling
from pytorch_grad_cam import AblationCAM, GradCAM, ScoreCAM, ShapleyCAM, ablation_cam, score_cam
from pytorch_grad_cam.ablation_layer import AblationLayer
from pytorch_grad_cam.base_cam import BaseCAM
from pytorch_grad_cam.utils.model_targets import (
    ClassifierOutputReST,
    ClassifierOutputSoftmaxTarget,
    ClassifierOutputTarget,
    FinerWeightedTarget,
)
from torch import Tensor, nn
from torchcam import methods as torchcam

from sycam.terminals import TerminalSettings

for module in (ablation_cam, score_cam):  # no progress bars
    module.tqdm = SimpleNamespace(tqdm=lambda steps: steps)


@dataclass
class Case:
    """One network as the peers see it, and the images.

    Attributes:
        model: an instance of its own, as torchvision makes it.
        layer: the target layer's name.
        images: normalised, [N, 3, H, W].
        classes: [N].
        settings: samples and steps of the terminals that have such; the peers take the same.
        head: what follows the layer, as a user would write it down; for captum, which cannot cut a model.
    """

    model: nn.Module
    layer: str
    images: Tensor
    classes: Tensor
    settings: TerminalSettings
    head: nn.Module

    @property
    def module(self) -> nn.Module:
        return self.model.get_submodule(self.layer)

    @property
    def targets(self) -> list[int]:
        return [int(c) for c in self.classes]


Way = Callable[[Case], Tensor]
WAYS: dict[str, dict[str, Way]] = {}
"""Terminal's name to package's name to way."""


def way(terminal: str, package: str) -> Callable[[Way], Way]:
    def register(found: Way) -> Way:
        WAYS.setdefault(terminal, {})[package] = found
        return found

    return register


# pytorch-grad-cam: BaseCAM.forward as far as the gradients


def _grad_cam(case: Case, targets: list, method: type[BaseCAM] = GradCAM) -> tuple[BaseCAM, Tensor]:
    """A method's object after its forward and backward pass, and the images that it went back to."""
    cam = method(case.model, [case.module])
    images = torch.autograd.Variable(case.images, requires_grad=True) if cam.compute_input_gradient else case.images
    outputs = cam.activations_and_grads(images)
    cam.model.zero_grad()
    loss = sum(target(output) for target, output in zip(targets, outputs, strict=True))
    if cam.detach:
        loss.backward(retain_graph=True)
    else:
        torch.autograd.grad(loss, images, retain_graph=True, create_graph=True)
    return cam, images


def _gradient(case: Case, targets: list) -> Tensor:
    cam, _ = _grad_cam(case, targets)
    found = cam.activations_and_grads.gradients[0]
    cam.activations_and_grads.release()
    return found


@way("A", "pytorch-grad-cam")
def _(case: Case) -> Tensor:
    cam = GradCAM(case.model, [case.module])
    cam.activations_and_grads(case.images)
    found = cam.activations_and_grads.activations[0]
    cam.activations_and_grads.release()
    return found


@way("G", "pytorch-grad-cam")
def _(case: Case) -> Tensor:
    return _gradient(case, [ClassifierOutputTarget(c) for c in case.targets])


@way("GP", "pytorch-grad-cam")
def _(case: Case) -> Tensor:
    return _gradient(case, [ClassifierOutputSoftmaxTarget(c) for c in case.targets])


@way("GR", "pytorch-grad-cam")
def _(case: Case) -> Tensor:
    return _gradient(case, [ClassifierOutputReST(c) for c in case.targets])


@way("G_diff", "pytorch-grad-cam")
def _(case: Case) -> Tensor:
    """FinerCAM.forward as far as the gradients; its order of the classes comes from the pass that is differentiated."""
    cam = GradCAM(case.model, [case.module])
    outputs = cam.activations_and_grads(case.images)
    y = outputs.detach().gather(1, case.classes[:, None])
    order = (outputs.detach() - y).abs().argsort(1)[:, : case.settings.finer_classes + 1].tolist()
    targets = [FinerWeightedTarget(row[0], row[1:], case.settings.finer_strength) for row in order]
    cam.model.zero_grad()
    sum(target(output) for target, output in zip(targets, outputs, strict=True)).backward(retain_graph=True)
    found = cam.activations_and_grads.gradients[0]
    cam.activations_and_grads.release()
    return found


@way("HA", "pytorch-grad-cam")
def _(case: Case) -> Tensor:
    """ShapleyCAM's Hessian-vector product."""
    cam, _ = _grad_cam(case, [ClassifierOutputReST(c) for c in case.targets], ShapleyCAM)
    A, g = cam.activations_and_grads.activations[0], cam.activations_and_grads.gradients[0]
    (found,) = torch.autograd.grad(g, A, A, allow_unused=True)
    cam.activations_and_grads.release()
    return torch.zeros_like(A) if found is None else found.detach()


def _weights(case: Case, cam: BaseCAM, targets: list) -> Tensor:
    """`get_cam_weights` of a method without gradients, after its forward pass."""
    cam.activations_and_grads(case.images)
    A = cam.activations_and_grads.activations[0].numpy()
    found = cam.get_cam_weights(case.images, cam.target_layers[0], targets, A, None)
    cam.activations_and_grads.release()
    return torch.from_numpy(found)


@way("drop", "pytorch-grad-cam")
def _(case: Case) -> Tensor:
    """AblationCAM: (y − y_k)/y."""
    cam = AblationCAM(case.model, [case.module], ablation_layer=AblationLayer())
    return _weights(case, cam, [ClassifierOutputTarget(c) for c in case.targets])


@way("score", "pytorch-grad-cam")
def _(case: Case) -> Tensor:
    """ScoreCAM: the softmax of the scores."""
    return _weights(case, ScoreCAM(case.model, [case.module]), [ClassifierOutputSoftmaxTarget(c) for c in case.targets])


@way("score_logit", "pytorch-grad-cam")
def _(case: Case) -> Tensor:
    return _weights(case, ScoreCAM(case.model, [case.module]), [ClassifierOutputTarget(c) for c in case.targets])


# torchcam


@way("G", "torchcam")
def _(case: Case) -> Tensor:
    with torchcam.GradCAM(case.model, case.layer) as extractor:
        extractor._backprop(case.model(case.images), case.targets)
        return extractor.hook_g[0]


@way("G_diff", "torchcam")
def _(case: Case) -> Tensor:
    """FinerCAM with unweighted classes, as published in its first version."""
    with torchcam.FinerCAM(case.model, case.layer, num_references=case.settings.finer_classes) as extractor:
        scores = extractor._contrastive_scores(case.targets, case.model(case.images), None)
        extractor.base_cam._backprop(scores, [0] * len(case.images))
        return extractor.base_cam.hook_g[0]


@way("fc", "torchcam")
def _(case: Case) -> Tensor:
    with torchcam.CAM(case.model, case.layer) as extractor, torch.inference_mode():
        case.model(case.images)
        return extractor._get_weights(case.targets)[0].flatten(1)


def _masked(case: Case, extractor: torchcam.ScoreCAM) -> Tensor:
    with extractor, torch.inference_mode():
        case.model(case.images)
        return extractor._get_weights(case.targets)[0]


@way("score_logit", "torchcam")
def _(case: Case) -> Tensor:
    """ScoreCAM: the softmax of the logits; its maps are scaled before they are upsampled."""
    return _masked(case, torchcam.ScoreCAM(case.model, case.layer))


@way("score_noise", "torchcam")
def _(case: Case) -> Tensor:
    return _masked(case, torchcam.SSCAM(case.model, case.layer, num_samples=case.settings.noise_samples))


@way("score_path", "torchcam")
def _(case: Case) -> Tensor:
    return _masked(case, torchcam.ISCAM(case.model, case.layer, num_samples=case.settings.path_steps))


def _smooth(case: Case) -> Tensor:
    """SmoothGradCAMpp, of which the moments of the noisy gradients are nearly all the work."""
    with torchcam.SmoothGradCAMpp(case.model, case.layer, num_samples=case.settings.noise_samples) as extractor:
        return extractor._get_weights(case.targets, case.model(case.images))[0]


for name in ("G2_noise", "G3_noise"):
    way(name, "torchcam")(_smooth)


# captum


@way("A", "captum")
def _(case: Case) -> Tensor:
    return LayerActivation(case.model, case.module).attribute(case.images).detach()


@way("G", "captum")
def _(case: Case) -> Tensor:
    """LayerGradientXActivation: g·A."""
    return LayerGradientXActivation(case.model, case.module).attribute(case.images, target=case.classes).detach()


@way("G_path", "captum")
def _(case: Case) -> Tensor:
    """InternalInfluence (Leino et al., 2018): the same mean over the path from the zero image."""
    steps = case.settings.path_steps
    method = InternalInfluence(case.model, case.module)
    return method.attribute(case.images, target=case.classes, n_steps=steps, method="riemann_right").detach()


@way("lift_map", "captum")
def _(case: Case) -> Tensor:
    """DeepLift on the head, cut by hand; before it a forward pass that gives the activations."""
    A = LayerActivation(case.model, case.module).attribute(case.images).detach()
    return DeepLift(case.head).attribute(A, torch.zeros_like(A), target=case.classes).detach()


@way("shap", "captum")
def _(case: Case) -> Tensor:
    """ShapleyValueSampling on the head, cut by hand; the batch shares its orderings."""
    A = LayerActivation(case.model, case.module).attribute(case.images).detach()
    mask = torch.arange(A.shape[1])[None, :, None, None].expand(1, *A.shape[1:]).contiguous()
    with torch.no_grad():
        method = ShapleyValueSampling(case.head)
        found = method.attribute(
            A, target=case.classes, feature_mask=mask, n_samples=case.settings.shap_orderings, perturbations_per_eval=64
        )
    return found.flatten(2)[:, :, 0].detach()  # a channel's value stands at each of its pixels


@way("lrp", "captum")
def _(case: Case) -> Tensor:
    """LayerLRP by the ε rule through the whole network; rejects what it has no rule for."""
    model = copy.deepcopy(case.model)
    for part in model.modules():
        if getattr(part, "inplace", False):
            part.inplace = False
    return LayerLRP(model, model.get_submodule(case.layer)).attribute(case.images, target=case.classes).detach()
