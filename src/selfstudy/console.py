"""What a command prints: lines, JSON, lists of what there is, tables of scores. It loads what it prints with when it prints."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def complain(sentence: str) -> None:
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True).print(Text(sentence, style="red"), soft_wrap=True)


def print_lines(*lines: str) -> None:
    from rich.console import Console

    for line in lines:
        Console().print(line, markup=False, highlight=False, soft_wrap=True)


def print_json(value: object) -> None:
    import json
    import sys

    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_list(entries: Mapping[str, Mapping[str, str]]) -> None:
    """A line for each, and what else is known of it below."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 3, 0, 0))
    for name, entry in entries.items():
        known = [f"{key}: {text}" for key, text in entry.items() if key in ("family", "needs", "state")]
        if "linear" in entry:
            known.append(
                f"measured on digits: {entry['linear']} ± {entry['linear_sd']} with 10 labels per class, {entry['seconds']} s"
            )
        table.add_row(Text(name, style="bold"), Text(entry["what"]))
        for line in known:
            table.add_row("", Text(line, style="dim"))
    Console().print(table)


def print_scores(scores: "pd.DataFrame") -> None:
    """Mean over the draws and their standard deviation, a row per protocol and budget."""
    from rich.console import Console
    from rich.table import Table

    from selfstudy.judge import shown_metrics

    metrics = shown_metrics(scores)
    table = Table("protocol", "labels", "draws", *(metric.replace("_", " ") for metric in metrics))
    for (protocol, labels), rows in scores.groupby(["protocol", "labels"], sort=False):
        spread = "{:.3f} ± {:.3f}" if len(rows) > 1 else "{:.3f}"
        values = (spread.format(rows[metric].mean(), rows[metric].std()) for metric in metrics)
        table.add_row(str(protocol), str(labels), str(len(rows)), *values)
    Console().print(table)
