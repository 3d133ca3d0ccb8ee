"""Views: batched, per-image random operations, pure in (images, rng). One operation per file of this folder."""

from selfstudy.views import _papers as papers
from selfstudy.views._chain import Chain, parse
from selfstudy.views._operation import Operation, apply_to_some
from selfstudy.views._presets import PRESETS, preset
from selfstudy.views._sheet import draw_sheet
from selfstudy.views.crop import Crop

__all__ = ["PRESETS", "Chain", "Crop", "Operation", "apply_to_some", "draw_sheet", "papers", "parse", "preset"]
