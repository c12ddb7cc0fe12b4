"""Three metrics of one's own, from the shortest to the one that says most. Search with one of them like this:

    sycam synth gradient --oracle examples/compact_gain_oracle.py:compact_gain ...

A metric is asked about N jobs at once. A job is one candidate's heatmap on one image, and the answer is one number per
job, a tensor [N]. Everything that it may look at is in the query:

    query.heatmaps   [N, H, W] in [0, 1]    what the candidates drew
    query.images     [N, 3, H, W]           the plain images, normalised as the network wants them
    query.classes    [N]                    the image class that is explained
    query.p          [N] in [0, 1]          its probability on the plain image
    query.o          [N] in [0, 1]          its probability on the image times the heatmap (one pass of the network)
    query.d          [N] in [0, 1]          its probability on the image times one minus the heatmap (one more pass)
    query.masks      [N, H, W] boolean      where the object is, if the images come with boxes or masks
    query.probability_after(edit)           its probability on the image after any edit of yours (one more pass)

Write it for all N at once (no loop over jobs): the query may hold hundreds. sycam checks the answer on every call: N
numbers, none of them NaN, all within the bounds. Where it is not so, it stops and names the images.
"""

import torch

from sycam.metrics.metric import register_metric
from sycam.metrics.query import Query

# 1. The shortest: a plain function. Without a word about itself it is "the higher the better", between 0 and 1.


def background_silence(query: Query) -> torch.Tensor:
    """One minus the mean heat outside of the object: 1 when everything off the object is cold."""
    outside = ~query.masks
    heat = (query.heatmaps * outside).sum((-2, -1))
    return 1 - heat / outside.sum((-2, -1)).clamp(min=1)  # clamp: an object that fills the image leaves no background


background_silence.needs_masks = True  # a clear error, should the images come without masks
background_silence.passes = 0  # it never asks the network


# 2. Decorated: everything about the metric stands in one place, above it.

AREA_WEIGHT = 0.25  # what a heatmap pays for covering the whole image: a quarter of a perfect gain


@register_metric(
    "compact-gain",
    direction="high",
    # The range that the formula can reach for one job: from gain 0 and area 1 up to gain 1 and area 0. The stopping
    # rule `exact` gives up on a candidate only when perfect scores on all unseen images could not save it. Too narrow
    # a bound would lose good candidates, so sycam stops with an error; too wide a bound only costs time.
    bounds=(-AREA_WEIGHT, 1.0),
    passes=1,  # forward passes per job: query.o is one, and it is shared with every other metric that reads it
    source="average-gain of Opti-CAM, less the complexity of ADCC",
)
def compact_gain(query: Query) -> torch.Tensor:
    """Average gain less a quarter of the heatmap's area: of two maps that convince equally, the smaller is better."""
    gain = (query.o - query.p).relu() / (1 - query.p).clamp(min=1e-6)  # clamp: p = 1 leaves nothing to gain, not 0/0
    return gain - AREA_WEIGHT * query.heatmaps.mean((-2, -1))


# 3. A class: for metrics with settings, or with something to prepare once. It is made without arguments.


class BlurDrop:
    """Probability that is lost when the hot part of the image is blurred rather than blacked out.

    Black patches are unlike anything a network was trained on; a blur takes the detail away and leaves the colours.
    """

    name = "blur-drop"
    direction = "high"  # the more is lost, the more of the evidence the heatmap had found
    bounds = (-1.0, 1.0)  # a difference of two probabilities
    passes = 1
    source = "in the manner of Fong & Vedaldi 2017"

    def __init__(self, radius: int = 4) -> None:
        self.radius = radius

    def __call__(self, query: Query) -> torch.Tensor:
        return query.p - query.probability_after(self.blur_where_hot)

    def blur_where_hot(self, images: torch.Tensor, heatmaps: torch.Tensor) -> torch.Tensor:
        """For a chunk of b jobs: images [b, 3, H, W] and heatmaps [b, 1, H, W] to the images to ask about."""
        window = 2 * self.radius + 1
        blurred = torch.nn.functional.avg_pool2d(images, window, 1, self.radius, count_include_pad=False)
        return images.lerp(blurred, heatmaps)
