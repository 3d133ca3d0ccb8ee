"""Images: one data source per file of this folder, the ImageSet they become, and how it is split."""

from selfstudy.images._copies import have_twins
from selfstudy.images._draws import LabelDraw, draw_labels, draw_unlabelled
from selfstudy.images._imageset import ImageSet, Skipped, channel_statistics, feed_for, left_out
from selfstudy.images._load import Levels, Reading, ReadingOptions, load
from selfstudy.images._rounds import NUM_FOLDS as FOLDS_OF_A_ROUND
from selfstudy.images._rounds import rounds, too_few_to_test
from selfstudy.images._splits import Split, SplitRecord, split, tested_in_turn
from selfstudy.images._units import labels_of

__all__ = [
    "FOLDS_OF_A_ROUND",
    "ImageSet",
    "LabelDraw",
    "Levels",
    "Reading",
    "ReadingOptions",
    "Skipped",
    "Split",
    "SplitRecord",
    "channel_statistics",
    "draw_labels",
    "draw_unlabelled",
    "feed_for",
    "have_twins",
    "labels_of",
    "left_out",
    "load",
    "rounds",
    "split",
    "tested_in_turn",
    "too_few_to_test",
]
