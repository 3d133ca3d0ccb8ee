"""The controls: what noise holds, what a crop of a single picture shows, and that both are the same every time."""

import itertools
import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as torchvision

from selfstudy.errors import UserError
from selfstudy.images import load
from selfstudy.images import single as source


def is_part_of(smaller, larger) -> bool:
    return set(smaller.ids.tolist()) < set(larger.ids.tolist())


class TestNoise:
    def test_mean_and_deviation(self):
        """A normal of deviation 1/4 clipped at two deviations keeps 0.9594 of it, and 4.6 % black and white.

        Mutations: uniform noise; a deviation of 1/2; values that wrap around instead of being clipped.
        """
        values = load("noise:300", image_size=24).images.double() / 255
        assert values.shape == (300, 1, 24, 24)
        assert float(values.mean()) == pytest.approx(0.5, abs=0.002)
        assert float(values.std()) == pytest.approx(0.25 * 0.95945, rel=0.01)
        assert float(((values == 0) | (values == 1)).double().mean()) == pytest.approx(0.0463, abs=0.003)

    def test_pixels_channels_and_pictures_are_independent(self):
        """Correlations of 57,600 pairs, in standard errors. Mutations: one field for all channels; the same picture again."""
        values = load({"noise": 100, "channels": 3}, image_size=24).images.double() - 127.5
        assert values.shape == (100, 3, 24, 24)
        for first, second in (
            (values[:, 0], values[:, 1]), (values[:-1], values[1:]), (values[..., :-1], values[..., 1:]),
            (values[..., :-1, :], values[..., 1:, :]),
        ):  # fmt: skip
            correlation = float((first * second).mean() / values.var())
            assert abs(correlation) < 4 / math.sqrt(first.numel())

    def test_a_picture_depends_on_seed_and_place_alone(self):
        """Mutations: one stream for all pictures; a seed that is not used; the size of the set in the stream."""
        ten, twenty = load("noise:10", image_size=8), load("noise:20", image_size=8)
        assert is_part_of(ten, twenty) and len(set(twenty.ids.tolist())) == 20
        assert not set(load({"noise": 10, "seed": 1}, image_size=8).ids.tolist()) & set(twenty.ids.tolist())

    @pytest.mark.parametrize("image_size", [8, 31])
    def test_nothing_is_resized(self, image_size: int):
        """Mutation: pictures of a fixed size, which resizing would smooth: the deviation would fall."""
        images = load("noise:50", image_size=image_size).images
        assert images.shape[2:] == (image_size, image_size)
        assert float(images.float().std()) / 255 == pytest.approx(0.24, rel=0.03)

    @pytest.mark.parametrize(
        ("asked", "message"),
        [
            ("noise", "noise needs a number: write noise:NUMBER"),
            ("noise:many", "data: noise is 'many', but it should be a valid integer"),
            ("noise:0", "data: noise is 0, but must be a number of pictures, 1 or more"),
            ({"noise": 5, "std": 0.0}, "data: std is 0.0, but must be above 0"),
            ({"noise": 5, "channels": 2}, "data: channels is 2, but it should be 1 or 3"),
        ],
    )
    def test_mistakes(self, asked: object, message: str):
        with pytest.raises(UserError, match=message):
            load(asked, image_size=8)


@pytest.fixture
def picture(tmp_path):
    """100 x 80 pixels of colour noise, blurred a little: no two boxes of it are alike."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 25, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((100, 80), Image.Resampling.BICUBIC).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


class TestSingle:
    def test_as_many_as_asked_for_and_all_different(self, picture):
        """Mutations: a number of crops rounded to the number of threads; one stream for all crops."""
        images = load({"single": str(picture), "crops": 77}, image_size=16)
        assert images.images.shape == (77, 3, 16, 16) and len(set(images.ids.tolist())) == 77
        torch.set_num_threads(3)
        try:
            again = load({"single": str(picture), "crops": 77}, image_size=16)
        finally:
            torch.set_num_threads(1)
        assert torch.equal(images.images, again.images)

    def test_a_crop_depends_on_seed_and_place_alone(self, picture):
        """Mutations: the number of crops in the stream; a seed that is not used."""
        five, ten = (load({"single": picture, "crops": count}, image_size=16) for count in (5, 10))
        assert is_part_of(five, ten)
        other = load({"single": picture, "crops": 10, "seed": 1}, image_size=16)
        assert not set(other.ids.tolist()) & set(ten.ids.tolist())

    @pytest.mark.parametrize(("image_size", "crops"), [(8, 3000), (32, 300)])
    def test_no_black_corners(self, tmp_path, image_size: int, crops: int):
        """Crops of white paper are flat, whatever the turn, and at the picture's edges too. Mutations: the script's margin of
        sqrt(2), or a picture that is not mirrored at its edges: black comes into sight."""
        Image.new("RGB", (2 * image_size, 2 * image_size), "white").save(tmp_path / "white.png")
        images = load({"single": tmp_path / "white.png", "crops": crops}, image_size=image_size).images
        assert torch.equal(images.amin((2, 3)), images.amax((2, 3)))

    def test_half_of_the_crops_keep_their_colours(self, tmp_path):
        """Three standard errors of a half among 400. Mutations: colours always or never changed."""
        Image.new("RGB", (40, 40), (120, 60, 200)).save(tmp_path / "flat.png")
        crops = load({"single": tmp_path / "flat.png", "crops": 400}, image_size=8).images[:, :, 0, 0]
        kept = (crops == torch.tensor([120, 60, 200])).all(1).float().mean()
        assert float(kept) == pytest.approx(0.5, abs=0.075)

    def test_grey_stays_grey(self, tmp_path):
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)).save(tmp_path / "grey.png")
        assert load({"single": tmp_path / "grey.png", "crops": 20}, image_size=8).images.shape == (20, 1, 8, 8)

    def test_the_camera_was_held_upright(self, tmp_path):
        """Exif orientation 6. Mutation: the picture as it was recorded."""
        pixels = np.random.default_rng(0).integers(0, 256, (30, 50), dtype=np.uint8)
        exif = Image.Exif()
        exif[274] = 6
        Image.fromarray(np.ascontiguousarray(np.rot90(pixels))).save(tmp_path / "x.png", exif=exif)
        np.testing.assert_array_equal(np.asarray(source._read(tmp_path / "x.png", 8)), pixels)

    def test_mistakes(self, tmp_path, picture):
        """A picture that is too small would be magnified into a blur. Mutations: twice the longer side; no check."""
        with pytest.raises(
            UserError, match=r"is 100 x 80 pixels, but for crops of 41 pixels its shorter side must have at least 82"
        ):
            load(f"single:{picture}", image_size=41)
        with pytest.raises(UserError, match=r"the picture .*nowhere\.png does not exist"):
            load(f"single:{tmp_path / 'nowhere.png'}", image_size=8)
        (tmp_path / "damaged.png").write_bytes(picture.read_bytes()[:200])
        with pytest.raises(UserError, match=r"the picture .*damaged\.png is damaged or cut short"):
            load(f"single:{tmp_path / 'damaged.png'}", image_size=8)
        with pytest.raises(UserError, match="data: crops is 0, but must be 1 or more"):
            load({"single": picture, "crops": 0}, image_size=8)
        with pytest.raises(UserError, match="single needs a path: write single:PATH"):
            load("single", image_size=8)


class TestBoxes:
    def test_sizes_and_places(self):
        """Shares uniform in [1/500, 1] of the half-sized square, of those that fit; every edge of the picture is reached.

        Mutations: the square always in the middle; boxes up to the whole picture; aspects that are uniform themselves.
        """
        draws = np.random.default_rng(0)
        left, top, width, height = np.array([source.random_box(900, 600, 300, draws) for _ in range(4000)]).T
        assert left.min() >= 0 and top.min() >= 0 and (left + width).max() <= 900 and (top + height).max() <= 600
        assert left.min() < 10 and top.min() < 10 and (left + width).max() > 890 and (top + height).max() > 590
        assert width.max() <= 300 and height.max() <= 300
        share, aspect = width * height / 300**2, width / height
        assert 0.95 / 500 < share.min() < 4 / 500 and share.max() > 0.95
        assert 0.7 < aspect.min() < 0.78 and 1.28 < aspect.max() < 1.43
        assert np.median(np.log(aspect)) == pytest.approx(0.0, abs=0.02)

    def test_what_does_not_fit_is_drawn_again(self):
        """Of 13 % of the first tries a side is too long. Mutations: the whole square in their place, or a side cut short."""
        draws = np.random.default_rng(0)
        sides = np.array([source.random_box(2000, 2000, 1000, draws)[2:] for _ in range(2000)])
        assert (sides == 1000).any(1).mean() < 0.01


class TestTurn:
    @pytest.mark.parametrize(("degrees", "shear"), [(0.0, 0.0), (25.0, 0.0), (0.0, -20.0), (-30.0, 30.0), (15.0, 30.0)])
    def test_equals_torchvision(self, degrees: float, shear: float):
        """Mutations: the turn the other way; slant and turn in the other order; an odd margin off by half a pixel."""
        image = Image.new("L", (51, 51))
        ImageDraw.Draw(image).polygon([(10, 12), (40, 16), (22, 44)], fill=200)
        ours = source.turn(image, 25, degrees, shear)
        whole = torchvision.affine(image, degrees, [0, 0], 1.0, [shear, 0.0], InterpolationMode.BILINEAR)
        theirs = torchvision.center_crop(whole, [25, 25])
        assert abs(np.asarray(ours, dtype=int) - np.asarray(theirs, dtype=int)).max() <= 1

    def test_how_far_the_corners_come(self):
        """By trying: the corners of a square of side 2 under the inverse of every turn and slant. Mutation: sqrt(2)."""
        farthest = 0.0
        for degrees, shear in itertools.product(np.linspace(-30, 30, 121), np.linspace(-30, 30, 61)):
            cos, sin, tan = (
                math.cos(math.radians(degrees)),
                math.sin(math.radians(degrees)),
                math.tan(math.radians(shear)),
            )
            forward = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1, -tan], [0, 1]])
            corners = np.linalg.inv(forward) @ np.array([[1, 1, -1, -1], [1, -1, 1, -1]])
            farthest = max(farthest, float(abs(corners).max()))
        assert farthest == pytest.approx(source._REACH, rel=1e-4) and farthest > math.sqrt(2)


class TestJitter:
    def test_hue(self):
        """A third of the circle on from red is green. Mutation: the turn backwards gives blue."""
        red = Image.new("RGB", (2, 2), (255, 0, 0))
        found = np.asarray(source.turn_hue(red, 1 / 3))[0, 0]
        assert found.tolist() == pytest.approx([0, 255, 0], abs=5)

    def test_ranges(self):
        """Of a flat grey only brightness can be seen: factors of 0.6 to 1.4. Mutations: another strength; no brightness."""
        grey = Image.new("RGB", (2, 2), (100, 100, 100))
        levels = [np.asarray(source.jitter(grey, np.random.default_rng(n)))[0, 0, 0] for n in range(400)]
        assert 58 <= min(levels) <= 63 and 137 <= max(levels) <= 141

    @pytest.mark.parametrize(
        ("factors", "turns", "expected"),
        [
            ((1.0, 1.0, 1.0), 0.0, [(200, 80, 80), (60, 120, 60)]),
            ((0.5, 1.0, 1.0), 0.0, [(100, 40, 40), (30, 60, 30)]),
            ((1.0, 0.5, 1.0), 0.0, [(153, 93, 93), (83, 113, 83)]),  # half-way to the mean luma, 106
            ((1.0, 1.0, 0.5), 0.0, [(158, 98, 98), (78, 108, 78)]),  # half-way to their own luma, 116 and 95
            ((1.0, 1.0, 1.0), 0.5, [(80, 200, 200), (120, 60, 120)]),
        ],
    )
    def test_by_hand(self, factors: tuple[float, ...], turns: float, expected: list[tuple[int, ...]]):
        """A red and a green pixel. Mutation: one of the four left out, or given another's factor."""

        class Given:
            def uniform(self, low: float, high: float, count: int = 1) -> object:
                return np.array(factors) if count == 3 else turns

            def permutation(self, count: int) -> range:
                return range(count)

        pair = Image.fromarray(np.array([[(200, 80, 80), (60, 120, 60)]], dtype=np.uint8))
        found = np.asarray(source.jitter(pair, Given()))[0].astype(int)
        np.testing.assert_allclose(found, expected, atol=2)
