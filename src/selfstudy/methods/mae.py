"""MAE: hide most patches of an image, and draw them from the few that are left.

Family  reconstruction, 2022
Source  He et al., CVPR 2022, arXiv:2111.06377 (method: §3; training: App. A.1) and its code. The encoder's position
        embeddings start as the paper's fixed ones, but may move: timm keeps them as weights.
Scale   mean over hidden patches of the mean squared error of their pixels; pixels have zero mean and unit variance over
        the training images, with norm_pix over each patch too: then about 1 - 1/n for patches of n values while nothing
        is learned, less where patches are blank.
Rows    N images of L patches, K of them kept; D = the backbone's width, P = values of a patch. What is kept is the mean of
        the patch tokens: the loss acts on them, on the class token only through attention (a linear probe with ten labels
        per class of mnist5k read 0.54 from the mean, 0.51 from the class token; untrained, 0.29 and 0.28).
Needs   a vision transformer, since only tokens can be left out; patches that divide the image; long training. Any batch.
        A poor kNN is normal: the paper's encoders are made for fine-tuning and for linear probes with a BatchNorm.
State   none.
Kin     a denoising autoencoder spoils pixels and works with any backbone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from selfstudy.encoder import Backbone, Feed
from selfstudy.errors import UserError
from selfstudy.method import MakeBackbone, Method, Recipe, Requirements
from selfstudy.nn.positions import sin_cos_positions
from selfstudy.nn.precision import in_float32
from selfstudy.rng import Rng
from selfstudy.types import Batch, DataCard, Embedded, Output, Step, Tensors, Views
from selfstudy.views import Chain, papers

VARIANCE_FLOOR = 1e-6  # of a patch: the code's, so that a blank patch is 0 and not noise
LAYER_NORM_EPSILON = 1e-6  # the code's, as in its encoder
MASK_TOKEN_DEVIATION = 0.02  # the code's


@dataclass(frozen=True, kw_only=True)
class Settings:
    mask_ratio: float = 0.75  # share of the patches that are hidden
    norm_pix: bool = True  # draw each patch with its own mean and variance taken out (§4.1: better features)
    decoder_dim: int = 512  # width of the decoder's tokens
    decoder_depth: int = 8  # blocks
    num_heads: int = 16  # of the decoder's attention

    def __post_init__(self) -> None:
        if not 0.0 < self.mask_ratio < 1.0:
            raise ValueError(
                f"mask_ratio is {self.mask_ratio}, but must lie between 0 and 1: some patches stay, some go"
            )
        if self.num_heads < 1 or self.decoder_dim < 1 or self.decoder_dim % self.num_heads or self.decoder_dim % 4:
            raise ValueError(
                f"decoder_dim is {self.decoder_dim}, but must be a multiple of 4 (sines and cosines of two axes) and of "
                f"num_heads, which is {self.num_heads}"
            )
        if self.decoder_depth < 1:
            raise ValueError(
                f"decoder_depth is {self.decoder_depth}, but must be at least 1: hidden patches must see the others"
            )


def num_kept(num_patches: int, mask_ratio: float) -> int:
    """At least one patch stays and one goes. Rounded, since 10 * (1 - 0.9) is a little less than 1."""
    return min(max(round(num_patches * (1 - mask_ratio)), 1), num_patches - 1)


def patchify(images: Tensor, patch: int) -> Tensor:
    """[N, C, S, S] to [N, L, P]: patches row by row; their values row by row, channels last. P = patch * patch * C."""
    n, channels, size, _ = images.shape
    grid = size // patch
    parts = images.reshape(n, channels, grid, patch, grid, patch)
    return parts.permute(0, 2, 4, 3, 5, 1).reshape(n, grid * grid, patch * patch * channels)


@in_float32
def normalise_patches(patches: Tensor) -> Tensor:
    """Each of [N, L, P] less its mean, over the root of its unbiased variance. A blank patch becomes 0."""
    variance, mean = torch.var_mean(patches, dim=2, keepdim=True)
    return (patches - mean) / (variance + VARIANCE_FLOOR).sqrt()


@in_float32
def masked_error(drawn: Tensor, patches: Tensor, hidden: Tensor) -> Tensor:
    """Mean squared error of the hidden patches alone: drawn [N, M, P] for the places `hidden` (int64 [N, M]) of [N, L, P].

    0 for a perfect drawing; (P - 1) / P for a blank one of normalised patches.
    """
    return (drawn - pick(patches, hidden)).square().mean()


def pick(rows: Tensor, places: Tensor) -> Tensor:
    """Rows [N, L, D] at int64 [N, M], image by image: [N, M, D]."""
    return rows.gather(1, places[:, :, None].expand(-1, -1, rows.shape[2]))


@torch.no_grad()
def place_patches(backbone: nn.Module, grid: int) -> None:
    """Start a vision transformer's position embeddings as the fixed code; the class token has no place."""
    for name, embedding in backbone.named_parameters():
        if name.endswith("pos_embed"):
            embedding.zero_()
            embedding[:, -grid * grid :] = sin_cos_positions(grid, embedding.shape[2])


class _Block(nn.Module):
    """A transformer block (App. A.1, after ViT): attention and perceptron, each after a LayerNorm, with short cuts."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(dim, eps=LAYER_NORM_EPSILON)
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.before_perceptron = nn.LayerNorm(dim, eps=LAYER_NORM_EPSILON)
        self.perceptron = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, tokens: Tensor) -> Tensor:
        rows = self.before_attention(tokens)
        # In 16 bits large logits overflow or tie (facebookresearch/mae#42, #65).
        tokens = tokens + in_float32(self.attention)(rows, rows, rows, need_weights=False)[0]
        return tokens + self.perceptron(self.before_perceptron(tokens))


class Decoder(nn.Module):
    """Tokens of the kept patches to drawings of the hidden ones. Tokens stay in shuffled order: attention knows none."""

    positions: Tensor

    def __init__(self, dim: int, grid: int, values: int, config: Settings) -> None:
        super().__init__()
        width = config.decoder_dim
        self.narrow = nn.Linear(dim, width)
        self.mask_token = nn.Parameter(torch.randn(width) * MASK_TOKEN_DEVIATION)
        self.register_buffer("positions", sin_cos_positions(grid, width), persistent=False)
        self.blocks = nn.Sequential(*(_Block(width, config.num_heads) for _ in range(config.decoder_depth)))
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPSILON)
        self.draw = nn.Linear(width, values)
        for module in self.modules():  # App. A.1 and the code: Glorot's weights, biases of 0
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor, kept: Tensor, hidden: Tensor) -> Tensor:
        """[N, 1 + K, dim] with the class token first, and int64 [N, K] and [N, M], to [N, M, values]."""
        seen = self.narrow(tokens)
        class_token, patches = seen[:, :1], seen[:, 1:] + self.positions[kept]
        masked = self.mask_token + self.positions[hidden]
        rows = self.blocks(torch.cat([class_token, patches, masked], dim=1))
        return self.draw(self.norm(rows[:, tokens.shape[1] :]))


class MAE(Method):
    mean: Tensor
    std: Tensor

    Config = Settings
    causes = (
        "a learning rate too high or a warm-up too short for a transformer (try a third; clip_norm=1); images whose patches are "
        "nearly all blank (method.norm_pix=false, or larger patches)"
    )
    recipes = {
        "paper": Recipe(
            source="paper App. A.1: AdamW, learning rate 1.5e-4 x batch / 256, 40 warm-up epochs, 800 epochs as in its ablations",
            optimizer="adamw", lr=1.5e-4, weight_decay=0.05, betas=(0.9, 0.95), batch_size=4096, epochs=800, warmup_epochs=40,
            backbone="vit_large_patch16_224",
        ),
        "small": Recipe(
            source="decay and betas: paper App. A.1; rate, length and the smaller decoder: benchmarks/methods.md",
            optimizer="adamw", lr=1e-3, weight_decay=0.05, betas=(0.9, 0.95), batch_size=256, epochs=200, warmup_epochs=10,
            backbone="vit_tiny_patch16_224", config={"decoder_dim": 128, "decoder_depth": 2, "num_heads": 4},
        ),
    }  # fmt: skip

    @classmethod
    def requires(cls, config: Settings, data: DataCard) -> Requirements:
        return Requirements(needs_tokens=True)

    @classmethod
    def chains(cls, config: Settings, data: DataCard) -> Mapping[str, Chain]:
        return {"base": papers.mae(data.image_size)}

    def __init__(self, make_backbone: MakeBackbone, data: DataCard, config: Settings) -> None:
        super().__init__(make_backbone, data, config)
        self.backbone = make_backbone()
        spec, patch = self.backbone.spec, self.backbone.patch_size
        values = patch * patch * data.channels
        if data.image_size % patch or data.image_size == patch:
            raise UserError(
                f"mae cuts an image into whole patches, two at least a side, but image_size is {data.image_size} and a patch of "
                f"{spec.name} has {patch} pixels a side"
            )
        if config.norm_pix and values == 1:
            raise UserError(
                f"a patch of {spec.name} is a single value at image_size {data.image_size}, which has no variance to norm: set "
                "method.norm_pix=false, or load larger images"
            )
        self.grid = data.image_size // patch
        place_patches(self.backbone, self.grid)
        self.decoder = Decoder(self.backbone.dim, self.grid, values, config)
        self.register_buffer("mean", torch.tensor(spec.mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(-1, 1, 1), persistent=False)

    def views(self, batch: Batch, rng: Rng, chains: Mapping[str, Chain]) -> Views:
        return Views(batch.index, {"base": chains["base"](batch.images, batch.index, rng)})

    def split(self, index: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """The kept and the hidden places of each image, int64 [N, K] and [N, L - K]: the same in whatever chunk it comes."""
        order = step.rng.fork("mask").per_image(index).permutation(self.grid**2)
        kept = num_kept(self.grid**2, self.config.mask_ratio)
        return order[:, :kept], order[:, kept:]

    def embed(self, views: Views, step: Step) -> Embedded:
        kept, _ = self.split(views.index, step)
        return {"tokens": self.backbone.tokens(views["base"], kept)}  # [N, 1 + K, D]

    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        kept, hidden = self.split(views.index, step)
        patches = patchify((views["base"] - self.mean) / self.std, self.backbone.patch_size)
        if self.config.norm_pix:
            patches = normalise_patches(patches)
        loss = masked_error(self.decoder(embedded["tokens"], kept, hidden), patches, hidden)
        blank = pick(patches, hidden).square().mean().clamp(min=VARIANCE_FLOOR)  # the loss of drawing nothing
        return Output(
            loss=loss,
            watch={"h": embedded["tokens"][:, 1:].mean(1)},
            metrics={"explained_share": 1 - loss.detach() / blank},
        )

    def show(self, views: Views, step: Step) -> Tensors:
        """With norm_pix what is drawn has no brightness and contrast of its own: it is lent those of the true patch."""
        kept, hidden = self.split(views.index, step)
        drawn = self.decoder(self.backbone.tokens(views["base"], kept), kept, hidden).float()
        patches = patchify((views["base"] - self.mean) / self.std, self.backbone.patch_size)
        if self.config.norm_pix:
            variance, mean = torch.var_mean(pick(patches, hidden), dim=2, keepdim=True)
            drawn = drawn * (variance + VARIANCE_FLOOR).sqrt() + mean
        places = hidden[:, :, None].expand_as(drawn)
        filled = {"input": torch.zeros_like(drawn), "drawn": drawn}  # zero is the mean colour
        pictures = {name: self._picture(patches.scatter(1, places, values)) for name, values in filled.items()}
        return {"original": views["base"], **pictures}

    def _picture(self, patches: Tensor) -> Tensor:
        """Normalised patches to pixels in [0, 1]: the way back from `patchify`."""
        patch = self.backbone.patch_size
        parts = patches.unflatten(2, (patch, patch, -1)).unflatten(1, (self.grid, self.grid))
        images = parts.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
        return (images * self.std + self.mean).clamp(0, 1)

    def encoder(self) -> tuple[Backbone, Feed]:
        feed = Feed(size=self.data.image_size, channels=self.data.channels, pooling="mean_of_tokens")
        return self.backbone, feed
