"""Heatmap maths: hand-computed values and laws."""

import pytest
import torch
import torch.nn.functional as F

from sycam.errors import SycamError
from sycam.heatmap import minmax, post, upsample


def test_minmax_by_hand():
    x = torch.tensor([[[[-2.0, 0.0], [2.0, 6.0]], [[3.0, 3.0], [3.0, 3.0]]]])  # [1, 2, 2, 2]
    assert minmax(x).tolist() == [[[[0.0, 0.25], [0.5, 1.0]], [[0.0, 0.0], [0.0, 0.0]]]]


@pytest.mark.parametrize("value", [0.0, -1.5, 1e-30, 1e30])
def test_a_constant_map_is_zero_not_nan(value):
    for norm in ("minmax", "max"):
        heat = post(torch.full((2, 3, 3), value), 7, norm=norm, relu=False)
        expected = 1.0 if norm == "max" and value > 0 else 0.0
        torch.testing.assert_close(heat, torch.full((2, 7, 7), expected), rtol=0, atol=1e-6 * expected)


def test_gradient_of_a_constant_map_is_finite():
    x = torch.ones(1, 2, 2, requires_grad=True)
    minmax(x).sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
@pytest.mark.parametrize("norm", ["minmax", "max"])
def test_what_is_not_finite_stays_visible(broken, norm):
    x = torch.ones(2, 3, 3)
    x[0, 1, 1] = broken
    heat = post(x, 3, norm=norm)
    assert not heat[0].isfinite().all()
    assert heat[1].isfinite().all()


def test_minmax_ignores_positive_scale_and_shift_and_keeps_dtype():
    x = torch.randn(3, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(minmax(4 * x + 3), minmax(x), rtol=0, atol=1e-14)
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        assert minmax(x.to(dtype)).dtype == dtype


def test_upsample_by_hand_align_corners_false():
    # Pixel centres of the result lie at 0.25, 0.75, 1.25, 1.75 of the source, whose centres lie at 0.5 and 1.5.
    assert upsample(torch.tensor([[[0.0, 1.0], [0.0, 1.0]]]), 4)[0, 0].tolist() == [0.0, 0.25, 0.75, 1.0]


def test_upsample_agrees_between_ranks_and_takes_both_sizes():
    x = torch.randn(2, 3, 4, 5)
    up = upsample(x, (9, 11))
    assert up.shape == (2, 3, 9, 11)
    assert torch.equal(up[:, 1], upsample(x[:, 1], (9, 11)))
    with pytest.raises(SycamError, match=r"\[N, h, w\] or \[N, K, h, w\], not a tensor of shape \[4, 5\]"):
        upsample(x[0, 0], 9)


def test_post_is_norm_of_up_of_relu():
    combined = torch.randn(4, 7, 7)
    slow = []
    for one in combined:
        up = F.interpolate(one.clamp(min=0)[None, None], size=(50, 50), mode="bilinear", align_corners=False)[0, 0]
        slow.append((up - up.min()) / (up.max() - up.min()))
    torch.testing.assert_close(post(combined, 50), torch.stack(slow), rtol=0, atol=1e-7)


def test_post_options_by_hand():
    combined = torch.tensor([[[-4.0, 2.0], [0.0, 4.0]]])
    assert post(combined, 2, relu=False).tolist() == [[[0.0, 0.75], [0.5, 1.0]]]
    assert post(combined, 2, relu=False, norm="max").tolist() == [[[0.0, 0.5], [0.0, 1.0]]]
    assert torch.equal(post(combined, 2, relu=False, norm="sigmoid"), torch.sigmoid(combined))
    assert post(-combined.abs(), 2, relu=False, norm="max").tolist() == [[[0.0, 0.0], [0.0, 0.0]]]
    with pytest.raises(SycamError, match="no heatmap normalisation 'softmax'; there are minmax, max, sigmoid"):
        post(combined, 2, norm="softmax")


def test_no_input_is_changed():
    x = torch.randn(2, 3, 3)
    before = x.clone()
    for norm in ("minmax", "max", "sigmoid"):
        post(x, 6, norm=norm)
    minmax(x)
    assert torch.equal(x, before)
