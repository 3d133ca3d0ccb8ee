"""A chain of operations: a crop to the working size, then steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from pathlib import Path

import torch
from torch import Tensor

from selfstudy import catalog, config
from selfstudy.errors import UserError
from selfstudy.rng import Rng
from selfstudy.views._blocks import in_blocks, one_thread
from selfstudy.views._operation import Operation, apply_to_some, draw_with_choice
from selfstudy.views.crop import Crop


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A slot's pipeline: the crop brings stored images to `size` pixels a side, the steps follow in order."""

    size: int
    crop: Crop  # the only operation that changes the size
    steps: tuple[Operation, ...]

    def __call__(self, images: Tensor, index: Tensor, rng: Rng) -> Tensor:
        """Uint8 [N, C, S', S'] and the images' indices to float32 [N, C, size, size] in [0, 1]."""
        with one_thread():
            tables, ways = self._draw(index, rng, *images.shape[2:])
        ends = list(accumulate(map(len, tables)))

        def block(images: Tensor, *columns: Tensor) -> Tensor:
            images = self.crop.resize(images, self.size, self.size, *columns[: ends[0]])
            for step, start, end in zip(self.steps, ends, ends[1:], strict=False):
                images = apply_to_some(step, images, *columns[start:end])
            return images

        size = (self.size, self.size)
        return in_blocks(block, images, list(chain.from_iterable(tables)), size, sort_by=ways)

    def _draw(self, index: Tensor, rng: Rng, height: int, width: int) -> tuple[list[tuple[Tensor, ...]], list[Tensor]]:
        """The tables of the crop and of every step, and which images take the same way through the steps."""
        tables, ways = [self.crop.draw(rng.fork("crop").per_image(index), height, width)], []
        for position, step in enumerate(self.steps):
            draws = rng.fork(position, Path(step.name).stem).per_image(index)  # not by where a user keeps a file
            chosen, *drawn = draw_with_choice(step, draws, self.size, self.size)
            tables.append((chosen, *drawn))
            way = step.ways(*drawn)
            if way is not None:
                ways.append(torch.where(chosen, way, -1))
        return tables, ways

    def with_steps(self, steps: Sequence[Operation]) -> "Chain":
        """The study's own steps instead of the method's. The slot's crop is kept unless the list starts with one."""
        if steps and isinstance(steps[0], Crop):
            return replace(self, crop=steps[0], steps=tuple(steps[1:]))
        return replace(self, steps=tuple(steps))

    def to_json(self) -> dict[str, object]:
        return {"size": self.size, "views": [self.crop.to_json(), *(step.to_json() for step in self.steps)]}


def parse(entries: Sequence[object], place: str) -> tuple[Operation, ...]:
    """Operations from a study file's list: `[elastic, {affine: {degrees: 15, p: 0.8}}]`."""
    steps = []
    for number, entry in enumerate(entries, start=1):
        if isinstance(entry, str):
            entry = {entry: {}}
        if not isinstance(entry, Mapping) or len(entry) != 1:
            raise UserError(
                f"{place}: view {number} is {entry!r}, but must be a name or one `name: {{setting: value}}`"
            )
        [(name, values)] = entry.items()
        if name == "crop" and number > 1:
            raise UserError(f"{place}: crop is view {number}, but must come first, since it decides the size")
        operation = catalog.find("views", str(name), Operation)
        steps.append(config.validate(operation, values or {}, f"{place}: {name}"))
    return tuple(steps)
