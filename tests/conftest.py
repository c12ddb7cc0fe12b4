"""What tests of more than one module need: real images and networks, and few threads."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from uuid import uuid4

import pytest
import torch

from sycam.images import ImageSet, load_images
from sycam.network import Network, load_network

collect_ignore_glob = ["*conftest.py"]  # several of one name hold no doctests, and would be taken for one module
torch.set_num_threads(1)  # pytest-xdist already uses the cores
pytest.register_assert_rewrite("referees", "stores")  # helpers with assertions, which say by how much they fail

CACHES = tempfile.mkdtemp(prefix="sycam-tests-")
os.environ["SYCAM_CACHE"] = CACHES  # never the user's


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A cache of its own for each test; a hook, for hypothesis takes no fixtures of a single test."""
    os.environ["SYCAM_CACHE"] = str(Path(CACHES, uuid4().hex))


def pytest_unconfigure() -> None:
    """Nothing stays."""
    shutil.rmtree(CACHES, ignore_errors=True)


HALF = {"mean": 0.5, "std": 0.5}


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real images and weights; `SYCAM_DATA` says where, beside the repository by default."""
    folder = Path(os.environ.get("SYCAM_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not (folder / "models.py").is_file():
        pytest.skip(f"no real data: SYCAM_DATA names no folder with models.py ({folder})")
    return folder


@pytest.fixture(scope="session")
def mobilenet_v2(data_folder: Path) -> Network:
    """1280 channels of 7x7, GAP + linear head, 1000 classes."""
    return load_network("mobilenet_v2", weights=data_folder / "weights/mobilenet_v2.safetensors", resize=256, **HALF)


@pytest.fixture(scope="session")
def small_vgg_tiny20(data_folder: Path) -> Network:
    """192 channels of 8x8 (the last ReLU), then max pooling and three linear layers, 20 classes."""
    return load_network(f"{data_folder}/models.py:load:small_vgg_tiny20", size=64, layer="features.26")


@pytest.fixture(scope="session")
def tiny_darknet(data_folder: Path) -> Network:
    """128 signed channels of 14x14, then a 1x1 convolution and global pooling, 1000 classes."""
    return load_network(f"{data_folder}/models.py:load:tiny_darknet", size=224, resize="squash", mean=0.0, std=1.0)


@pytest.fixture(scope="session")
def resnet20_cifar10(data_folder: Path) -> Network:
    """64 channels of 8x8, GAP + linear head, 10 classes."""
    return load_network(f"{data_folder}/models.py:load:resnet20_cifar10", size=32)


@pytest.fixture(scope="session")
def photos(data_folder: Path, mobilenet_v2: Network) -> ImageSet:
    """8 ImageNet images at 224x224 with labels and boxes."""
    return load_images(data_folder / "imagenet", mobilenet_v2.preprocessing, limit=8)


@pytest.fixture(scope="session")
def tiny_photos(data_folder: Path, small_vgg_tiny20: Network) -> ImageSet:
    """8 Tiny ImageNet images at 64x64 with labels and boxes."""
    return load_images(data_folder / "tiny-imagenet", small_vgg_tiny20.preprocessing, limit=8)


@pytest.fixture(scope="session")
def cifar_photos(data_folder: Path, resnet20_cifar10: Network) -> ImageSet:
    """8 CIFAR-10 images at 32x32 with labels."""
    return load_images(data_folder / "cifar10/test", resnet20_cifar10.preprocessing, limit=8)
