"""DeepCluster whose every image has the first cluster's label: k-means that has given up."""

from collections.abc import Callable

from torch import Tensor

from selfstudy.methods import deepcluster
from selfstudy.types import Batch, Step


class OneCluster(deepcluster.DeepCluster):
    def refresh(self, scan: Callable[[Callable[[Batch], Tensor]], Tensor], step: Step) -> None:
        super().refresh(scan, step)
        self.labels.clamp_(max=0)
