"""Backbones: one source per file. A name that is no file here is a timm model."""
