"""Slow, obvious twins of the operations on views, in float64, one image and one pixel at a time, from the definitions.

An image is [C, H, W] in [0, 1].
"""

import colorsys
import math

import numpy as np


def triangle(x: float) -> float:
    return max(0.0, 1.0 - abs(x))


def cubic(x: float) -> float:
    """Keys 1981, Eq. 8, with a = -1/2."""
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def crop(
    image: np.ndarray, top: int, left: int, height: int, width: int, size: tuple[int, int], kernel=triangle
) -> np.ndarray:
    """Cut the box out, then resize it: rows, then columns."""
    box = image[:, top : top + height, left : left + width]
    box = np.stack(
        [resize_line(line, size[0], kernel) for line in box.transpose(1, 0, 2).reshape(height, -1).T], axis=1
    )
    box = box.reshape(size[0], len(image), width).transpose(1, 0, 2)
    rows = [[resize_line(row, size[1], kernel) for row in channel] for channel in box]
    return np.clip(np.array(rows), 0, 1)


def resize_line(line: np.ndarray, size: int, kernel) -> np.ndarray:
    """Each new pixel is the mean of the old ones under a kernel about its centre, as wide as the larger of the two."""
    step = len(line) / size
    resized = []
    for i in range(size):
        weights = np.array([kernel((k + 0.5 - (i + 0.5) * step) / max(1.0, step)) for k in range(len(line))])
        resized.append(weights @ line / weights.sum())
    return np.array(resized)


def grey(image: np.ndarray) -> np.ndarray:
    return 0.2989 * image[0] + 0.587 * image[1] + 0.114 * image[2] if len(image) == 3 else image[0].copy()


def brightness(image: np.ndarray, factor: float) -> np.ndarray:
    return np.clip(factor * image, 0, 1)


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    return np.clip(factor * image + (1 - factor) * grey(image).mean(), 0, 1)


def saturation(image: np.ndarray, factor: float) -> np.ndarray:
    return np.clip(factor * image + (1 - factor) * grey(image), 0, 1)


def hue(image: np.ndarray, turns: float) -> np.ndarray:
    """Through the HSV of Python's own library."""
    result = np.empty_like(image)
    for y, x in np.ndindex(image.shape[1:]):
        h, s, v = colorsys.rgb_to_hsv(*image[:, y, x])
        result[:, y, x] = colorsys.hsv_to_rgb((h + turns) % 1.0, s, v)
    return result


def jitter(image: np.ndarray, factors: np.ndarray, turns: float, order: tuple[int, ...]) -> np.ndarray:
    """`order` names the four changes: 0 brightness, 1 contrast, 2 saturation, 3 hue."""
    for kind in order:
        if kind < 2:
            image = (brightness, contrast)[kind](image, factors[kind])
        elif len(image) == 3:
            image = saturation(image, factors[2]) if kind == 2 else hue(image, turns)
    return image


def blur(image: np.ndarray, sigma: float, radius: int) -> np.ndarray:
    """The two-dimensional sum, over an image mirrored about its edge pixels."""
    offsets = range(-radius, radius + 1)
    weights = np.array([[math.exp(-(dy * dy + dx * dx) / (2 * sigma * sigma)) for dx in offsets] for dy in offsets])
    padded = np.pad(image, ((0, 0), (radius, radius), (radius, radius)), mode="reflect")
    result = np.empty_like(image)
    for c, y, x in np.ndindex(image.shape):
        window = padded[c, y : y + 2 * radius + 1, x : x + 2 * radius + 1]
        result[c, y, x] = (weights * window).sum() / weights.sum()
    return result


def solarise(image: np.ndarray, threshold: float) -> np.ndarray:
    return np.array([1 - value if value >= threshold else value for value in image.flat]).reshape(image.shape)


def window_extreme(image: np.ndarray, size: int, extreme) -> np.ndarray:
    """`extreme` (max or min) of the part of each pixel's window that lies in the image."""
    before, after = (size - 1) // 2, size // 2
    result = np.empty_like(image)
    for c, y, x in np.ndindex(image.shape):
        result[c, y, x] = extreme(
            image[c, max(0, y - before) : y + after + 1, max(0, x - before) : x + after + 1].ravel()
        )
    return result


def read(image: np.ndarray, c: int, y: float, x: float, fill: float) -> float:
    """The image at a place between pixels, bilinearly, with `fill` outside."""
    total = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            inside = 0 <= row < image.shape[1] and 0 <= column < image.shape[2]
            value = image[c, row, column] if inside else fill
            total += value * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


def affine(
    image: np.ndarray, degrees: float, translate: tuple[float, float], scale: float, shear: float, fill: float
) -> np.ndarray:
    """Forward, about the middle: shear, scale, rotation, translation; each new pixel is read where the inverse leads."""
    a, t = math.radians(degrees), math.tan(math.radians(shear))
    rotation = np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
    backward = np.linalg.inv(rotation @ (scale * np.eye(2)) @ np.array([[1, -t], [0, 1]]))
    middle = np.array([(image.shape[2] - 1) / 2, (image.shape[1] - 1) / 2])
    result = np.empty_like(image)
    for c, y, x in np.ndindex(image.shape):
        place = backward @ (np.array([x, y]) - middle - np.array(translate)) + middle
        result[c, y, x] = read(image, c, place[1], place[0], fill)
    return result


def displacement(noise: np.ndarray, side: int, nodes: np.ndarray, alpha: float, sigma: float) -> np.ndarray:
    """[2, side, side] from noise [2, G, G]: node by node, scaled so that noise of variance 1/3 gives alpha."""
    result = np.zeros((2, side, side))
    for axis, y, x in np.ndindex(result.shape):
        weights = np.array(
            [[math.exp(-((y - v) ** 2 + (x - u) ** 2) / (2 * sigma * sigma)) for u in nodes] for v in nodes]
        )
        result[axis, y, x] = alpha * math.sqrt(3) * (weights * noise[axis]).sum() / math.sqrt((weights**2).sum())
    return result


def displace(image: np.ndarray, shift: np.ndarray, fill: float) -> np.ndarray:
    """Each pixel read at its own place plus `shift` [2, H, W], x before y, in pixels."""
    result = np.empty_like(image)
    for c, y, x in np.ndindex(image.shape):
        result[c, y, x] = read(image, c, y + shift[1, y, x], x + shift[0, y, x], fill)
    return result


def erase(image: np.ndarray, top: int, left: int, height: int, width: int, cover: np.ndarray) -> np.ndarray:
    result = image.copy()
    for c, y, x in np.ndindex(image.shape):
        if top <= y < top + height and left <= x < left + width:
            result[c, y, x] = cover[c, y, x]
    return result
