"""A thousand damaged files: no crash, no hang, and every one of them read, or set aside with a reason, or counted."""

import io
import os
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfstudy.images import load

KINDS = ("PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP", "PPM")
SUFFIX = {"PNG": ".png", "JPEG": ".jpg", "TIFF": ".tif", "GIF": ".gif", "BMP": ".bmp", "WEBP": ".webp", "PPM": ".ppm"}


def encoded(kind: str, seed: int) -> bytes:
    values = np.random.default_rng(seed).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, kind)
    return buffer.getvalue()


def damaged(content: bytes, dice: random.Random) -> bytes:
    """Bits turned, cut short, doubled, emptied, or with huge numbers where the size stands."""
    match dice.randrange(6):
        case 0:
            changed = bytearray(content)
            for _ in range(dice.randrange(1, 20)):
                changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
            return bytes(changed)
        case 1:
            return content[: dice.randrange(len(content))]
        case 2:
            return b""
        case 3:
            place = dice.randrange(4, min(40, len(content)))
            return content[:place] + b"\xff\xff\xff\x7f" + content[place + 4 :]
        case 4:
            return bytes(dice.randrange(256) for _ in range(dice.randrange(1, 300)))
        case _:
            return content + content[: dice.randrange(len(content))]


@pytest.mark.skipif(os.name == "nt", reason="names of bytes and links are made as POSIX has them")
def test_a_thousand_damaged_files(tmp_path):
    """Mutations: let one exception of a decoder through, forget a file, follow a loop of links."""
    dice, root = random.Random(0), tmp_path / "root"
    root.mkdir()
    for number in range(30):
        (root / f"sound-{number}.png").write_bytes(encoded("PNG", number))
    expected = 30
    for number in range(1000):
        kind = dice.choice(KINDS)
        suffix = SUFFIX[kind] if dice.random() < 0.8 else SUFFIX[dice.choice(KINDS)]
        name = dice.choice((f"{number}", f"new\nline {number}", f"ünï {number}", f"{number} " + "x" * 150)) + suffix
        path = os.fsencode(root) + b"/" + os.fsencode(name)
        if dice.random() < 0.1:
            path = os.fsencode(root) + b"/\xff\xfe" + str(number).encode() + suffix.encode()
        with open(path, "wb") as file:
            file.write(damaged(encoded(kind, number % 50), dice))
        expected += 1
    (root / "loop").symlink_to(root, target_is_directory=True)
    (root / "nowhere.png").symlink_to(tmp_path / "nothing")
    os.mkfifo(root / "pipe.png")
    (root / "folder.png").mkdir()
    (root / "locked.png").write_bytes(encoded("PNG", 99))
    (root / "locked.png").chmod(0)
    expected += 3  # the folder is no picture, whatever its name
    images = load(root, image_size=16, most_unreadable=1.0)
    assert len(images) + len(images.skipped) == expected and images.ignored == 0
    assert sum("sound" in path for path in images.paths) == 30
    assert all(skipped.reason and skipped.path.isprintable() for skipped in images.skipped)
    assert all(path.isprintable() for path in images.paths)
    again = load(root, image_size=16, most_unreadable=1.0)
    assert again.ids.tolist() == images.ids.tolist() and set(again.skipped) == set(images.skipped)
    assert Path(root / "pipe.png").exists()
