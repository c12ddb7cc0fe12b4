"""How near the heatmap's centre of mass lies to that of the object."""

import torch


def centre_of_heat(query):
    """One minus the distance of the two centres, as a share of the image's diagonal; 0 for an empty heatmap."""
    height, width = query.heatmaps.shape[1:]
    places = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")).to(query.heatmaps)  # [2, H, W]

    def centre(mass):  # [N, H, W] -> [N, 2]
        total = mass.sum((-2, -1)).clamp(min=1e-12)
        return (mass[:, None] * places).sum((-2, -1)) / total[:, None]

    apart = (centre(query.heatmaps) - centre(query.masks.to(query.heatmaps))).norm(dim=1) / (height**2 + width**2) ** 0.5
    return torch.where(query.heatmaps.sum((-2, -1)) > 0, 1 - apart, 0)


centre_of_heat.needs_masks = True
centre_of_heat.passes = 0
