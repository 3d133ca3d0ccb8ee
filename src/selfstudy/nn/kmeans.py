"""Spherical k-means: clusters of unit vectors by the cosine, the same ones on every run.

Source  Dhillon and Modha 2001, "Concept decompositions for large sparse text data using clustering"; begun at random
        points and with empty clusters left where they are, as DeepCluster v2's code has it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from selfstudy.rng import Rng

ROWS_AT_ONCE = 8192  # points compared with all centroids at a time: 100 MB for 3,000 of them


@torch.no_grad()
def spherical_kmeans(points: Tensor, num_clusters: int, iterations: int, rng: Rng) -> tuple[Tensor, Tensor]:
    """Unit centroids [K, D] and each point's nearest one, int64 [M], of unit vectors [M, D] with M >= K.

    An iteration moves every centroid to the direction of its points' sum; one without points stays where it is. The
    labels are those of the centroids that are given back.
    """
    assert 1 <= num_clusters <= len(points)
    centroids = points[rng.permutation(len(points))[:num_clusters].to(points.device)]
    for _ in range(iterations):
        sums, sizes = _sums(points, nearest(points, centroids), num_clusters)
        centroids = torch.where(sizes[:, None] > 0, F.normalize(sums, dim=1), centroids)
    return centroids, nearest(points, centroids)


def nearest(points: Tensor, centroids: Tensor) -> Tensor:
    """Int64 [M]: the centroid of [K, D] with the largest cosine to each of [M, D]."""
    return torch.cat([(part @ centroids.T).argmax(1) for part in points.split(ROWS_AT_ONCE)])


def _sums(points: Tensor, labels: Tensor, num_clusters: int) -> tuple[Tensor, Tensor]:
    """Sum [K, D] and number [K] of each cluster's points, as products: adding by index has no fixed order on a GPU."""
    clusters = torch.arange(num_clusters, device=points.device)
    sums, sizes = points.new_zeros(num_clusters, points.shape[1]), points.new_zeros(num_clusters)
    for part, own in zip(points.split(ROWS_AT_ONCE), labels.split(ROWS_AT_ONCE), strict=True):
        members = (own[:, None] == clusters).to(points.dtype)
        sums, sizes = sums + members.T @ part, sizes + members.sum(0)
    return sums, sizes
