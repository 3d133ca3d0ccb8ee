"""Explanations: what an encoder makes of images, one analysis per file."""
