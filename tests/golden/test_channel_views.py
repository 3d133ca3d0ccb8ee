"""Views of images whose channels are no colours, and quarter turns, against values worked out by hand and NumPy."""

import numpy as np
import pytest
import torch

from selfstudy.errors import UserError
from selfstudy.rng import Rng
from selfstudy.training import resolve
from selfstudy.types import DataCard
from selfstudy.views import Chain, Crop, parse, preset
from selfstudy.views.grey import Grey
from selfstudy.views.intensity import Intensity, change_intensity
from selfstudy.views.jitter import Jitter
from selfstudy.views.quarter import Quarter, turn


def pictures(channels: int, count: int = 6, side: int = 8) -> torch.Tensor:
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(channels))


def test_intensity_by_its_definition():
    """Mutations: one factor for all channels, the mean of all channels, gamma after contrast."""
    images = pictures(5)
    tables = [torch.rand(6, 5, generator=torch.Generator().manual_seed(n)) * 0.4 + 0.8 for n in range(3)]
    found = change_intensity(images.clone(), *tables)
    for row in range(6):
        for channel in range(5):
            factor, stretch, exponent = (float(table[row, channel]) for table in tables)
            bent = images[row, channel].double().numpy() ** exponent
            expected = np.clip((bent.mean() + stretch * (bent - bent.mean())) * factor, 0, 1)
            np.testing.assert_allclose(found[row, channel], expected, atol=2e-6)


def test_channels_get_amounts_of_their_own_that_do_not_hang_on_their_number():
    draws = Rng.from_seed(3).per_image(torch.arange(6))
    five = Intensity()(pictures(5).clone(), draws)
    same = pictures(5)[:, :1].expand(-1, 5, -1, -1).clone()
    changed = Intensity()(same, draws)
    assert not torch.allclose(changed[:, 0], changed[:, 1])
    assert torch.equal(Intensity()(pictures(5)[:, :2].clone(), draws), five[:, :2])


def test_quarter_turns_by_hand():
    """Mutations: clockwise, or the transpose alone."""
    image = torch.tensor([[0.0, 0.1], [0.2, 0.3]])[None, None].expand(4, 1, 2, 2)
    found = turn(image, torch.arange(4))
    for number in range(4):
        np.testing.assert_array_equal(found[number, 0], np.rot90(image[number, 0], number))
    oblong = pictures(3)[:, :, :5]
    kinds = {tuple(view.shape) for view in Quarter()(oblong.clone(), Rng.from_seed(0).per_image(torch.arange(6)))}
    assert kinds == {(3, 5, 8)}


def test_every_quarter_turn_comes_as_often():
    chain = Chain(size=2, crop=Crop(scale=(1.0, 1.0), ratio=(1.0, 1.0)), steps=(Quarter(),))
    image = torch.tensor([[0, 80], [160, 240]], dtype=torch.uint8)[None, None].expand(8000, 1, 2, 2)
    corners = chain(image, torch.arange(8000), Rng.from_seed(0))[:, 0, 0, 0]
    _, counts = corners.unique(return_counts=True)
    assert len(counts) == 4 and counts.sub(2000).abs().max() < 200  # five standard deviations


@pytest.mark.parametrize("channels", [2, 5, 7])
def test_the_preset_of_microscopy_takes_any_channels(channels):
    chain = Chain(size=8, crop=Crop(), steps=parse(preset("microscopy", "here"), "here"))
    stored = (pictures(channels) * 255).byte()
    views = chain(stored, torch.arange(6), Rng.from_seed(0))
    assert views.shape == (6, channels, 8, 8) and views.min() >= 0 and views.max() <= 1


def test_brightness_and_contrast_work_on_any_channels():
    """By the order brightness, then contrast about the mean of all channels, which is what their grey is."""
    images = pictures(5)
    jitter = Jitter(p=1.0, hue=0.0, saturation=0.0)
    found = jitter(images.clone(), Rng.from_seed(1).per_image(torch.arange(6)))
    assert found.shape == images.shape and not torch.allclose(found, images)


def test_what_makes_no_sense_is_refused_before_training():
    assert Jitter().refusal(3) == Jitter().refusal(1) == Grey().refusal(3) == ""
    assert "no hue" in Jitter().refusal(5) and "no colours" in Grey().refusal(2)
    assert Jitter(hue=0.0, saturation=0.0).refusal(5) == ""
    card = DataCard(num_images=600, channels=5, image_size=32)
    with pytest.raises(UserError, match="views of slot base: jitter cannot be used: images of 5 channels have no hue"):
        resolve("simclr", {"backbone": "conv4"}, card, "here")
    assert resolve("simclr", {"backbone": "conv4", "views": "microscopy"}, card, "here")
