"""Jigsaw whose tiles always lie in one order, whatever order is to be named."""

from typing import Any

from selfstudy.method import MakeBackbone
from selfstudy.methods import jigsaw
from selfstudy.types import DataCard


class OneOrder(jigsaw.Jigsaw):
    def __init__(self, make_backbone: MakeBackbone, data: DataCard, config: Any) -> None:
        super().__init__(make_backbone, data, config)
        self.orders.copy_(self.orders[:1].expand_as(self.orders))
