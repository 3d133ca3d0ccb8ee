"""Explain one encoder outside a study: images in, sentences, tables, pictures and one page out."""

from selfstudy.explaining._engine import ExplainSettings, Explained, explain, resolve
from selfstudy.explaining._source import Source

__all__ = ["ExplainSettings", "Explained", "Source", "explain", "resolve"]
