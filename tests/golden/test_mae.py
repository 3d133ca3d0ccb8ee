"""MAE: places, patches and loss against twins, lightly and closed forms; what the encoder may see; what is refused."""

import math

import lightly.models.utils as lightly
import numpy as np
import pytest
import torch
from torch import Tensor

from selfstudy.errors import UserError
from selfstudy.images import ImageSet
from selfstudy.methods.mae import MAE, Decoder, Settings, masked_error, normalise_patches, num_kept, patchify, pick
from selfstudy.nn.positions import sin_cos_positions
from selfstudy.rng import Rng
from selfstudy.training import resolve
from selfstudy.training.pretrain import build_method
from selfstudy.types import Step, Views
from tests.reference import mae as twin

RNG = Rng.from_seed(0)
WHOLE = [{"crop": {"scale": [1.0, 1.0], "ratio": [1.0, 1.0]}}]
STEP = Step(0, 0, True, 0.0, RNG)
NARROW = {"method.decoder_dim": 16, "method.decoder_depth": 1, "method.num_heads": 2}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def colours() -> ImageSet:
    """Six pictures of colour noise, 48 pixels a side; the channels differ in mean and deviation."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(6, 3, 48, 48, generator=generator) * torch.tensor([60.0, 120.0, 255.0]).view(3, 1, 1)
    names = np.array([f"image{i}" for i in range(6)])
    return ImageSet(name="colours", images=pixels.byte(), image_size=48, ids=names, groups=names, paths=names)


def made(images: ImageSet, **overrides: object) -> tuple[MAE, Views]:
    """A small method with nine patches of 16 pixels a side, and the views of all images."""
    settings = resolve(
        "mae",
        {"backbone": "test_vit", "batch_size": 6, "views": WHOLE, "stem": "imagenet"} | NARROW | overrides,
        images.card,
        "test",
    )
    method = build_method(settings, images, RNG)
    assert isinstance(method, MAE)
    return method.eval(), method.views(images.at(torch.arange(len(images))), RNG, settings.chains())


class TestPositions:
    def test_by_hand(self):
        """The second patch of the first row: column 1, row 0. Mutation: rows first."""
        expected = [math.sin(1.0), math.sin(0.01), math.cos(1.0), math.cos(0.01), 0.0, 0.0, 1.0, 1.0]
        torch.testing.assert_close(sin_cos_positions(3, 8)[1], torch.tensor(expected))

    @pytest.mark.parametrize(("grid", "width"), [(3, 8), (7, 64), (14, 12)])
    def test_equals_the_twin_and_lightly(self, grid: int, width: int):
        """Mutations: frequencies over width / 2, sines and cosines taking turns, the halves exchanged."""
        ours = sin_cos_positions(grid, width).numpy()
        np.testing.assert_allclose(ours, twin.positions(grid, width), atol=1e-6)
        np.testing.assert_allclose(
            ours, lightly.get_2d_sine_cosine_positional_embedding(width, grid, cls_token=False), atol=1e-5
        )


class TestPatches:
    def test_equals_the_twin_and_lightly(self):
        """Mutations: channels first, columns before rows."""
        images = noise(2, 3, 6, 6)
        ours = patchify(images, 2)
        np.testing.assert_array_equal(ours[1].numpy(), twin.patchify(images[1].numpy(), 2))
        assert torch.equal(ours, lightly.patchify(images, 2))

    def test_round_trip(self):
        """Mutation: any other order of pixels."""
        image = noise(1, 3, 12, 12)
        back = twin.unpatchify(patchify(image, 4)[0].numpy(), 4, 3)
        np.testing.assert_array_equal(back.astype(np.float32), image[0].numpy())

    @pytest.mark.parametrize(
        ("patches", "ratio", "kept"),
        [(64, 0.75, 16), (49, 0.75, 12), (10, 0.9, 1), (100, 0.9, 10), (4, 0.99, 1), (4, 0.01, 3), (2, 0.5, 1)],
    )
    def test_how_many_are_kept(self, patches: int, ratio: float, kept: int):
        """Mutations: int() keeps 0 of 10 and 9 of 100; no bounds keep none or all of 4."""
        assert num_kept(patches, ratio) == kept


class TestNormalisedPatches:
    @pytest.mark.parametrize(("patch", "expected"), [(4, 0.979167), (8, 0.994792), (16, 0.998698)])
    def test_drawing_nothing(self, patch: int, expected: float):
        """(n - 1) / n for n = 3 * patch * patch. Mutation: the biased variance gives 1."""
        patches = normalise_patches(0.2 + 3 * noise(2, 5, 3 * patch * patch))
        hidden = torch.tensor([[0, 2], [4, 1]])
        assert float(masked_error(torch.zeros(2, 2, 3 * patch * patch), patches, hidden)) == pytest.approx(
            expected, abs=1e-5
        )

    def test_equals_lightly(self):
        """Mutation: variance over all patches of an image."""
        patches = noise(2, 5, 12) * torch.arange(1, 6).view(1, 5, 1)
        torch.testing.assert_close(normalise_patches(patches), lightly.normalize_mean_var(patches))

    def test_a_blank_patch_is_zero(self):
        """Mutation: without the floor it is NaN."""
        patches = torch.full((1, 2, 16), 0.7)
        assert float(normalise_patches(patches).abs().max()) < 1e-3


class TestLoss:
    @pytest.mark.parametrize("norm_pix", [False, True])
    def test_equals_the_twin(self, norm_pix: bool):
        """Mutations: the error of all patches, or of the kept ones."""
        drawn, patches = noise(3, 4, 6), 2 * noise(3, 4, 6, seed=1) + 1
        hidden = torch.tensor([[3, 0], [1, 2], [2, 0]])
        is_hidden = np.zeros((3, 4), dtype=bool)
        for n, places in enumerate(hidden.tolist()):
            is_hidden[n, places] = True
        expected = twin.loss(drawn.numpy(), patches.numpy(), is_hidden, norm_pix)
        targets = normalise_patches(patches) if norm_pix else patches
        assert float(masked_error(pick(drawn, hidden), targets, hidden)) == pytest.approx(expected, rel=1e-5)

    def test_perfect_and_visible(self):
        """A perfect drawing costs 0; a kept patch is no target. Mutation: patches picked in index order."""
        patches, hidden = noise(2, 4, 6), torch.tensor([[3, 0], [1, 2]])
        drawn = pick(patches, hidden)
        assert float(masked_error(drawn, patches, hidden)) == 0.0
        for n, place in ((0, 1), (0, 2), (1, 0), (1, 3)):
            patches[n, place] += 5
        assert float(masked_error(drawn, patches, hidden)) == 0.0
        patches[1, 2] += 5
        assert float(masked_error(drawn, patches, hidden)) == pytest.approx(25 / 4)

    def test_gradient_and_order_of_images(self):
        """Mutation: a detached drawing; a sum over patches."""
        drawn, patches, hidden = (
            noise(3, 2, 4).double(),
            noise(3, 4, 4, seed=1).double(),
            torch.tensor([[3, 0], [1, 2], [2, 0]]),
        )
        value = masked_error(drawn, patches, hidden)
        order = torch.tensor([2, 0, 1])
        torch.testing.assert_close(masked_error(drawn[order], patches[order], hidden[order]), value)
        torch.testing.assert_close(masked_error(drawn.flip(1), patches, hidden.flip(1)), value)
        assert torch.autograd.gradcheck(lambda d: masked_error(d, patches, hidden), drawn.requires_grad_())

    def test_half_precision_is_widened(self):
        """Mutation: without in_float32 the mean over thousands of values has 8 bits."""
        drawn, patches, hidden = (
            noise(3, 2, 4).bfloat16(),
            noise(3, 4, 4, seed=1).bfloat16(),
            torch.tensor([[3, 0], [1, 2], [2, 0]]),
        )
        assert masked_error(drawn, patches, hidden).dtype == normalise_patches(patches).dtype == torch.float32


class TestMasks:
    def test_every_place_is_kept_or_hidden(self, colours: ImageSet):
        """Two of nine are kept, seven hidden, and never both. Mutation: kept and hidden from two permutations."""
        method, views = made(colours)
        kept, hidden = method.split(views.index, STEP)
        assert kept.shape == (6, 2) and hidden.shape == (6, 7)
        assert torch.equal(torch.cat([kept, hidden], 1).sort(1).values, torch.arange(9).expand(6, -1))
        assert len({tuple(sorted(row)) for row in kept.tolist()}) > 1

    def test_keyed_by_image_and_step(self, colours: ImageSet):
        """Mutations: by the row of the batch; the same at every step."""
        method, views = made(colours)
        kept, _ = method.split(views.index, STEP)
        assert torch.equal(method.split(views.index[4:], STEP)[0], kept[4:])
        assert not torch.equal(method.split(views.index, Step(1, 0, False, 0.1, RNG.fork(1)))[0], kept)

    def test_the_encoder_sees_no_hidden_patch(self, colours: ImageSet):
        """Whatever hidden patches hold, the tokens stay; a kept pixel changes them. Mutation: dropping after the blocks."""
        method, views = made(colours)
        kept, hidden = method.split(views.index, STEP)
        tokens = method.embed(views, STEP)["tokens"]
        assert tokens.shape == (6, 3, 64)
        for places, same in ((hidden, True), (kept, False)):
            patches = patchify(views["base"], 16)
            patches = patches.scatter(1, places[:, :, None].expand(-1, -1, 768), 1.0)
            images = torch.stack([torch.from_numpy(twin.unpatchify(image.numpy(), 16, 3)).float() for image in patches])
            found = method.embed(Views(views.index, {"base": images}), STEP)["tokens"]
            assert torch.equal(found, tokens) is same


class TestDecoder:
    def test_equals_one_that_restores_the_order(self):
        """Every token at its place of the whole grid, as the paper's code has it. Mutations: places of kept patches for hidden
        ones or left out; a place for the class token; drawings of the kept tokens."""
        torch.manual_seed(0)
        decoder = Decoder(8, 3, 5, Settings(decoder_dim=16, decoder_depth=2, num_heads=2)).eval()
        order = torch.stack([torch.randperm(9, generator=torch.Generator().manual_seed(n)) for n in range(4)])
        kept, hidden = order[:, :2], order[:, 2:]
        tokens = noise(4, 3, 8)
        seen = decoder.narrow(tokens)
        shuffled = torch.cat([seen[:, 1:], decoder.mask_token.expand(4, 7, -1)], 1)
        grid = pick(shuffled, order.argsort(1)) + torch.from_numpy(twin.positions(3, 16)).float()
        rows = decoder.norm(decoder.blocks(torch.cat([seen[:, :1], grid], 1)))[:, 1:]
        torch.testing.assert_close(
            decoder(tokens, kept, hidden), pick(decoder.draw(rows), hidden), atol=1e-5, rtol=1e-5
        )

    def test_blocks_are_torchs_own(self):
        """The same weights in torch's pre-norm layer. Mutations: no short cut; the norm behind it."""
        block = Decoder(8, 3, 5, Settings(decoder_dim=16, decoder_depth=1, num_heads=2)).blocks[0]
        oracle = torch.nn.TransformerEncoderLayer(
            16, 2, 64, dropout=0.0, activation="gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
        )
        names = {
            "self_attn": block.attention, "norm1": block.before_attention, "norm2": block.before_perceptron,
            "linear1": block.perceptron[0], "linear2": block.perceptron[2],
        }  # fmt: skip
        for name, module in names.items():
            oracle.get_submodule(name).load_state_dict(module.state_dict())
        tokens = noise(2, 5, 16)
        torch.testing.assert_close(block(tokens), oracle(tokens))

    def test_no_overflow_in_sixteen_bits(self):
        """Logits that float16 cannot hold (facebookresearch/mae#42). Mutation: attention under autocast gives NaN."""
        torch.manual_seed(0)
        decoder = Decoder(8, 3, 5, Settings(decoder_dim=16, decoder_depth=1, num_heads=2))
        with torch.no_grad():
            decoder.blocks[0].attention.in_proj_weight[:32] *= 1e5  # queries and keys
        order = torch.arange(9).expand(2, -1)
        with torch.autocast("cpu", torch.float16):
            assert torch.isfinite(decoder(noise(2, 3, 8), order[:, :2], order[:, 2:])).all()

    def test_starts_as_the_paper_says(self):
        """Glorot's bound sqrt(6 / (in + out)), no biases. Mutation: torch's own start."""
        decoder = Decoder(8, 3, 5, Settings(decoder_dim=64, decoder_depth=1, num_heads=2))
        for linear in (
            decoder.narrow,
            decoder.draw,
            decoder.blocks[0].perceptron[0],
            decoder.blocks[0].attention.out_proj,
        ):
            bound = math.sqrt(6 / sum(linear.weight.shape))
            assert 0.9 * bound < float(linear.weight.detach().abs().max()) <= bound and not linear.bias.any()


class TestMethod:
    @pytest.mark.parametrize("norm_pix", [False, True])
    def test_targets_are_normalised_pixels(self, colours: ImageSet, norm_pix: bool):
        """A decoder that draws the same everywhere. Mutations: pixels in [0, 1], where norm_pix would weigh channels by their
        spread; the patches of another image."""
        method, views = made(colours, **{"method.norm_pix": norm_pix})
        with torch.no_grad():
            method.decoder.draw.weight.zero_()
            method.decoder.draw.bias.copy_(noise(768))
        output = method(views, STEP)
        _, hidden = method.split(views.index, STEP)
        pixels = colours.images.double().numpy() / 255
        mean, std = (getattr(pixels, name)((0, 2, 3), keepdims=True) for name in ("mean", "std"))
        patches = np.stack([twin.patchify(image, 16) for image in (pixels - mean) / std])
        is_hidden = np.zeros((6, 9), dtype=bool)
        np.put_along_axis(is_hidden, hidden.numpy(), True, axis=1)
        drawn = np.broadcast_to(noise(768).numpy(), patches.shape)
        expected, blank = (twin.loss(values, patches, is_hidden, norm_pix) for values in (drawn, np.zeros_like(drawn)))
        assert float(output.loss.detach()) == pytest.approx(expected, rel=1e-4)
        assert float(output.metrics["explained_share"]) == pytest.approx(1 - expected / blank, rel=1e-3)

    def test_what_is_kept_is_the_mean_of_tokens(self, colours: ImageSet):
        """In the watch as in the feed. Mutation: the class token, or the mean with it."""
        method, views = made(colours)
        assert method.encoder()[1].pooling == "mean_of_tokens"
        tokens = method.embed(views, STEP)["tokens"]
        assert torch.equal(method(views, STEP).watch["h"], tokens[:, 1:].mean(1))

    def test_the_encoder_knows_places_from_the_start(self, colours: ImageSet):
        """Mutations: timm's random places (5 points fewer of a linear probe after 60 epochs of 1,500 digits); a place for the class token."""
        method, _ = made(colours)
        places = method.backbone.model.pos_embed
        torch.testing.assert_close(places[0, 1:].detach(), torch.from_numpy(twin.positions(3, 64)).float())
        assert not places[0, 0].any() and places.requires_grad

    def test_held_out_images_are_masked_too(self, colours: ImageSet):
        """Mutation: whole images in eval mode, whose loss would say nothing."""
        method, views = made(colours)
        assert not method.training and method.embed(views, STEP)["tokens"].shape[1] == 1 + 2

    @pytest.mark.parametrize("backbone", ["vit_tiny_patch16_224", "vit_base_patch32_224", "vit_huge_patch14_224"])
    def test_any_plain_vit(self, colours: ImageSet, backbone: str):
        """By name, from tiny to huge. On the device without memory: shapes are what is tested."""
        settings = resolve("mae", {"backbone": backbone, "batch_size": 6} | NARROW, colours.card, "test")
        with torch.device("meta"):
            method = build_method(settings, colours, RNG)
            views = Views(torch.arange(6), {"base": torch.empty(6, 3, 48, 48)})
            kept, hidden = method.split(views.index, STEP)
            tokens = method.embed(views, STEP)["tokens"]
        assert tokens.shape == (6, 1 + kept.shape[1], method.backbone.dim)
        assert kept.shape[1] + hidden.shape[1] == (48 // method.backbone.patch_size) ** 2 >= 49


class TestRefusals:
    def build(self, image_size: int, channels: int = 3, **overrides: object) -> MAE:
        names = np.array(["a", "b"])
        pixels = torch.arange(2, dtype=torch.uint8).view(2, 1, 1, 1).expand(2, channels, image_size, image_size)
        images = ImageSet(name="two", images=pixels, image_size=image_size, ids=names, groups=names, paths=names)
        chosen = {"backbone": "test_vit", "batch_size": 2} | NARROW | overrides
        return build_method(resolve("mae", chosen, images.card, "test"), images, RNG)

    def test_patches_that_do_not_divide_the_image(self):
        """Mutation: timm would pad, and grid and tokens would disagree."""
        with pytest.raises(UserError, match=r"image_size is 30 and a patch of test_vit has 4 pixels a side"):
            self.build(30)
        with pytest.raises(UserError, match=r"image_size is 16 and a patch of test_vit has 16 pixels a side"):
            self.build(16, stem="imagenet")
        assert self.build(28).grid == 7

    def test_patches_of_one_value(self):
        """Their variance is 0 / 0. Mutation: NaN at the first step."""
        with pytest.raises(UserError, match=r"set method\.norm_pix=false"):
            self.build(8, channels=1)
        assert self.build(8, channels=3).grid == self.build(8, channels=1, **{"method.norm_pix": False}).grid == 8

    def test_backbones_without_tokens(self):
        with pytest.raises(UserError, match="backbone conv4 has no tokens"):
            self.build(28, backbone="conv4")

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"mask_ratio": 1.0}, "mask_ratio is 1.0, but must lie between 0 and 1"),
            ({"decoder_dim": 18, "num_heads": 2}, "decoder_dim is 18, but must be a multiple of 4"),
            ({"decoder_dim": 16, "num_heads": 3}, "of num_heads, which is 3"),
            ({"decoder_depth": 0}, "decoder_depth is 0, but must be at least 1"),
        ],
    )
    def test_impossible_settings(self, values: dict[str, object], message: str):
        """Mutation: the check left out."""
        with pytest.raises(UserError, match=f"test: method: .*{message}"):
            self.build(28, **{f"method.{name}": value for name, value in values.items()})
