"""Images: one data source per file of this folder, the ImageSet they become, and how it is split."""

from selfstudy.images._draws import LabelDraw, draw_labels, draw_unlabelled
from selfstudy.images._imageset import ImageSet, Skipped, channel_statistics
from selfstudy.images._load import load
from selfstudy.images._splits import Split, SplitRecord, split

__all__ = [
    "ImageSet",
    "LabelDraw",
    "Skipped",
    "Split",
    "SplitRecord",
    "channel_statistics",
    "draw_labels",
    "draw_unlabelled",
    "load",
    "split",
]
