"""Explanations: what an encoder makes of images, one analysis per file."""

from selfstudy.explain._analysis import Analysis, Need, Subject, Viewer
from selfstudy.explain._compare import MEASURES, compare
from selfstudy.explain._findings import Findings, Picture, load, read_record, save, saved

__all__ = [
    "MEASURES", "Analysis", "Findings", "Need", "Picture", "Subject", "Viewer", "compare", "load", "read_record", "save", "saved",
]  # fmt: skip
