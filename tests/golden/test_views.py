"""Operations on views against slow twins, torchvision and Pillow with the same parameters, and what they draw.

Each test names a mutation that fails it.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchvision.transforms.v2 as tv
import torchvision.transforms.v2.functional as peer
from PIL import Image, ImageFilter
from scipy import stats
from torch import Tensor
from torchvision.transforms import InterpolationMode

from selfstudy.rng import Draws, Rng
from selfstudy.views import Chain, Crop, Operation, papers
from selfstudy.views._boxes import Boxes, random_boxes
from selfstudy.views._fields import field_seeds, normal_field, uniform_field
from selfstudy.views._morphology import window_extreme
from selfstudy.views._operation import apply_to_some, choose_results, draw_with_choice, pick_rows
from selfstudy.views.affine import Affine, affine
from selfstudy.views.blur import Blur, blur, radius_for
from selfstudy.views.crop import crop
from selfstudy.views.dilation import Dilation
from selfstudy.views.elastic import displacement, elastic, nodes
from selfstudy.views.erase import Erase, erase
from selfstudy.views.erosion import Erosion
from selfstudy.views.flip import Flip
from selfstudy.views.grey import Grey, grey
from selfstudy.views.jitter import ORDERS, Jitter, all_at_once, jitter, run_by_run
from selfstudy.views.noise import Noise, add_noise
from selfstudy.views.solarise import solarise
from tests.reference import views as twins

CLOSE = 2e-5  # against exact twins: float32 with some hundred terms


def pictures(count: int, channels: int, height: int, width: int | None = None, seed: int = 0) -> Tensor:
    """Smooth coloured blobs with noise, uint8: neither flat nor white noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, channels, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width or height), mode="bicubic")
    noise = 0.15 * torch.randn(smooth.shape, generator=generator)
    return ((smooth + noise).clamp(0, 1) * 255).round().to(torch.uint8)


def draws_of(count: int, seed: int = 0) -> Draws:
    return Rng.from_seed(seed).per_image(torch.arange(count))


def largest_error(ours: Tensor, theirs: Tensor | np.ndarray) -> float:
    return float((ours.double() - torch.as_tensor(theirs).double()).abs().max())


def as_double(image: Tensor) -> np.ndarray:
    return (image.double() / 255 if image.dtype == torch.uint8 else image.double()).numpy()


class TestCrop:
    BOXES = ((0, 0, 20, 20), (3, 5, 9, 7), (10, 2, 4, 18), (19, 19, 1, 1), (0, 7, 20, 2))

    def boxes(self) -> Boxes:
        return Boxes(*torch.tensor(self.BOXES).T)

    @pytest.mark.parametrize("kernel", ["bilinear", "bicubic"])
    @pytest.mark.parametrize("size", [8, 20, 33])
    def test_twin(self, kernel, size):
        """Mutation: weights that reach beyond the box, or a kernel not widened when shrinking."""
        images = pictures(5, 3, 20)
        ours = crop(images, self.boxes(), size, size, kernel)
        for i, box in enumerate(self.BOXES):
            twin = twins.crop(
                as_double(images[i]), *box, (size, size), twins.cubic if kernel == "bicubic" else twins.triangle
            )
            assert largest_error(ours[i], twin) < CLOSE

    @pytest.mark.parametrize("kernel", ["bilinear", "bicubic"])
    @pytest.mark.parametrize(("side", "size"), [(20, 8), (20, 33), (70, 64)])
    def test_torchvision(self, kernel, side, size):
        """The last size has no table of weights. Mutation: rows not normalised; the table read at a wrong row."""
        images = pictures(40, 3, side).float() / 255
        boxes = Crop(scale=(0.02, 1.0), ratio=(0.3, 3.0)).boxes(draws_of(40), side, side)
        ours = crop(images, boxes, size, size, kernel)
        for i, box in enumerate(zip(*(part.tolist() for part in boxes), strict=True)):
            theirs = peer.resized_crop(
                images[i], *box, [size, size], interpolation=InterpolationMode(kernel), antialias=True
            )
            assert largest_error(ours[i], theirs.clamp(0, 1)) < CLOSE

    @pytest.mark.parametrize("kernel", ["bilinear", "bicubic"])
    def test_pillow(self, kernel):
        """Pillow clips between rows and columns, so the pictures stay clear of black and white.

        Mutation: the cubic's a = -0.75 of resizing without antialias instead of -0.5.
        """
        images = pictures(20, 3, 36) // 2 + 64
        boxes = Crop().boxes(draws_of(20), 36, 36)
        ours = crop(images, boxes, 32, 32, kernel)
        for i, (top, left, height, width) in enumerate(zip(*(part.tolist() for part in boxes), strict=True)):
            cut = Image.fromarray(images[i].permute(1, 2, 0).numpy()).crop((left, top, left + width, top + height))
            resized = cut.resize((32, 32), getattr(Image.Resampling, kernel.upper()), reducing_gap=None)
            levels = (ours[i] * 255).round().permute(1, 2, 0).numpy()
            assert np.abs(levels - np.array(resized)).max() <= 1  # Pillow rounds twice, once per direction

    def test_heights_and_widths_apart(self):
        """Mutation: rows and columns of weights swapped."""
        images = pictures(3, 1, 12, 20)
        ours = crop(images, Boxes(*torch.tensor([[1, 2, 10, 5]] * 3).T), 7, 9)
        assert largest_error(ours[0], twins.crop(as_double(images[0]), 1, 2, 10, 5, (7, 9))) < CLOSE

    def test_the_whole_image(self):
        """Mutation: the short cut for equal sizes taken for other sizes too."""
        images, whole = pictures(2, 1, 16), Crop(scale=(1.0, 1.0), ratio=(1.0, 1.0))
        assert torch.equal(whole.to_size(images, draws_of(2), 16), images.float() / 255)
        smaller = whole.to_size(images, draws_of(2), 12)
        assert largest_error(smaller[1], twins.crop(as_double(images[1]), 0, 0, 16, 16, (12, 12))) < CLOSE

    @pytest.mark.parametrize(("scale", "ratio"), [((0.08, 1.0), (3 / 4, 4 / 3)), ((0.3, 0.9), (0.25, 4.0))])
    def test_boxes_are_distributed_as_torchvisions(self, scale, ratio):
        """Mutation: aspect uniform instead of log-uniform; corner always 0; side (not area) uniform."""
        count, side = 3000, 64
        ours = Crop(scale=scale, ratio=ratio).boxes(draws_of(count), side, side)
        torch.manual_seed(0)
        peers = tv.RandomResizedCrop(side, scale=scale, ratio=ratio)
        image = torch.zeros(1, side, side)
        theirs = [peers.make_params([image]) for _ in range(count)]
        top, left, height, width = (
            torch.tensor([box[k] for box in theirs]) for k in ("top", "left", "height", "width")
        )
        for ours_, theirs_ in (
            (ours.height * ours.width, height * width),
            (ours.width / ours.height, width / height),
            (ours.top / (side - ours.height + 1), top / (side - height + 1)),
            (ours.left, left),
        ):
            assert stats.ks_2samp(ours_.numpy(), theirs_.numpy()).pvalue > 1e-3

    @pytest.mark.parametrize("ratio", [(2.0, 2.5), (0.3, 0.4), (0.9, 0.95), (0.5, 1.5)])
    def test_fallback_where_no_box_fits(self, ratio):
        """A box of the whole area fits only if it is square. Mutation: the whole image whatever the aspect asked for."""
        ours = Crop(scale=(1.0, 1.0), ratio=ratio)
        boxes, (_, found) = (
            ours.boxes(draws_of(9), 33, 33),
            random_boxes(draws_of(9).fork("box"), 33, 33, *(ours.scale, ratio)),
        )
        torch.manual_seed(0)
        theirs = tv.RandomResizedCrop(8, ours.scale, ratio).make_params([torch.zeros(1, 33, 33)])
        assert [int(part[~found][0]) for part in boxes] == [theirs[k] for k in ("top", "left", "height", "width")]


class TestJitter:
    @staticmethod
    def tables(count: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        return Jitter(hue=0.5).draw(draws_of(count, seed), 1, 1)  # type: ignore[return-value]

    @pytest.mark.parametrize("channels", [1, 3])
    def test_twin_in_every_order(self, channels):
        """Mutation: contrast about the mean of the input instead of the current image; no clamp between the steps."""
        images = pictures(24, channels, 9).float() / 255
        factors, shift, _ = self.tables(24)
        ours = jitter(images.clone(), factors, shift, torch.arange(24))
        for i, order in enumerate(ORDERS):
            twin = twins.jitter(as_double(images[i]), factors[i].double().numpy(), float(shift[i]), order)
            assert largest_error(ours[i], twin) < CLOSE

    def test_torchvision_in_every_order(self):
        """Mutation: hue turned the other way; saturation with equal weights of the channels."""
        images = pictures(48, 3, 16, seed=1).float() / 255
        factors, shift, _ = self.tables(48, seed=1)
        order = torch.arange(48) % 24
        ours = jitter(images.clone(), factors, shift, order)
        for i in range(48):
            theirs = images[i]
            for kind in ORDERS[i % 24]:
                change = (peer.adjust_brightness, peer.adjust_contrast, peer.adjust_saturation, peer.adjust_hue)[kind]
                theirs = change(theirs, float(torch.cat([factors[i], shift[i, None]])[kind]))
            assert largest_error(ours[i], theirs) < 10 * CLOSE  # its hue goes through sixths rounded to float32

    def test_hue_of_special_colours(self):
        """Greys have none, pure colours sit on the corners. Mutation: 0 / 0 let through, or ties to the wrong corner."""
        corners = torch.tensor([[r, g, b] for r in (0.0, 0.5, 1.0) for g in (0.0, 0.5, 1.0) for b in (0.0, 0.5, 1.0)])
        images = corners.T[None, :, :, None].repeat(7, 1, 1, 1)
        shift = torch.tensor([-0.5, -1 / 3, -0.1, 0.0, 0.2, 1 / 6, 0.5])
        ours = jitter(images.clone(), torch.ones(7, 3), shift, torch.zeros(7, dtype=torch.int64))
        for i in range(7):
            assert largest_error(ours[i], twins.hue(images[i].double().numpy(), float(shift[i]))) < CLOSE
        assert largest_error(ours[6], peer.adjust_hue(images[6], 0.5)) < CLOSE

    def test_both_ways_agree(self):
        """The way of GPUs, run here. Mutation: `before` including the blend at the hue's own place."""
        images = pictures(48, 3, 8).float() / 255
        factors, shift, _ = self.tables(48)
        kinds = torch.stack([torch.randperm(3, generator=torch.Generator().manual_seed(i)) for i in range(48)])
        place = torch.arange(48) % 4
        first, second = (way(images.clone(), factors, kinds, shift, place) for way in (run_by_run, all_at_once))
        assert torch.equal(first, second)

    def test_orders_are_uniform_and_factors_cover_their_range(self):
        """Mutation: a fixed order, or only the hue's place random."""
        factors, shift, order = Jitter(brightness=0.4, contrast=1.5, saturation=0.0, hue=0.1).draw(draws_of(4800), 1, 1)
        assert stats.chisquare(order.bincount(minlength=24).numpy()).pvalue > 1e-3
        for values, low, high in ((factors[:, 0], 0.6, 1.4), (factors[:, 1], 0.0, 2.5), (shift, -0.1, 0.1)):
            assert stats.kstest(values.numpy(), "uniform", (low, high - low)).pvalue > 1e-3
        assert (factors[:, 2] == 1.0).all()
        assert abs(np.corrcoef(factors[:, 0], factors[:, 1])[0, 1]) < 0.06  # four standard errors


class TestGreyBlurSolariseFlip:
    def test_grey(self):
        """Mutation: the weights of BT.709, or a mean of the channels."""
        images = pictures(4, 3, 8).float() / 255
        assert largest_error(grey(images.clone()), peer.rgb_to_grayscale(images, 3)) < 1e-6
        assert largest_error(grey(images.clone())[2, 1], twins.grey(as_double(images[2]))) < 1e-6
        assert torch.equal(grey(images[:, :1].clone()), images[:, :1])

    @pytest.mark.parametrize(("side", "radius"), [(9, 1), (9, 4), (32, 1), (40, 2)])
    def test_blur(self, side, radius):
        """Mutation: edges repeated instead of mirrored; sigma squared twice."""
        images = pictures(6, 3, side).float() / 255
        sigma = torch.tensor([0.1, 0.3, 0.7, 1.0, 1.5, 2.0])
        ours = blur(images, sigma, radius)
        for i in range(6):
            assert (
                largest_error(ours[i], peer.gaussian_blur(images[i], [2 * radius + 1] * 2, [float(sigma[i])] * 2))
                < CLOSE
            )
        if side == 9:
            assert largest_error(ours[4], twins.blur(as_double(images[4]), 1.5, radius)) < CLOSE

    @pytest.mark.parametrize(
        ("side", "kernel"), [(224, 23), (96, 9), (64, 7), (32, 3), (28, 3), (8, 3), (2, 3), (1, 1)]
    )
    def test_kernel_is_a_tenth_of_the_side(self, side, kernel):
        """Mutation: 224 // 10 = 22 rounded down to 21."""
        assert 2 * radius_for(side) + 1 == kernel

    def test_solarise(self):
        """Mutation: `>` for `>=`: 0.5 stands in the image."""
        images = torch.linspace(0, 1, 11).view(1, 1, 1, 11)
        assert largest_error(solarise(images, 0.5), peer.solarize(images, 0.5)) == 0.0
        assert largest_error(solarise(images, 0.3)[0], twins.solarise(images[0].numpy(), 0.3)) == 0.0

    def test_flip(self):
        """Mutation: the axes swapped."""
        images = pictures(2, 3, 5, 7).float()
        assert torch.equal(Flip()(images, draws_of(2)), peer.horizontal_flip(images))
        assert torch.equal(Flip(vertical=True)(images, draws_of(2)), peer.vertical_flip(images))


class TestInk:
    @pytest.mark.parametrize("brightest", [True, False])
    def test_twin(self, brightest):
        """Mutation: even windows reaching to the other side; a larger window for all images."""
        images = pictures(7, 2, 9, 6).float() / 255
        sizes = torch.tensor([1, 2, 3, 4, 5, 6, 7])
        ours = window_extreme(images, sizes, 7, brightest=brightest)
        for i, size in enumerate(sizes.tolist()):
            twin = twins.window_extreme(images[i].numpy(), size, max if brightest else min)
            assert np.array_equal(ours[i].numpy(), twin)

    @pytest.mark.parametrize("size", [3, 5, 7])
    def test_pillow(self, size):
        """Mutation: pixels outside the image taken as black."""
        images = pictures(1, 1, 12)
        scaled, sizes = images.float() / 255, torch.tensor([size])
        for brightest, filter_ in ((True, ImageFilter.MaxFilter(size)), (False, ImageFilter.MinFilter(size))):
            theirs = np.array(Image.fromarray(images[0, 0].numpy()).filter(filter_))
            ours = window_extreme(scaled, sizes, size, brightest=brightest)
            assert largest_error(ours[0, 0], theirs / 255) < 1e-6

    @pytest.mark.parametrize("ink", ["bright", "dark"])
    def test_dilation_adds_ink_and_erosion_takes_it(self, ink):
        """Mutation: dilation always the brightest."""
        images = pictures(64, 1, 8).float() / 255
        more, less = (kind(ink=ink, size=4)(images, draws_of(64)) for kind in (Dilation, Erosion))
        sign = 1 if ink == "bright" else -1
        assert (sign * (more - images)).min() >= 0 and (sign * (more - images)).mean() > 0.02
        assert (sign * (images - less)).min() >= 0 and (sign * (images - less)).mean() > 0.02

    def test_every_size_is_drawn_alike(self):
        """Mutation: the largest size never drawn."""
        (sizes,) = Dilation(size=5).draw(draws_of(4000), 1, 1)
        assert stats.chisquare(sizes.bincount(minlength=6)[2:].numpy()).pvalue > 1e-3 and int(sizes.max()) == 5


class TestAffine:
    DEGREES, SCALE, SHEAR = (
        torch.tensor([0.0, 30.0, -75.0, 10.0]),
        torch.tensor([1.0, 1.0, 0.8, 1.3]),
        torch.tensor([0.0, 0.0, 12.0, -25.0]),
    )
    TRANSLATE = torch.tensor([[2.0, -1.0], [0.0, 0.0], [1.0, 3.0], [-2.0, 0.0]])

    @pytest.mark.parametrize("fill", [0.0, 1.0, 0.4])
    def test_twin(self, fill):
        """Mutation: rotation the other way, x and y swapped, translation before the rotation."""
        images = pictures(4, 2, 9, 11).float() / 255
        ours = affine(images, self.DEGREES, self.TRANSLATE + 0.3, self.SCALE, self.SHEAR, fill)
        for i in range(4):
            twin = twins.affine(
                as_double(images[i]), float(self.DEGREES[i]), (self.TRANSLATE[i] + 0.3).tolist(),
                float(self.SCALE[i]), float(self.SHEAR[i]), fill,
            )  # fmt: skip
            assert largest_error(ours[i], twin) < CLOSE

    def test_torchvision(self):
        """Mutation: the grid's corners aligned with pixel centres (align_corners)."""
        images = pictures(4, 3, 17).float() / 255
        ours = affine(images, self.DEGREES, self.TRANSLATE, self.SCALE, self.SHEAR)
        for i in range(4):
            theirs = peer.affine(
                images[i], float(self.DEGREES[i]), self.TRANSLATE[i].tolist(), float(self.SCALE[i]),
                [float(self.SHEAR[i]), 0.0], InterpolationMode.BILINEAR, fill=None,
            )  # fmt: skip
            assert largest_error(ours[i], theirs) < CLOSE

    def test_what_is_drawn(self):
        """Mutation: translation as a share of the wrong side; one draw used for two settings."""
        operation = Affine(degrees=20, translate=0.1, scale=(0.5, 2.0), shear=5)
        degrees, translate, scale, shear = operation.draw(draws_of(4000), 40, 20)
        expected = (
            (degrees, -20, 20),
            (translate[:, 0], -2, 2),
            (translate[:, 1], -4, 4),
            (scale, 0.5, 2),
            (shear, -5, 5),
        )
        for values, low, high in expected:
            assert stats.kstest(values.numpy(), "uniform", (low, high - low)).pvalue > 1e-3
        together = np.corrcoef([values.numpy() for values, _, _ in expected])
        assert np.abs(together - np.eye(5)).max() < 0.07  # more than four standard errors


class TestElastic:
    ALPHA, SIGMA = 1.4, 3.0

    def noise(self, count: int, side: int) -> Tensor:
        grid = len(nodes(side, self.SIGMA))
        return uniform_field(field_seeds(draws_of(count)), 2 * grid * grid).view(-1, 2, grid, grid)

    @pytest.mark.parametrize("fill", [0.0, 1.0])
    def test_twin(self, fill):
        """Mutation: x and y swapped; rows of the smoothing scaled to sum 1 instead of length 1."""
        images, noise = pictures(2, 2, 10).float() / 255, self.noise(2, 10)
        ours = elastic(images, noise, self.ALPHA, self.SIGMA, fill)
        for i in range(2):
            shift = twins.displacement(
                noise[i].double().numpy(), 10, nodes(10, self.SIGMA).numpy(), self.ALPHA, self.SIGMA
            )
            assert largest_error(ours[i], twins.displace(as_double(images[i]), shift, fill)) < CLOSE

    def test_torchvision_with_the_same_displacement(self):
        """Mutation: displacement in half pixels."""
        images, noise = pictures(3, 3, 28).float() / 255, self.noise(3, 28)
        ours = elastic(images, noise, self.ALPHA, self.SIGMA)
        shift = displacement(noise, 28, 28, self.ALPHA, self.SIGMA).permute(0, 2, 3, 1) * (2 / 28)
        for i in range(3):
            theirs = peer.elastic(images[i], shift[i : i + 1], InterpolationMode.BILINEAR, fill=None)
            assert largest_error(ours[i], theirs) < CLOSE

    @pytest.mark.parametrize(("side", "sigma"), [(28, 3.0), (33, 4.0)])
    def test_displacement_is_as_strong_and_smooth_as_promised(self, side, sigma):
        """Noise smoothed by sigma has the covariance alpha^2 exp(-d^2 / 4 sigma^2) at a distance of d, at edges too.

        Unit noise at every node in turn gives the covariance exactly. Mutation: nodes 1.5 sigma apart; one fewer beyond
        the edges.
        """
        grid = len(nodes(side, sigma))
        noise = torch.eye(grid * grid).view(-1, 1, grid, grid).expand(-1, 2, -1, -1)
        shift = displacement(noise, side, side, self.ALPHA, sigma)[:, 0].flatten(1).double() / math.sqrt(3)
        pixel = torch.cartesian_prod(torch.arange(side), torch.arange(side)).double()
        expected = self.ALPHA**2 * torch.exp(-(torch.cdist(pixel, pixel) ** 2) / (4 * sigma**2))
        assert largest_error(shift.T @ shift, expected) < 1e-3 * self.ALPHA**2


class TestEraseAndNoise:
    def test_erase(self):
        """Mutation: a box one pixel too large."""
        images, cover = (
            pictures(3, 3, 9).float() / 255,
            torch.rand(3, 3, 9, 9, generator=torch.Generator().manual_seed(0)),
        )
        boxes = ((2, 3, 4, 5), (0, 0, 9, 9), (8, 0, 1, 9))
        ours = erase(images, Boxes(*torch.tensor(boxes).T), cover)
        for i, (top, left, height, width) in enumerate(boxes):
            part = cover[i, :, top : top + height, left : left + width]
            assert torch.equal(ours[i], peer.erase(images[i], top, left, height, width, part))
            assert largest_error(ours[i], twins.erase(as_double(images[i]), *boxes[i], cover[i].numpy())) < 1e-7

    def test_boxes_are_distributed_as_torchvisions(self):
        """Mutation: aspect uniform instead of log-uniform. torchvision refuses whole sides, so areas stay small here."""
        count, side, area, ratio = 3000, 48, (0.02, 0.25), (0.3, 3.3)
        ours, found = random_boxes(draws_of(count), side, side, area, ratio)
        torch.manual_seed(0)
        peers = tv.RandomErasing(scale=area, ratio=ratio)
        theirs = [peers.make_params([torch.zeros(1, side, side)]) for _ in range(count)]
        assert found.all()
        for part, key in ((ours.top, "i"), (ours.left, "j"), (ours.height, "h"), (ours.width, "w")):
            assert stats.ks_2samp(part.numpy(), np.array([box[key] for box in theirs])).pvalue > 1e-3

    def test_value(self):
        """Mutation: random pixels in [-1, 1], or the same for all images."""
        images = torch.full((200, 1, 16, 16), 2.0)  # outside the range, to be seen
        covered = Erase(value=0.25)(images, draws_of(200))
        assert set(covered.unique().tolist()) == {0.25, 2.0}
        noisy = Erase()(images, draws_of(200))
        values = noisy[noisy != 2.0].numpy()
        assert stats.kstest(values[:4000], "uniform").pvalue > 1e-3
        assert np.array_equal(noisy.numpy() != 2.0, covered.numpy() != 2.0)
        assert len(np.unique(values)) > 0.3 * len(values)

    def test_no_box_fits(self):
        """Nothing is erased. Mutation: the whole image erased."""
        images = torch.ones(50, 1, 8, 8)
        assert torch.equal(Erase(area=(1.0, 1.0), ratio=(3.0, 3.0))(images, draws_of(50)), images)

    def test_noise(self):
        """Mutation: variance for standard deviation; no clamp."""
        images = torch.full((60, 1, 40, 40), 0.5)
        assert float((Noise(std=(0.05, 0.05))(images, draws_of(60)) - 0.5).std()) == pytest.approx(0.05, rel=0.01)
        strengths = (Noise(std=(0.0, 0.1))(images, draws_of(60)) - 0.5).std(dim=(1, 2, 3))
        assert stats.kstest(strengths.numpy(), "uniform", (0.0, 0.1)).pvalue > 1e-3
        field = torch.tensor([-9.0, 9.0, 1.0]).view(1, 1, 1, 3)
        assert add_noise(torch.full((1, 1, 1, 3), 0.5), field, torch.tensor([0.1])).flatten().tolist() == pytest.approx(
            [0.0, 1.0, 0.6]
        )

    def test_fields(self):
        """Mutation: cosine twice instead of cosine and sine; a field of half the width."""
        seeds = field_seeds(draws_of(100))
        normal, uniform = normal_field(seeds, 1001).numpy(), uniform_field(seeds, 1001).numpy()
        assert normal.shape == uniform.shape == (100, 1001)
        assert stats.kstest(normal.ravel(), "norm").pvalue > 1e-3
        assert stats.kstest(uniform.ravel(), "uniform", (-1, 2)).pvalue > 1e-3
        assert np.abs(np.corrcoef(normal[:, :6].T) - np.eye(6)).max() < 0.4
        assert np.abs(np.corrcoef(normal) - np.eye(100)).max() < 0.16  # images: five standard errors
        assert abs(np.corrcoef(normal[:, :500].ravel(), normal[:, 501:1001].ravel())[0, 1]) < 0.02


class TestSome:
    @pytest.mark.parametrize("way", [apply_to_some, pick_rows, choose_results])  # the last is the way of GPUs
    @pytest.mark.parametrize("operation", [Jitter(p=0.3), Blur(p=0.3), Affine(p=0.3), Grey(p=0.3)])
    def test_chosen_images_are_changed_and_the_others_are_not(self, operation: Operation, way: Callable[..., Tensor]):
        """Mutation: the chosen images' tables taken from the first rows; the operation let loose on the others too."""
        images, draws = pictures(300, 3, 8).float() / 255, draws_of(300)
        chosen, *tables = draw_with_choice(operation, draws, 8, 8)
        some = way(operation, images.clone(), chosen, *tables)
        everyone = operation(images, draws)
        assert torch.equal(some[~chosen], images[~chosen])
        assert torch.equal(some[chosen], everyone[chosen])
        assert abs(int(chosen.sum()) - 90) < 4 * math.sqrt(300 * 0.3 * 0.7)

    def test_a_chain_is_its_operations_one_after_the_other(self):
        """Mutation: a step's tables given to its neighbour; rows not put back in order."""
        images, index, rng = pictures(150, 3, 20), torch.arange(150) + 7, Rng.from_seed(3)
        chain = papers.simclr(16)
        expected = chain.crop.to_size(images, rng.fork("crop").per_image(index), 16)
        for position, step in enumerate(chain.steps):
            draws = rng.fork(position, step.name).per_image(index)
            chosen = draws.fork("whether").bernoulli(step.p)
            expected = torch.where(chosen[:, None, None, None], step(expected, draws), expected)
        assert torch.equal(chain(images, index, rng), expected)

    def test_equal_operations_at_two_places_draw_apart(self):
        """Mutation: streams forked by name alone: two flips of the same images would cancel out."""
        chain = Chain(size=8, crop=Crop(scale=(1.0, 1.0), ratio=(1.0, 1.0)), steps=(Flip(), Flip()))
        images = pictures(100, 1, 8)
        changed = (chain(images, torch.arange(100), Rng.from_seed(0)) != images.float() / 255).flatten(1).any(dim=1)
        assert 30 < int(changed.sum()) < 70


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("chain", [papers.simclr(24), papers.byol_second(24), papers.autoencoder(28)])
def test_a_gpu_sees_what_a_cpu_sees(chain: Chain):
    """Mutation: a draw that depends on the device."""
    images, index = pictures(64, 3, 28), torch.arange(64)
    here, there = chain(images, index, Rng.from_seed(0)), chain(images.cuda(), index.cuda(), Rng.from_seed(0))
    assert ((here - there.cpu()).abs() > 1e-4).float().mean() < 1e-3  # solarising turns rounding into a jump
