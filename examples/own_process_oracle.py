"""A metric in a process of its own, for code that may crash or never return: there it can be ended whatever it does.

    sycam synth gradient --oracle examples/own_process_oracle.py:BoxBlur --oracle-timeout 60 ...

It is written as any other oracle; `own_process = True` is all. What it asks the network is answered by the run's own process, so
it never loads the model.
"""

import torch


class BoxBlur:
    """Probability that is kept when all but the hot part of the image is blurred."""

    name = "kept-when-blurred"
    direction = "high"
    passes = 1
    own_process = True
    timeout = 120  # seconds without a word; the network's own time is not counted

    def __call__(self, query):
        return query.probability_after(self.blur_where_cold)

    def blur_where_cold(self, images, heatmaps):
        blurred = torch.nn.functional.avg_pool2d(images, 9, 1, 4, count_include_pad=False)
        return blurred.lerp(images, heatmaps)
