"""selfstudy: which self-supervised method suits your images, how few labels it then needs, and what it costs.

import selfstudy as st
bags = st.images("~/bags/all", size=64)
run = st.pretrain("simclr", bags, backbone="resnet18", epochs=100, method={"temperature": 0.2})
scores = st.evaluate(run.encoder, st.images("~/bags/labelled", size=64, labelled=True), protocols=["linear", "knn"])
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selfstudy.api import (
        embed,
        evaluate,
        explain,
        export,
        finish,
        images,
        load,
        predict,
        pretrain,
        preview,
        report,
        study,
    )

__version__ = "0.1.0"
__all__ = [
    "embed",
    "evaluate",
    "explain",
    "export",
    "finish",
    "images",
    "load",
    "predict",
    "pretrain",
    "preview",
    "report",
    "study",
]


class _Package(ModuleType):
    """Keeps `st.images`, `st.study`, `st.explain` and `st.report` the functions, though folders of these names are imported too.

    Importing selfstudy.images binds the folder to that name of its parent; `from selfstudy.images import ...` does not
    need the binding.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> object:
    """The functions of the API, loaded when first asked for: `selfstudy --help` must not wait for torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from selfstudy import api

    return getattr(api, name)
