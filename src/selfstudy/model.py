"""The model that a study hands over: an encoder, a linear map to classes, and how far a single answer can be trusted.

Stored in one folder: the encoder's two files, `head.safetensors`, and `model.json`, which is written last.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor

from selfstudy import files
from selfstudy.encoder import Encoder
from selfstudy.errors import UserError
from selfstudy.evaluation import LinearMap

KEPT = 0.95  # the share of right answers that the threshold lets through: the customary point of detection studies
TEMPERATURES = (0.05, 20.0)  # the range searched; Guo et al. found 1 to 3 for over-confident networks


@dataclass(frozen=True, eq=False)
class Model:
    """Images to probabilities of classes."""

    encoder: Encoder
    head: LinearMap
    classes: tuple[str, ...]
    temperature: float  # logits are divided by it, so that a confidence is the share of such answers that are right
    threshold: float  # answers below this confidence are better left to a person; 0: no threshold is known
    card: Mapping[str, object]  # how it was made and what to expect of it: JSON values

    def probabilities(self, features: Tensor) -> Tensor:
        """Float32 features [N, D] of this model's encoder to [N, K], rows summing to 1."""
        return (self.head(features) / self.temperature).softmax(1)

    def sentences(self) -> list[str]:
        """What to know before using it."""
        card: Mapping[str, Any] = self.card
        expected, metric = card["expected"], str(card["metric"]).replace("_", " ")
        found = [
            f"Chosen: {card['row']} ({card['protocol']}), the {card['chosen_by']}. It learned from all {card['labels']:,} labelled images.",
            f"Expect {metric} of about {expected['mean']:.3f} ({expected['low']:.3f} to {expected['high']:.3f}) on new images of the "
            "same kind: what the study measured on its test images before they joined the labels.",
        ]
        if card["calibrated_on"]:
            found.append(
                f"Answers below a confidence of {self.threshold:.2f} are better left to a person: on {card['calibrated_on']:,} held-out "
                f"images that keeps {card['right_answers_kept']:.0%} of the right answers and catches "
                f"{card['wrong_answers_caught']:.0%} of the wrong ones."
            )
        else:
            found.append(
                "Its confidences are not calibrated and there is no threshold: there are fewer than 5 labels per class."
            )
        return found

    def save(self, folder: Path) -> None:
        """Write the folder. Until its last file is there, it holds no model."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.json").unlink(missing_ok=True)
        self.encoder.save(folder)
        content = safetensors.torch.save({"weight": self.head.weight.contiguous(), "bias": self.head.bias.contiguous()})
        files.write_bytes(folder / "head.safetensors", content)
        values = {"classes": list(self.classes), "temperature": self.temperature, "threshold": self.threshold}
        files.write_json(folder / "model.json", {**values, **self.card})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """A model from its folder, or from the folder of the study that made it. UserError if there is none."""
        if (folder / "study.yaml").is_file():
            folder = folder / "model"
        if not (folder / "model.json").is_file():
            kind = "an encoder without classes" if (folder / "encoder.json").is_file() else "no model"
            raise UserError(f"{folder} holds {kind}: `selfstudy finish STUDY` makes a model that names classes")
        try:
            card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
            head = safetensors.torch.load((folder / "head.safetensors").read_bytes())
            found = cls(
                Encoder.load(folder), LinearMap(head["weight"], head["bias"]), tuple(card.pop("classes")),
                float(card.pop("temperature")), float(card.pop("threshold")), card,
            )  # fmt: skip
        except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
            raise UserError(f"{folder} holds a damaged model ({error}); run `selfstudy finish` again") from None
        return found


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature that makes held-out labels likeliest: float32 [N, K] and int64 [N] (Guo et al. 2017, §4.2).

    Accuracy does not change. Answers that are all right have no best temperature; then it is the search's lower end.
    """

    def surprise(log_temperature: float) -> float:
        return float(F.cross_entropy(logits.double() / math.exp(log_temperature), labels))

    low, high = TEMPERATURES
    return math.exp(float(minimize_scalar(surprise, bounds=(math.log(low), math.log(high)), method="bounded").x))


def choose_threshold(probabilities: Tensor, labels: Tensor, kept: float = KEPT) -> tuple[float, float]:
    """The confidence that a share `kept` of the right answers reaches, and the share of wrong answers that do not.

    Float32 [N, K] and int64 [N], of images that were not learned from. The share of no wrong answers is given as 1.
    """
    confidence, answers = probabilities.max(1)
    right = answers == labels
    if not right.any():
        return 0.0, 0.0
    threshold = float(confidence[right].double().quantile(1 - kept))
    caught = (confidence[~right] < threshold).float().mean() if (~right).any() else torch.tensor(1.0)
    return threshold, float(caught)
