"""CAMs by principal components of the activations: EigenCAM and Eigen-Grad-CAM.

With the activations of an image as a matrix X of pixels × channels, X = UΣVᵀ, the map is the projection X·v₁ on the first
principal component. A singular vector has no sign of its own, and libraries that leave it to the SVD's implementation draw the
background on some images. Here a projection that is not centred has a sum over pixels that is not negative, so that its map is
never empty; one that is centred, whose sum is 0, agrees with the channels' sum Σ_k X_k: their inner product is not negative.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sycam.cams.baseline import register_baseline
from sycam.terminals.terminal import View


@register_baseline(
    "EigenCAM",
    passes="1 forward, 1 eigenvalue problem of min(Z, K)²",
    reference="Muhammad & Yeasin, Eigen-CAM, IJCNN 2020",
)
def eigen_cam(view: View) -> Tensor:
    """Projection of the activations on their first principal component, not centred, as the paper writes it; of no class.

    The sign makes the sum over pixels positive; on activations of a ReLU the map is then nowhere negative.
    """
    return principal_projection(view.A)


@register_baseline(
    "EigenCAM-centred",
    passes="1 forward, 1 eigenvalue problem of min(Z, K)²",
    reference="pytorch-grad-cam's EigenCAM: each channel's mean is taken off before the SVD, which the paper does not do",
)
def eigen_cam_centred(view: View) -> Tensor:
    """Projection of the centred activations on their first principal component; the sign agrees with Σ_k A_k."""
    return principal_projection(view.A, centred=True)


@register_baseline(
    "Eigen-Grad-CAM",
    passes="1 forward, 1 backward, 1 eigenvalue problem of min(Z, K)²",
    reference="pytorch-grad-cam's EigenGradCAM, its only source: EigenCAM of g·A, each channel's mean taken off",
)
def eigen_grad_cam(view: View) -> Tensor:
    """Projection of the centred g·A on their first principal component; the sign agrees with HiResCAM's Σ_k g_k·A_k."""
    return principal_projection(view["G"] * view.A, centred=True)


def principal_projection(maps: Tensor, centred: bool = False) -> Tensor:
    """Projection of each image's maps, as points of pixels, on their first principal component.

    Args:
        maps: [N, K, h, w].
        centred: take each map's spatial mean off first.

    Returns:
        [N, h, w], of the sign that makes its sum positive, or, centred, that agrees with the sum of `maps` over channels.

    >>> principal_projection(torch.tensor([[[[3.0, 0.0]], [[4.0, 0.0]]]])).tolist()
    [[[5.0, 0.0]]]
    """
    X = maps.flatten(2).transpose(1, 2).double()  # [N, Z, K]
    towards = torch.ones_like(X[:, :, 0])  # [N, Z]
    if centred:
        towards, X = X.sum(2), X - X.mean(1, keepdim=True)
    # σ₁u₁ = X·v₁; the smaller of the two Gram matrices has the same eigenvalues and is solved faster than the SVD.
    if X.shape[1] <= X.shape[2]:
        values, vectors = torch.linalg.eigh(X @ X.mT)
        projection = vectors[:, :, -1] * values[:, -1:].clamp(min=0).sqrt()
    else:
        projection = (X @ torch.linalg.eigh(X.mT @ X)[1][:, :, -1:])[:, :, 0]
    sign = torch.where((projection * towards).sum(1, keepdim=True) < 0, -1.0, 1.0)
    return (projection * sign).unflatten(1, maps.shape[2:]).to(maps.dtype)
