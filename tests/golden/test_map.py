"""The map of the embeddings: neighbours stay neighbours, classes are shown evenly, odd input is laid out all the same."""

import numpy as np
import torch
from sklearn.manifold import trustworthiness

from selfstudy.explain.map import MOST_IMAGES, embedding_map


def blobs(num_images: int, num_classes: int = 4, dim: int = 16) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(num_images) % num_classes
    centres = torch.randn(num_classes, dim, generator=generator) * 4
    return (
        centres[labels] + torch.randn(num_images, dim, generator=generator),
        labels,
        [f"i{k}" for k in range(num_images)],
    )


def test_neighbours_stay_neighbours_and_the_map_is_repeatable():
    """Mutation: plotting two raw features, or forgetting the seed."""
    features, labels, ids = blobs(200)
    plane, again = embedding_map(features, labels, ids), embedding_map(features, labels, ids)
    assert plane.equals(again)
    assert list(plane.columns) == ["id", "x", "y", "label"] and plane["id"].tolist() == ids
    assert plane[["x", "y"]].abs().max().max() == 1.0
    assert trustworthiness(features.numpy(), plane[["x", "y"]].to_numpy(), n_neighbors=10) > 0.9


def test_a_large_set_is_thinned_evenly_over_its_classes():
    """Mutation: taking the first images, which may all be of one class."""
    labels = torch.cat([torch.zeros(3 * MOST_IMAGES), torch.ones(100)]).long()
    plane = embedding_map(torch.zeros(len(labels), 3), labels, [str(k) for k in range(len(labels))])
    assert np.bincount(plane["label"]).tolist() == [MOST_IMAGES - 100, 100]


def test_few_or_collapsed_or_one_dimensional_features_are_laid_out():
    for features in (
        torch.randn(5, 8, generator=torch.Generator().manual_seed(0)),
        torch.ones(60, 8),
        torch.arange(50.0)[:, None],
    ):
        plane = embedding_map(
            features, torch.zeros(len(features), dtype=torch.int64), [str(k) for k in range(len(features))]
        )
        assert np.isfinite(plane[["x", "y"]].to_numpy()).all() and len(plane) == len(features)
