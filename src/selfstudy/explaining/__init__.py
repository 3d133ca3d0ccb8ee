"""Explain one encoder outside a study: images in, sentences, tables, pictures and one page out."""

from selfstudy.explaining._engine import Explained, ExplainSettings, explain, resolve, spread
from selfstudy.explaining._source import Source, read_shown

__all__ = ["ExplainSettings", "Explained", "Source", "explain", "read_shown", "resolve", "spread"]
