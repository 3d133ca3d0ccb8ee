"""Slow, obvious twins of DeepCluster v2, point by point in NumPy."""

import math

import numpy as np


def spherical_kmeans(points: np.ndarray, start: list[int], iterations: int) -> tuple[np.ndarray, list[int]]:
    """Dhillon and Modha 2001, §3, from the points at `start`; an empty cluster keeps its centroid."""
    centroids = [points[i] for i in start]
    for _ in range(iterations):
        labels = nearest(points, centroids)
        for k in range(len(centroids)):
            members = [points[i] for i in range(len(points)) if labels[i] == k]
            if members:
                centroids[k] = sum(members) / np.linalg.norm(sum(members))
    return np.stack(centroids), nearest(points, centroids)


def nearest(points: np.ndarray, centroids: list[np.ndarray]) -> list[int]:
    return [int(np.argmax([float(point @ centroid) for centroid in centroids])) for point in points]


def cluster_prediction(z: np.ndarray, prototypes: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """z [V, N, D], prototypes [H, K, D], labels [H, N] of which -100 does not count."""
    terms = []
    for view in z:
        for i, row in enumerate(view):
            for head, centroids in enumerate(prototypes):
                if labels[head, i] == -100:
                    continue
                powers = [math.exp(float(row @ c) / np.linalg.norm(row) / temperature) for c in centroids]
                terms.append(-math.log(powers[labels[head, i]] / sum(powers)))
    return float(np.mean(terms))
