"""The terminals `shap` and `shap_error`: each channel's Shapley value, sampled, and its standard error."""

from __future__ import annotations

import torch
from torch import Tensor

from sycam.terminals.derivatives import added_by_channels
from sycam.terminals.head import logit_of_nothing, logit_with
from sycam.terminals.terminal import View, generator, image_keys, register_terminal


@register_terminal(
    "shap",
    settings=("seed", "shap_orderings"),
    sort="Real",
    level="channel",
    passes="orderings × K of the tail only; 0 on a GAP + linear head",
    source="SHAP-CAM: Zheng et al., ECCV 2022; LIFT-CAM: Jung & Oh, ICCV 2021, equation 3; sampling: Castro et al., 2009",
)
def shapley_value(view: View) -> Tensor:
    """Shapley value of the channel for the logit, absent channels at 0: its mean marginal contribution over sampled orderings.

    `shap_orderings` says how many; `shap_error` is its standard error. Over all channels the values sum to y less the logit
    of no channel, whatever the sample.
    """
    return shapley(view)[0]


@register_terminal(
    "shap_error",
    settings=("seed", "shap_orderings"),
    sort="Real",
    level="channel",
    passes="orderings × K of the tail only, shared with shap; 0 on a GAP + linear head",
    source="the standard error of a sampled Shapley value: Castro et al., 2009",
)
def shapley_error(view: View) -> Tensor:
    """Standard error of `shap`: of the marginal contributions of the sampled orderings, over the root of their number.

    0 where the value is exact, on a GAP + linear head.
    """
    return shapley(view)[1]


def shapley(view: View) -> tuple[Tensor, Tensor]:
    """The Shapley values and their standard errors, [N, K] each; exact, with no error, on a GAP + linear head.

    Raises:
        SycamError: a logit is not finite.
    """
    exact = added_by_channels(view)
    if exact is not None:
        return exact, torch.zeros_like(exact)
    if "shapley" not in view.extra:
        view.extra["shapley"] = sampled_shapley(view)
    value, error = view.extra["shapley"]
    return value, error


def sampled_shapley(view: View) -> tuple[Tensor, Tensor]:
    """Mean and standard error of marginal contributions, by running the tail; slow where a closed form exists.

    Dead channels take no part in a coalition: their value is 0, exactly.
    """
    A, orderings = view.A, view.settings.shap_orderings
    N, K = A.shape[:2]
    place, size = _places(view)  # [N, R, K], [N]
    # A job is a coalition of the first j channels of an ordering, 0 < j < size; both ends are shared by all orderings.
    steps = torch.arange(K + 1, device=A.device)
    inner = ((steps > 0) & (steps < size[:, None]))[:, None].expand(N, orderings, K + 1)
    image, ordering, taken = inner.nonzero(as_tuple=True)  # [jobs] each

    def coalition(jobs: slice | Tensor) -> Tensor:
        return place[image[jobs], ordering[jobs]] < taken[jobs, None]  # [chunk, K]

    value = A.new_zeros(N, orderings, K + 1)
    value[:, :, 0] = logit_of_nothing(view)[:, None]
    value[image, ordering, taken] = logit_with(view, image, coalition)
    whole = torch.where(size > 0, view["y"][:, 0], value[:, 0, 0])
    value[torch.arange(N, device=A.device), :, size] = whole[:, None].expand(N, orderings)
    marginal = value.diff(dim=2).gather(2, place.clamp(max=K - 1))  # [N, R, K]
    marginal = torch.where(place < size[:, None, None], marginal, 0)
    return marginal.mean(1), marginal.std(1) / orderings**0.5


def _places(view: View) -> tuple[Tensor, Tensor]:
    """Each channel's place in each ordering of its image's live channels, [N, R, K] (K for a dead one); how many live, [N]."""
    live = view.A.flatten(2).any(-1)
    K, orderings = live.shape[1], view.settings.shap_orderings
    rows = []
    for key, alive in zip(image_keys(view), live.cpu(), strict=True):
        random = generator(key, "orderings")
        order = torch.stack([torch.randperm(K, generator=random) for _ in range(orderings)])  # [R, K]
        present = alive[order]
        place = torch.where(present, present.cumsum(1) - 1, K)
        rows.append(torch.empty_like(place).scatter_(1, order, place))
    return torch.stack(rows).to(view.A.device), live.sum(1)
