"""The CAM theory: what each symbol of a grammar means on tensors."""

from .evaluate import Evaluator, combined_maps, heatmaps_of, localisation
from .operators import CAM, MAP, OPERATORS, pointwise, reduction

__all__ = ["CAM", "MAP", "OPERATORS", "Evaluator", "combined_maps", "heatmaps_of", "localisation", "pointwise", "reduction"]
