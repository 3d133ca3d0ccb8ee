"""The map of the embeddings: high-dimensional features laid out on a plane, for the eye only.

Source  t-SNE: van der Maaten and Hinton, JMLR 2008, with the PCA start of Kobak and Berens 2019 (Nature Communications
        10:5416), which keeps the coarse arrangement. Distances between far clusters mean nothing, so no number is read
        off the map.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from torch import Tensor

MOST_IMAGES = 1000  # more dots hide each other, and the page must stay small
SMALLEST_FOR_TSNE = 40  # below it PCA: neighbourhoods of 30 images would be the whole set
PERPLEXITY = 30.0  # van der Maaten and Hinton: 5 to 50
SEED = 0


def embedding_map(features: Tensor, labels: Tensor, ids: Sequence[str]) -> pd.DataFrame:
    """The plane's columns id, x, y, label of at most MOST_IMAGES images; what `map.csv` of a run holds.

    `features` is float [N, D], `labels` int64 [N], `ids` the N image ids. The images kept are spread evenly over the
    classes. x and y lie in [-1, 1]. The same features give the same map on the same machine.
    """
    keep = _spread_over_classes(labels.numpy())
    chosen = features[keep].double().numpy()
    chosen = chosen / np.maximum(np.linalg.norm(chosen, axis=1, keepdims=True), 1e-12)  # cosine, as the methods use
    plane = _plane(chosen)
    plane = plane - (plane.max(0) + plane.min(0)) / 2
    plane = plane / max(np.abs(plane).max(), 1e-12)
    return pd.DataFrame(
        {
            "id": [ids[row] for row in keep],
            "x": plane[:, 0].round(3),
            "y": plane[:, 1].round(3),
            "label": labels.numpy()[keep],
        }
    )


def _plane(features: np.ndarray) -> np.ndarray:
    """[N, D] to [N, 2]."""
    if np.allclose(features, features[0]):  # collapsed: nothing to arrange
        return np.zeros((len(features), 2))
    if min(features.shape) < 2:
        return np.column_stack([features[:, 0], np.zeros(len(features))])
    if len(features) < SMALLEST_FOR_TSNE:
        return PCA(2, svd_solver="full").fit_transform(features)
    reduced = PCA(min(50, *features.shape), svd_solver="full").fit_transform(features)
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", random_state=SEED, method="barnes_hut").fit_transform(reduced)


def _spread_over_classes(labels: np.ndarray) -> np.ndarray:
    """Rows to keep, sorted: the n-th image of every class before any class's n+1-th."""
    rank_in_class = pd.Series(labels).groupby(labels).cumcount().to_numpy()
    return np.sort(np.argsort(rank_in_class, kind="stable")[:MOST_IMAGES])
