"""The multi-style network: effects of its style vector, and rejected inputs."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from edgesdk.errors import UsageError
from edgesdk.models.multi_style import MultiStyleNet, StyleNorm, behind_enlarging


def one_hot(styles: int, chosen: int) -> torch.Tensor:
    style = torch.zeros(1, styles, 1, 1)
    style[0, chosen] = 1
    return style


@pytest.fixture
def net() -> MultiStyleNet:
    torch.manual_seed(0)
    made = MultiStyleNet(styles=3, encoder_widths=[4, 6, 8], expanded_widths=[12, 12])
    for module in made.modules():
        if isinstance(module, StyleNorm):
            torch.nn.init.normal_(module.scale.weight, 1.0, 0.3)
            torch.nn.init.normal_(module.shift.weight, 0.0, 0.3)
    return made.eval()


def test_paints_a_picture_of_the_same_size_within_its_range(net: MultiStyleNet) -> None:
    painted = net(torch.rand(2, 3, 24, 40), one_hot(3, 1))
    assert painted.shape == (2, 3, 24, 40)
    assert painted.min() >= 0 and painted.max() <= 1


def test_every_picture_of_a_batch_may_have_its_own_style(net: MultiStyleNet) -> None:
    pictures = torch.rand(3, 3, 16, 16)
    together = net(pictures, torch.cat([one_hot(3, k) for k in range(3)]))
    for k in range(3):
        alone = net(pictures[k : k + 1], one_hot(3, k))
        torch.testing.assert_close(together[k : k + 1], alone)
    same = net(pictures[:1].expand(3, -1, -1, -1), torch.cat([one_hot(3, k) for k in range(3)]))
    assert (same[0] - same[1]).abs().max() > 1e-3


def test_a_new_network_paints_all_styles_alike() -> None:
    torch.manual_seed(1)
    net = MultiStyleNet(styles=2, encoder_widths=[4, 4, 4], expanded_widths=[8]).eval()
    pictures = torch.rand(1, 3, 16, 16)
    assert torch.equal(net(pictures, one_hot(2, 0)), net(pictures, one_hot(2, 1)))


def test_the_norm_blends_scale_and_shift() -> None:
    norm = StyleNorm(2, 2)
    norm.scale.weight.data = torch.tensor([[1.0, 3.0], [2.0, 2.0]]).view(2, 2, 1, 1)
    norm.shift.weight.data = torch.tensor([[0.0, 4.0], [1.0, 1.0]]).view(2, 2, 1, 1)
    x = torch.tensor([-1.0, 1.0]).expand(1, 2, 1, 2)
    found = norm(x, torch.tensor([0.5, 0.5]).view(1, 2, 1, 1))
    wanted = torch.tensor([[0.0, 4.0], [-1.0, 3.0]]).view(1, 2, 1, 2)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


def test_what_the_body_says_is_softened_by_the_binomial_filter(net: MultiStyleNet) -> None:
    width = net.config["encoder_widths"][-1]
    impulse = torch.zeros(1, width, 5, 6)
    impulse[:, :, 2, 3] = 16
    softened = net.soften(impulse)
    assert softened.shape == impulse.shape
    assert softened[0, 0, 1:4, 2:5].tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    assert softened.sum() == 16 * width
    assert torch.equal(net.soften(torch.ones_like(impulse)), torch.ones_like(impulse))
    stripes = torch.tensor([1.0, -1.0]).repeat(3).expand(1, width, 6, 6)
    for finest in (stripes, stripes.mT, stripes * stripes.mT):
        assert not net.soften(finest).any()


def test_one_layer_answers_what_another_does_behind_enlarging() -> None:
    made = torch.Generator().manual_seed(0)
    x, kernel = torch.rand(2, 5, 7, 9, generator=made), torch.rand(4, 5, 3, 3, generator=made)
    enlarged = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
    found = functional.pixel_shuffle(functional.conv2d(x, behind_enlarging(kernel)), 2)
    # The small kernel has no neighbours at the borders, two pixels of the enlarged picture.
    torch.testing.assert_close(found, functional.conv2d(enlarged, kernel)[..., 1:-1, 1:-1])


def test_by_hand_the_middle_tap_is_the_enlarging_itself() -> None:
    middle = torch.zeros(1, 1, 3, 3)
    middle[0, 0, 1, 1] = 16
    phases = behind_enlarging(middle)
    assert phases[0, 0].tolist() == [[1, 3, 0], [3, 9, 0], [0, 0, 0]]
    assert phases[3, 0].tolist() == [[0, 0, 0], [0, 9, 3], [0, 3, 1]]


def test_a_new_network_has_no_checkerboard(net: MultiStyleNet) -> None:
    """All four pixels of a position are equal for a flat picture."""
    sums = net.paint.weight.detach().sum(dim=(2, 3)).unflatten(0, (3, 4))
    torch.testing.assert_close(sums, sums[:, :1].expand_as(sums))
    assert sums[:, 0].abs().mean() > 0.1


def test_softening_is_no_weight(net: MultiStyleNet) -> None:
    assert not [name for name in net.state_dict() if "soften" in name]


def test_one_style_learns_without_the_others(net: MultiStyleNet) -> None:
    net(torch.rand(1, 3, 16, 16), one_hot(3, 2)).sum().backward()
    gradient = net.blocks[0].norm.scale.weight.grad
    assert gradient[:, :2].abs().max() == 0 and gradient[:, 2].abs().max() > 0


def test_is_rebuilt_from_its_config(net: MultiStyleNet) -> None:
    again = MultiStyleNet(**net.config)
    again.load_state_dict(net.state_dict())
    picture = torch.rand(1, 3, 16, 24)
    assert torch.equal(again.eval()(picture, one_hot(3, 0)), net(picture, one_hot(3, 0)))


def test_names_of_the_styles_are_kept_in_the_config(net: MultiStyleNet) -> None:
    assert net.style_names == () and net.config["style_names"] is None
    names = ["night", "day", "wave"]
    named = MultiStyleNet(**{**net.config, "style_names": tuple(names)})
    assert named.style_names == tuple(names) and named.config["style_names"] == names
    assert MultiStyleNet(**named.config).style_names == tuple(names)


def test_bad_arguments_are_refused(net: MultiStyleNet) -> None:
    with pytest.raises(UsageError, match="3 weights, not 2"):
        net(torch.rand(1, 3, 16, 16), one_hot(2, 0))
    for options in (
        {"styles": 0},
        {"encoder_widths": [4, 4]},
        {"decoder_widths": [4, 4, 4]},
        {"expanded_widths": [0]},
        {"refined_widths": [8]},
        {"refined_widths": [-1, 0]},
        {"style_names": []},
        {"styles": 2, "style_names": ["night"]},
        {"styles": 2, "style_names": ["night", "night"]},
        {"styles": 2, "style_names": ["night", ""]},
        {"styles": 2, "style_names": ["night", "a:b"]},
        {"styles": 2, "style_names": ["night", "a,b"]},
        {"styles": 2, "style_names": "ab"},
    ):
        with pytest.raises(UsageError):
            MultiStyleNet(**options)
