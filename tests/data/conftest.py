"""A small folder of image and label pairs, and hands to write more."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Writer = Callable[..., Path]

IMAGE_PX = (24, 36)


@pytest.fixture
def write_image() -> Writer:
    """Writes an RGB image of random colours, as PNG or JPEG by its suffix."""

    def write(path: Path, *, size_px: tuple[int, int] = IMAGE_PX, seed: int = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (*size_px, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        return path

    return write


@pytest.fixture
def write_label() -> Writer:
    """Writes a greyscale PNG of random values below ``classes``, with ``value`` in a corner."""

    def write(
        path: Path,
        *,
        size_px: tuple[int, int] = IMAGE_PX,
        seed: int = 0,
        classes: int = 3,
        value: int = 0,
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, classes, size_px, dtype=np.uint8)
        pixels[:2, :2] = value
        Image.fromarray(pixels).save(path)
        return path

    return write


@pytest.fixture
def pairs_folder(tmp_path: Path, write_image: Writer, write_label: Writer) -> Path:
    """Three training pairs, JPEG and PNG, and two validation pairs; classes 0 to 2, ignored 11."""
    root = tmp_path / "pairs"
    for split, names in (("train", ("a.jpg", "b.png", "c.JPEG")), ("val", ("d.png", "e.jpg"))):
        for seed, name in enumerate(names):
            write_image(root / split / name, seed=seed)
            stem = Path(name).stem
            write_label(root / f"{split}annot" / f"{stem}.png", seed=seed, value=11)
    return root
