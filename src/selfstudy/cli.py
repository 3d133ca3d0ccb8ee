"""The command line: verbs only. Each is one call of the Python API; what it loads, it loads when it runs."""

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Group, Parameter, UnknownOptionError

from selfstudy import __version__
from selfstudy.console import complain, print_json, print_lines, print_list, print_scores
from selfstudy.errors import RunError, UserError

DEBUG = "SELFSTUDY_DEBUG"  # set to 1, it lets tracebacks through
FAILED, MISTAKEN, INTERRUPTED = 1, 2, 130  # exit codes; the last is 128 + SIGINT, as shells count

Switch = Annotated[bool, Parameter(negative="", show_default=False)]
Json = Annotated[Switch, Parameter(help="Print the result as JSON and show no progress: for scripts.")]
Folder = Annotated[str, Parameter(metavar="FOLDER", show_default=False)]
File = Annotated[str, Parameter(metavar="FILE", show_default=False)]
Words = Annotated[str, Parameter(name="KEY=VALUE")]

app = App(
    name="selfstudy",
    help=(
        "Finds out, on your own images, which self-supervised method to use, how few labels it then needs "
        "and what it costs.\n\n"
        "Start with `selfstudy study`, the built-in study of 5,000 handwritten digits; it ends with a report to read. "
        "For your own images write a study file and run `selfstudy study FILE.yaml`."
    ),
    version=__version__,
    version_flags=["--version"],
    help_format="plaintext",
    usage="Usage: selfstudy VERB [ARGUMENTS] [KEY=VALUE ...] [OPTIONS]",
    group_commands=Group("Verbs", sort_key=0),
    suppress_keyboard_interrupt=False,
)


@app.command(usage="Usage: selfstudy study [STUDY] [KEY=VALUE ...] [OPTIONS]")
def study(
    *words: Annotated[str, Parameter(name="STUDY KEY=VALUE")],
    out: Folder = "",
    dry_run: Switch = False,
    yes: Switch = False,
    json: Json = False,
) -> None:
    """Compare methods on images and write the report; the same command goes on where it stopped.

    Example: selfstudy study bags.yaml seeds=5 simclr.epochs=100

    Parameters
    ----------
    words
        A study file or a built-in study's name (by default digits), then settings such as seeds=5 or labels=1,10,all.
    out
        Folder of the study; by default runs/NAME.
    dry_run
        Print the settings and what the study would cost in time and disk, and stop there.
    yes
        Start even if it will take longer than max_hours.
    """
    from selfstudy import api

    names, settings = _split(words)
    name = _only(names, "study", "digits")
    if dry_run:
        planned = api.dry_run(name, settings, out=out, quiet=json)
        if json:
            print_json(
                {"settings": planned.settings.to_json(), "cells": len(planned.cells), "done": len(planned.outcomes)}
            )
        return
    result = api.study(name, settings, out=out, yes=yes, quiet=json)
    if json:
        print_json(result.to_json())
    else:
        print_lines(*result.answer, str(result.report))


@app.command(usage="Usage: selfstudy preview [STUDY] [KEY=VALUE ...] [OPTIONS]")
def preview(*words: Annotated[str, Parameter(name="STUDY KEY=VALUE")], out: Folder = "", json: Json = False) -> None:
    """Show what each method of a study would see of the images, before anything is trained.

    Parameters
    ----------
    words
        A study file or a built-in study's name (by default digits), then settings such as views=page.
    out
        Folder of the page; by default runs/NAME-preview.
    """
    from selfstudy import api

    names, settings = _split(words)
    page = api.preview(_only(names, "preview", "digits"), settings, out=out, quiet=json)
    if json:
        print_json({"page": str(page)})
    else:
        print_lines(str(page))


@app.command(usage="Usage: selfstudy pretrain METHOD data=SOURCE [KEY=VALUE ...] [OPTIONS]")
def pretrain(method: str, /, *words: Words, out: Folder = "", json: Json = False) -> None:
    """Train one encoder without labels; the same command goes on where it stopped.

    Example: selfstudy pretrain simclr data=~/bags/all backbone=resnet18 epochs=200 method.temperature=0.2

    Parameters
    ----------
    method
        A name from `selfstudy list methods`, or the path of your own .py file.
    words
        data=SOURCE, then settings: image_size, epochs, batch_size, backbone, views, seed, method.temperature and others.
    out
        Folder of the run; by default runs/METHOD-DATA.
    """
    from selfstudy import api

    data, settings = _settings(words, "pretrain")
    run = api.pretrain(method, data, out=out, quiet=json, **settings)  # type: ignore[arg-type]
    if json:
        print_json({"folder": str(run.folder), **run.card})
    else:
        print_lines(run.card["health"]["message"], f"The encoder is in {run.folder}")


@app.command(usage="Usage: selfstudy evaluate RUN data=SOURCE [KEY=VALUE ...] [OPTIONS]")
def evaluate(run: Path, /, *words: Words, out: File = "", json: Json = False) -> None:
    """Judge the encoder of a run by labelled images.

    Example: selfstudy evaluate runs/simclr-bags data=~/bags/labelled protocols=linear,knn labels=10,50,0.1,all

    Parameters
    ----------
    run
        Folder of a run.
    words
        data=SOURCE with labels, then settings: protocols, labels, draws, test, metric, seed, finetune.lr and others.
    out
        The table of all scores; by default evaluation.csv in the run's folder.
    """
    from selfstudy import api, files

    data, settings = _settings(words, "evaluate")
    table = api.evaluate(run, data, quiet=json, **settings)  # type: ignore[arg-type]
    path = Path(out).expanduser() if out else run / "evaluation.csv"
    files.write_text(path, table.to_csv(index=False, lineterminator="\n"))
    if json:
        print_json(table.to_dict(orient="records"))
    else:
        print_scores(table)
        print_lines(f"All scores are in {path}")


@app.command(usage="Usage: selfstudy embed RUN IMAGES [OPTIONS]")
def embed(run: Path, images: str, /, *, out: File = "features.npz", json: Json = False) -> None:
    """Turn images into features with the encoder of a run.

    Parameters
    ----------
    run
        Folder of a run.
    images
        A folder, table:FILE or a named set.
    out
        File to write: the arrays features [N, D], ids and paths; by default features.npz.
    """
    from selfstudy import api

    embeddings = api.embed(run, images)
    embeddings.save(Path(out).expanduser())
    count, dim = embeddings.features.shape
    if json:
        print_json({"out": out, "images": count, "dim": dim})
    else:
        print_lines(f"{count:,} images, {dim} features each, are in {out}")


@app.command(usage="Usage: selfstudy explain RUN IMAGES [KEY=VALUE ...] [OPTIONS]")
def explain(run: Path, images: str, /, *words: Words, out: Folder = "explain", json: Json = False) -> None:
    """Show what an encoder makes of images: where it looks, what it takes for alike, what it mixes up.

    Example: selfstudy explain runs/simclr-bags ~/bags/labelled analyses=saliency,neighbours against=runs/byol-bags

    Parameters
    ----------
    run
        Folder of a run, or of a finished study, whose model names classes.
    images
        A folder, table:FILE or a named set; with labels where they are known.
    words
        Settings: analyses (see `selfstudy list analyses`), count, pick, against, twin, labelled, border.method and others.
    out
        Folder of explain.html, of the tables and of the pictures; by default explain.
    """
    from selfstudy import api

    names, settings = _split(words)
    if names:
        raise UserError(f'explain: "{names[0]}" is not a setting: expected KEY=VALUE, such as analyses=neighbours')
    found = api.explain(run, images, out=out, quiet=json, **settings)  # type: ignore[arg-type]
    if json:
        print_json({
            "page": str(found.page),
            "findings": {name: {"sentence": one.sentence, **one.numbers} for name, one in found.findings.items()},
        })  # fmt: skip
    else:
        print_lines(*found.sentences, str(found.page))


@app.command(usage="Usage: selfstudy finish STUDY [OPTIONS]")
def finish(
    study: Path, /, *, row: Annotated[str, Parameter(metavar="ROW", show_default=False)] = "", json: Json = False
) -> None:
    """Fit the best row of a study on all its labels: the model that `predict` and `export` take.

    Parameters
    ----------
    study
        Folder of a study.
    row
        The row to take; by default the one that does best on a fifth of the labels, held out from all rows.
    """
    from selfstudy import api

    model = api.finish(study, row=row, quiet=json)
    if json:
        print_json(
            {"folder": str(study / "model"), "classes": model.classes, "threshold": model.threshold, **model.card}
        )
    else:
        print_lines(*model.sentences(), f"The model is in {study / 'model'}")


@app.command(usage="Usage: selfstudy predict MODEL IMAGES [OPTIONS]")
def predict(model: Path, images: str, /, *, out: File = "predictions.csv", json: Json = False) -> None:
    """Name the class of images, and how sure that is.

    Parameters
    ----------
    model
        Folder of a finished study, or of the model in it.
    images
        A folder, table:FILE or a named set.
    out
        File to write: path, id, label, confidence, whether it is accepted, and every class's probability.
    """
    from selfstudy import api, files

    table = api.predict(model, images)
    files.write_text(Path(out).expanduser(), table.to_csv(index=False, lineterminator="\n"))
    accepted = int(table["accepted"].sum())
    if json:
        print_json({"out": out, "images": len(table), "accepted": accepted})
    else:
        unsure = len(table) - accepted
        left = f"; {unsure:,} of them so unsure that a person should look (column accepted)" if unsure else ""
        print_lines(f"{len(table):,} images are named in {out}{left}")


@app.command(usage="Usage: selfstudy export RUN --to timm|onnx [OPTIONS]")
def export(
    run: Path, /, *, to: Annotated[str, Parameter(metavar="FORMAT")], out: File = "", json: Json = False
) -> None:
    """Write an encoder, or a finished study's model, for other programs, and check that they see the same features.

    Parameters
    ----------
    run
        Folder of a run (its encoder) or of a finished study (its model with its classes).
    to
        timm: a folder that timm.create_model loads; onnx: a file for ONNX runtimes.
    out
        Where to write it; by default timm/ or encoder.onnx in the folder.
    """
    from selfstudy import api

    how = api.export(run, to=to, out=out)
    if json:
        print_json({"to": to, "how": how})
    else:
        print_lines(f"Written and checked against the encoder. {how}")


@app.command(usage="Usage: selfstudy report STUDY [OTHER] [OPTIONS]")
def report(
    study: str,
    other: Annotated[str, Parameter(show_default=False)] = "",
    /,
    *,
    figures: Switch = False,
    out: File = "",
    json: Json = False,
) -> None:
    """Write report.html again from what a study has so far, finished or not, or compare it with another study.

    Parameters
    ----------
    study
        Folder of a study.
    other
        Folder of a second study: a page is written that holds both against each other.
    figures
        Write all figures as SVG and PNG and all tables as CSV and LaTeX too, into figures/ and tables/ of the study.
    out
        Where the page of two studies goes; by default compare-OTHER.html in the folder of the first.
    """
    from selfstudy import api

    path = api.report(study, other, figures=figures, out=out)
    if json:
        print_json({"report": str(path)})
    else:
        print_lines(str(path))


@app.command(name="list", usage="Usage: selfstudy list methods|datasets|backbones|views|protocols|analyses|studies")
def list_names(what: str, /, *, json: Json = False) -> None:
    """Show what there is to choose from.

    Parameters
    ----------
    what
        methods, datasets, backbones, views, protocols, analyses or studies.
    """
    from selfstudy import listing

    found = listing.contents(what)
    if json:
        print_json(found)
    else:
        print_list(found)


@app.command(show=False)
def cell(hash: str, /, *, study: Path, json: Json = False) -> None:
    """Compute one cell of a study: the job that another machine is sent.

    Parameters
    ----------
    hash
        The cell's folder under cells/.
    study
        Folder of the study.
    """
    from selfstudy import api

    status = api.cell(study, hash, quiet=json)
    if json:
        print_json({"cell": hash, "status": status})


def main() -> None:
    """The command `selfstudy`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # an old Windows console lacks characters; a file name may hold any
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command; the exit code. The one place where an error becomes a sentence."""
    try:
        app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except (CycloptsError, UserError, RunError, OSError, KeyboardInterrupt) as error:
        if os.environ.get(DEBUG) == "1":
            raise
        sentence, code = _explain(error, arguments)
        complain(sentence)
        return code
    return 0


def _explain(error: BaseException, arguments: Sequence[str]) -> tuple[str, int]:
    """What happened in one sentence, and the exit code."""
    match error:
        case UnknownOptionError():
            return f"{error} Settings are written KEY=VALUE, such as epochs=50.", MISTAKEN
        case CycloptsError() | UserError():
            return str(error), MISTAKEN
        case KeyboardInterrupt():
            again = shlex.join(["selfstudy", *arguments])
            return f"Stopped. All that was finished is kept; the same command goes on from there: {again}", INTERRUPTED
        case OSError(filename=str(path), strerror=str(reason)):
            return f"{path}: {reason}", FAILED
        case _:
            return str(error), FAILED


def _split(words: Sequence[str]) -> tuple[list[str], dict[str, object]]:
    """Names and settings apart; a path may hold an equals sign, a setting's name holds no slash."""
    from selfstudy import config

    pairs = [word for word in words if re.match(r"[^\W\d][\w. -]*=", word)]
    return [word for word in words if word not in pairs], config.parse_overrides(pairs)


def _settings(words: Sequence[str], verb: str) -> tuple[object, dict[str, object]]:
    """The data source, as it was typed unless it is a {mapping}, and the settings beside it."""
    names, settings = _split(words)
    if names:
        raise UserError(f'{verb}: "{names[0]}" is not a setting: expected KEY=VALUE, such as epochs=50')
    typed = [word.removeprefix("data=") for word in words if word.startswith("data=")]
    if typed in ([], [""]):
        raise UserError(f"{verb} needs data=SOURCE: a folder, table:FILE or a name from `selfstudy list datasets`")
    source = settings.pop("data")
    return source if isinstance(source, Mapping) else typed[0], settings


def _only(names: Sequence[str], what: str, default: str) -> str:
    if len(names) > 1:
        raise UserError(f"one {what} is expected, but there are {len(names)}: {', '.join(names)}")
    return names[0] if names else default
