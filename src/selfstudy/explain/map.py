"""The map of the embeddings: high-dimensional features laid out on a plane, for the eye only.

Source  t-SNE: van der Maaten and Hinton, JMLR 2008, with the PCA start of Kobak and Berens 2019 (Nature Communications
        10:5416), which keeps the coarse arrangement. Distances between far clusters mean nothing, so no number is read
        off the map. UMAP: McInnes, Healy, Melville 2018, arXiv:1802.03426 (the extra `umap`).
Trust   trustworthiness of Venna and Kaski 2001 (scikit-learn): 1 where neighbours on the map are neighbours in truth.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, trustworthiness
from torch import Tensor

from selfstudy.errors import UserError
from selfstudy.explain._analysis import Analysis, Subject
from selfstudy.explain._findings import Findings, Picture

MOST_IMAGES = 1000  # more dots hide each other, and the page must stay small
SMALLEST_FOR_TSNE = 40  # below it PCA: neighbourhoods of 30 images would be the whole set
PERPLEXITY = 30.0  # van der Maaten and Hinton: 5 to 50
SEED = 0
TRUSTED_NEIGHBOURS = 10
UMAP_NEIGHBOURS = 15  # its own default
SIDE_PIXELS, DOT_PIXELS = 480, 5  # of the picture
COLOURS = (
    "#4477aa",
    "#ee6677",
    "#228833",
    "#ccbb44",
    "#66ccee",
    "#aa3377",
    "#bbbbbb",
)  # Tol's bright scheme, for all eyes

Layout = Literal["tsne", "pca", "umap"]


@dataclass(frozen=True, kw_only=True)
class Config:
    layout: Layout = "tsne"


class Map(Analysis[Config]):
    Config = Config

    def run(self, subject: Subject) -> Findings:
        features = subject.viewer.features
        labels = torch.full((len(features),), -1) if subject.labels is None else subject.labels
        plane = embedding_map(features, labels, subject.images.ids.tolist(), self.config.layout)
        shown = features[_spread_over_classes(labels.numpy())]  # the images of the plane, in its order
        trust = trust_in(_unit(shown), plane[["x", "y"]].to_numpy())
        classes = subject.images.classes
        table = plane.assign(label=[classes[number] if 0 <= number < len(classes) else "" for number in plane["label"]])
        sentence = (
            f"The map ({_NAMES[self.config.layout]}) shows {len(plane)} images; its trustworthiness is {trust:.2f}: "
            "1 would mean that all that lies close there is alike to the encoder."
        )
        return Findings(
            sentence=sentence, numbers={"trustworthiness": trust}, table=table, pictures={"map": _drawn(plane)}
        )


_NAMES = {"tsne": "t-SNE", "pca": "PCA", "umap": "UMAP"}


def embedding_map(features: Tensor, labels: Tensor, ids: Sequence[str], layout: Layout = "tsne") -> pd.DataFrame:
    """The plane's columns id, x, y, label of at most MOST_IMAGES images; what `map.csv` of a run holds.

    `features` is float [N, D], `labels` int64 [N], `ids` the N image ids. The images kept are spread evenly over the
    classes. x and y lie in [-1, 1]. The same features give the same map on the same machine.
    """
    keep = _spread_over_classes(labels.numpy())
    chosen = _unit(features[keep])
    plane = _plane(chosen, layout)
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


def trust_in(features: np.ndarray, plane: np.ndarray) -> float:
    """Trustworthiness of a plane [N, 2] of features [N, D]; 1 of so few images that it is not defined."""
    neighbours = min(TRUSTED_NEIGHBOURS, (len(features) - 1) // 2)
    return float(trustworthiness(features, plane, n_neighbors=neighbours)) if neighbours >= 1 else 1.0


def _unit(features: Tensor) -> np.ndarray:
    chosen = features.double().numpy()
    return chosen / np.maximum(np.linalg.norm(chosen, axis=1, keepdims=True), 1e-12)  # cosine, as the methods use


def _plane(features: np.ndarray, layout: Layout) -> np.ndarray:
    """[N, D] to [N, 2]."""
    if np.allclose(features, features[0]):  # collapsed: nothing to arrange
        return np.zeros((len(features), 2))
    if min(features.shape) < 2:
        return np.column_stack([features[:, 0], np.zeros(len(features))])
    if layout == "pca" or len(features) < SMALLEST_FOR_TSNE:
        return PCA(2, svd_solver="full").fit_transform(features)
    if layout == "umap":
        return _umap(features)
    reduced = PCA(min(50, *features.shape), svd_solver="full").fit_transform(features)
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", random_state=SEED, method="barnes_hut").fit_transform(reduced)


def _spread_over_classes(labels: np.ndarray) -> np.ndarray:
    """Rows to keep, sorted: the n-th image of every class before any class's n+1-th."""
    rank_in_class = pd.Series(labels).groupby(labels).cumcount().to_numpy()
    return np.sort(np.argsort(rank_in_class, kind="stable")[:MOST_IMAGES])


def _umap(features: np.ndarray) -> np.ndarray:
    # Its import warns of what else one could install, a fixed seed of keeping it to one thread, few images of its start.
    with warnings.catch_warnings(action="ignore"):
        try:
            from umap import UMAP
        except ImportError:
            raise UserError(
                "layout=umap needs the extra umap: pip install 'selfstudy[umap]'; tsne and pca need nothing"
            ) from None
        neighbours = min(UMAP_NEIGHBOURS, len(features) - 1)
        found = UMAP(n_neighbors=neighbours, random_state=SEED, n_jobs=1).fit_transform(features)
    return np.asarray(found, dtype=np.float64)


def _drawn(plane: pd.DataFrame) -> Picture:
    from PIL import Image, ImageColor, ImageDraw

    ground = Image.new("RGBA", (SIDE_PIXELS, SIDE_PIXELS))
    pen, half = ImageDraw.Draw(ground), DOT_PIXELS / 2
    for x, y, label in plane[["x", "y", "label"]].itertuples(index=False):
        left, top = (half + (value + 1) / 2 * (SIDE_PIXELS - 2 * half) for value in (x, -y))
        colour = ImageColor.getrgb(COLOURS[int(label) % len(COLOURS)]) if label >= 0 else (125, 130, 138)
        pen.ellipse((left - half, top - half, left + half, top + half), fill=(*colour[:3], 255))
    return Picture(
        pixels=np.asarray(ground),
        caption="Each dot an image, each colour a class: close dots have similar features; far distances mean nothing.",
        alternative=f"A map of {len(plane)} images as the encoder sees them.",
    )
