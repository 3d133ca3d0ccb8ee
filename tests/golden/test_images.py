"""Decoding, sizes, identities and statistics of images, each against a value worked out by hand or an independent twin."""

import io
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from selfstudy.errors import UserError
from selfstudy.images import channel_statistics, load

LETTER_F = np.array([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0]], dtype=np.uint8) * 255  # has no symmetry


def gradient(height: int, width: int) -> np.ndarray:
    """A smooth colour picture, uint8 [height, width, 3]."""
    row, column = np.mgrid[:height, :width]
    return np.stack([row * 255 // height, column * 255 // width, (row + column) * 255 // (height + width)], -1).astype(
        np.uint8
    )


def save(path: Path, picture: np.ndarray | Image.Image, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(path, **options)
    return path


def stored(folder: Path, image_size: int, **options: object) -> np.ndarray:
    """The only picture of a folder as it is stored, [H, W] or [H, W, 3]."""
    return load(folder, image_size=image_size, **options).images[0].permute(1, 2, 0).squeeze(2).numpy()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(tmp_path, orientation):
    """Exif 2.32, tag 274: how a camera's rows and columns lie. Mutation: swap two of the turns."""
    as_recorded = {
        1: lambda p: p, 2: np.fliplr, 3: lambda p: np.rot90(p, 2), 4: np.flipud,
        5: np.transpose, 6: lambda p: np.rot90(p, 1), 7: lambda p: np.rot90(p, 2).T, 8: lambda p: np.rot90(p, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[274] = orientation
    save(tmp_path / "x.png", np.ascontiguousarray(as_recorded(LETTER_F)), exif=exif)
    assert (stored(tmp_path, 4) == LETTER_F).all()


def test_transparent_pixels_become_white(tmp_path):
    """Mutation: convert("RGB") alone, which keeps the hidden colour. Half-transparent red over white is (255, 127, 127)."""
    rgba = np.zeros((4, 4, 4), dtype=np.uint8)
    rgba[0] = (255, 0, 0, 255)
    rgba[1] = (255, 0, 0, 128)
    found = stored(save(tmp_path / "rgba" / "x.png", rgba).parent, 4)
    assert found[:, 0].tolist() == [[255, 0, 0], [255, 127, 127], [255, 255, 255], [255, 255, 255]]

    grey_alpha = Image.fromarray(LETTER_F).convert("LA")
    grey_alpha.putalpha(Image.fromarray(255 - LETTER_F))
    assert (stored(save(tmp_path / "la" / "x.png", grey_alpha).parent, 4) == np.where(LETTER_F == 255, 255, 0)).all()

    palette = Image.fromarray(LETTER_F // 255).convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    found = stored(save(tmp_path / "p" / "x.png", palette, transparency=0).parent, 4)
    assert found[0].tolist() == [[40, 50, 60]] * 3 + [[255, 255, 255]]


def test_sixteen_bit_grey_keeps_its_range(tmp_path):
    """65535 is white and 257 one level; rounded, not cut. Mutations: >> 8, clip, or stretch to the picture's maximum."""
    values = np.array(
        [[0, 128, 129, 257], [32767, 32768, 40000, 51400], [1, 2, 3, 4], [300, 400, 500, 600]], dtype=np.uint16
    )
    expected = [[0, 0, 1, 1], [127, 128, 156, 200], [0, 0, 0, 0], [1, 2, 2, 2]]
    assert stored(save(tmp_path / "png" / "x.png", values).parent, 4, levels="full").tolist() == expected
    assert stored(save(tmp_path / "tif" / "x.tif", values).parent, 4, levels="full").tolist() == expected
    (tmp_path / "pgm").mkdir()
    (tmp_path / "pgm" / "x.pgm").write_bytes(b"P5 4 4 65535\n" + values.astype(">u2").tobytes())
    assert stored(tmp_path / "pgm", 4, levels="full").tolist() == expected
    floats = (np.array(expected, dtype=np.float32)) / 255
    assert stored(save(tmp_path / "float" / "x.tif", floats).parent, 4, levels="full").tolist() == expected


def test_other_kinds_of_pixels(tmp_path):
    """One bit, palettes and CMYK mean the colours that they stand for."""
    assert (stored(save(tmp_path / "1" / "x.png", Image.fromarray(LETTER_F).convert("1")).parent, 4) == LETTER_F).all()
    two = Image.fromarray(LETTER_F // 255).convert("P")
    two.putpalette([10, 20, 30, 40, 50, 60])
    assert stored(save(tmp_path / "p" / "x.png", two).parent, 4)[0].tolist() == [[40, 50, 60]] * 3 + [[10, 20, 30]]
    ink = Image.new("CMYK", (4, 4), (255, 0, 0, 0))
    assert stored(save(tmp_path / "cmyk" / "x.tif", ink).parent, 4)[0, 0].tolist() == [0, 255, 255]
    assert (
        abs(
            stored(save(tmp_path / "jpeg" / "x.jpg", ink, quality=95).parent, 4)[0, 0].astype(int) - [0, 255, 255]
        ).max()
        < 4
    )


def test_the_name_of_a_file_does_not_decide_its_format(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(LETTER_F).save(buffer, "PNG")
    (tmp_path / "x.jpg").write_bytes(buffer.getvalue())
    assert (stored(tmp_path, 4) == LETTER_F).all()


def test_fits_by_hand(tmp_path):
    """6 x 4 pixels, nothing resized. Mutations: crop the corner, pad at one side, pad with black."""
    picture = np.full((4, 6), 200, dtype=np.uint8)
    picture[1:3, 1:5] = [[1, 2, 3, 4], [5, 6, 7, 8]]
    save(tmp_path / "x.png", picture)
    assert (stored(tmp_path, 4, fit="crop") == picture[:, 1:5]).all()
    padded = np.full((6, 6), 200)  # the median of the border
    padded[1:5] = picture
    assert (stored(tmp_path, 6, fit="pad") == padded).all()
    squashed = stored(tmp_path, 6, fit="squash")
    assert squashed.shape == (6, 6)
    assert abs(squashed[:, 0].astype(int) - 200).max() <= 1
    with pytest.raises(UserError, match=r'there is no fit "crops"\. Did you mean "crop"\?'):
        load(tmp_path, image_size=4, fit="crops")


def test_resizing_is_antialiased_bicubic(tmp_path):
    """Against torch's own antialiased bicubic filter, in floating point; Pillow rounds between its two passes.

    Mutations: another filter (off by 20 here), a shifted box.
    """
    noise = np.random.default_rng(0).integers(64, 192, (92, 132, 3), dtype=np.uint8)  # overshoots are not clipped
    save(tmp_path / "x.png", noise)
    image = torch.from_numpy(noise).permute(2, 0, 1)[None].float()
    found = torch.from_numpy(stored(tmp_path, 40)).permute(2, 0, 1).float()
    expected = F.interpolate(image, (46, 66), mode="bicubic", antialias=True)[0, :, :, 10:56]
    assert (found - expected).abs().max() <= 2
    found = torch.from_numpy(stored(tmp_path, 140, fit="squash")).permute(2, 0, 1).float()
    square = F.interpolate(image, (132, 132), mode="bicubic", antialias=True)
    expected = F.interpolate(square, (140, 140), mode="bicubic", antialias=True)[0]
    assert (found - expected).abs().max() <= 2


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_large_jpegs_are_decoded_small_without_harm(tmp_path, fit):
    """Waves of 40 pixels, 5 when stored. Mutations: a gap of 2 (mean 1.3), or the reduced picture's own size (mean 6)."""
    row, column = np.mgrid[:603, :805]
    waves = np.stack([127 + 100 * np.sin(2 * np.pi * place / 40) for place in (row, column, row + column)], -1)
    exif = Image.Exif()
    exif[274] = 6
    save(tmp_path / "jpg" / "x.jpg", waves.astype(np.uint8), quality=95, subsampling=0, exif=exif)
    decoded = Image.open(tmp_path / "jpg" / "x.jpg").convert("RGB")
    save(tmp_path / "png" / "x.png", decoded, exif=exif)
    small, full = (stored(tmp_path / kind, 64, fit=fit).astype(int) for kind in ("jpg", "png"))
    assert abs(small - full).max() <= 8
    assert abs(small - full).mean() < 0.6


@pytest.mark.parametrize(
    ("sides", "image_size", "expected"),
    [
        ([28, 28], 28, 28),  # never magnified when the set is small
        ([28, 30], 28, 30),  # up to the largest
        ([28, 33], 28, 33),  # 1.15 x 28 = 32.2
        ([28, 500], 28, 33),
        ([500, 500], 20, 23),  # 1.15 x 20 is a whole number
        ([5, 9], 16, 16),  # smaller than what an encoder sees
        ([500], 100, 115),
    ],
)
def test_one_stored_side_for_all(tmp_path, sides, image_size, expected):
    """min(ceil(1.15 s), max(s, the largest side)). Mutation: magnify to ceil(1.15 s)."""
    for number, side in enumerate(sides):
        save(tmp_path / f"{number}.png", np.full((side, side + 3), number * 9, dtype=np.uint8))
    images = load(tmp_path, image_size=image_size)
    assert images.images.shape == (len(sides), 1, expected, expected)
    assert images.images.dtype == torch.uint8


def test_channels_follow_the_pixels_not_the_format(tmp_path):
    """Mutation: decide by the mode of the file."""
    save(tmp_path / "a.png", Image.fromarray(LETTER_F).convert("RGB"))
    save(tmp_path / "b.png", LETTER_F.T.copy())
    assert load(tmp_path, image_size=4).channels == 1
    save(tmp_path / "c.png", gradient(4, 4))
    images = load(tmp_path, image_size=4)
    assert images.channels == 3
    grey = {path: row for row, path in enumerate(images.paths.tolist())}[str(tmp_path / "a.png")]
    assert (images.images[grey] == torch.from_numpy(LETTER_F)).all()


def test_content_decides_identity_and_order(tmp_path):
    """Mutation: let a path into ids, groups, order or fingerprint."""
    random = np.random.default_rng(1)
    for number in range(6):
        save(tmp_path / "one" / "cats" / f"{number}.png", random.integers(0, 256, (8, 8), dtype=np.uint8))
        save(tmp_path / "one" / "dogs" / f"{number}.png", random.integers(0, 256, (8, 8), dtype=np.uint8))
    for path in sorted((tmp_path / "one").rglob("*.png")):
        renamed = tmp_path / "two" / path.parent.name / "deeper" / f"{random.integers(10**9)}.PNG"
        renamed.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, renamed)
    one, two = (load(tmp_path / name, image_size=8, labelled=True) for name in ("one", "two"))
    assert one.ids.tolist() == two.ids.tolist() == sorted(one.ids.tolist())
    assert torch.equal(one.images[:], two.images[:])
    assert (one.labels == two.labels).all()
    assert one.fingerprint == two.fingerprint
    assert one.paths.tolist() != two.paths.tolist()
    larger = load(tmp_path / "one", image_size=16, labelled=True)
    assert larger.ids.tolist() == one.ids.tolist()  # so a saved split outlives a change of size
    assert larger.fingerprint != one.fingerprint
    shutil.move(tmp_path / "two" / "cats", tmp_path / "two" / "mice")
    assert load(tmp_path / "two", image_size=8, labelled=True).fingerprint != one.fingerprint


def test_copies_share_their_group(tmp_path):
    first = save(tmp_path / "a.png", LETTER_F)
    shutil.copy(first, tmp_path / "b.png")
    shutil.copy(first, tmp_path / "c.png")
    save(tmp_path / "d.png", LETTER_F.T.copy())
    images = load(tmp_path, image_size=4)
    [name] = {group for group in images.groups.tolist() if images.groups.tolist().count(group) == 3}
    copies = images.groups == name
    assert images.ids[copies].tolist() == [name, f"{name}-2", f"{name}-3"]
    assert images.paths[copies].tolist() == [str(tmp_path / f"{letter}.png") for letter in "abc"]
    assert images.groups[~copies].tolist() == images.ids[~copies].tolist()


def test_identities_of_the_built_in_sets_never_change():
    """Saved studies rest on them: a change here makes every saved split worthless."""
    assert load("mnist5k", image_size=28, labelled=True).fingerprint == "49f064df12a794a59ac40a7773efc253"
    assert load("digits", image_size=8, labelled=True).fingerprint == "2ae31a61f27b1e3b38320fe1f7232d56"


def test_digits_are_scaled_to_the_full_range():
    """Mutation: multiply by 16, which makes the brightest value 256 and thus 0."""
    images = load("digits", image_size=8)
    assert images.images.shape == (1797, 1, 8, 8)
    assert sorted(images.images.unique().tolist()) == [round(value * 255 / 16) for value in range(17)]


def test_channel_statistics_against_numpy(tmp_path):
    """Mutation: the statistics of all rows, or the mean of the pictures' deviations."""
    random = np.random.default_rng(2)
    for number in range(5):
        save(tmp_path / f"{number}.png", random.integers(0, 50 * number + 2, (9, 9, 3), dtype=np.uint8))
    images = load(tmp_path, image_size=9)
    rows = np.array([0, 2, 3])
    mean, deviation = channel_statistics(images, rows)
    pixels = images.images[rows].double().numpy() / 255
    np.testing.assert_allclose(mean, pixels.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(deviation, pixels.std((0, 2, 3)), rtol=1e-9)
    assert channel_statistics(images, rows[::-1]) == (mean, deviation)


def test_a_constant_channel_can_be_divided_by(tmp_path):
    save(tmp_path / "x.png", np.full((4, 4), 51, dtype=np.uint8))
    assert channel_statistics(load(tmp_path, image_size=4), np.array([0])) == ((0.2,), (1 / 255,))


def test_a_selection_is_a_set_of_its_own():
    images = load("digits", image_size=8, labelled=True)
    rows = np.array([5, 3, 100])
    few = images.select(rows)
    assert few.ids.tolist() == images.ids[rows].tolist()
    assert few.classes == images.classes
    assert few.fingerprint not in (images.fingerprint, images.select(rows[::-1]).fingerprint)
    batch, again = images.at(torch.from_numpy(rows)), few.at(torch.tensor([0, 1, 2]))
    assert (batch.images == again.images).all()
    assert (batch.labels == again.labels).all()
    assert batch.index.tolist() == rows.tolist()


def test_classes_are_in_natural_order_and_composed(tmp_path):
    """Mutation: sorted() alone gives 1, 10, 9. macOS decomposes the names of folders."""
    for name in ("page 10", "page 9", "Page 1", unicodedata.normalize("NFD", "été")):
        save(tmp_path / name / "x.png", np.full((4, 4), sum(name.encode()) % 256, dtype=np.uint8))
    images = load(tmp_path, image_size=4, labelled=True)
    assert images.classes == ("Page 1", "page 9", "page 10", "été")
    by_path = {Path(path).parent.name: int(label) for path, label in zip(images.paths, images.labels, strict=True)}
    assert by_path["page 9"] == 1
