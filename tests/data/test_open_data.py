import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dilsearch.data import IGNORE_INDEX, batches, open_data
from dilsearch.errors import DataError
from dilsearch.space import CityscapesData, FolderPairsData, LongMemoryData, ThinBarsData

CAMVID = Path(__file__).parents[3] / "shared" / "data" / "camvid"
CAMVID_CLASSES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)


def folder_pairs(**changes):
    settings = {
        "name": "folder_pairs",
        "class_names": ("sky", "road", "car"),
        "ignore_index": 11,
        "size_px": (24, 36),
        "scale": (0.5, 2.0),
        "crop_px": (16, 20),
    }
    return FolderPairsData(**{**settings, **changes})


def test_thin_bars_open_without_a_folder():
    data = open_data(ThinBarsData(name="thin_bars", validation_images=5))
    assert data.name == "thin_bars"
    assert len(data.content_hash) == 64
    assert data.class_names == ("background", "class 1", "class 2", "class 3")
    assert data.palette.shape == (4, 3)
    assert data.image_px == (96, 96)
    assert data.ignore_index == IGNORE_INDEX
    assert len(data.validation) == 5
    assert len(data.train_stream(seed=1, samples=12)) == 12
    image, label = data.validation[0]
    assert data.to_rgb(image).shape == (96, 96, 3)
    assert data.regions["far"](label).any()


def test_thin_bars_take_every_setting_of_the_section():
    section = ThinBarsData(
        name="thin_bars",
        size_px=40,
        bar_width_px=(3, 4),
        gap_px=(2, 2),
        patch_px=9,
        classes=2,
        palette=("#000000", "#808080", "#ff0000", "#00ff00"),
        noise=0.05,
    )
    bars = open_data(section).train_stream(seed=3, samples=2)
    for key in ("size_px", "bar_width_px", "gap_px", "patch_px", "classes", "palette", "noise"):
        assert getattr(bars, key) == getattr(section, key)
    assert bars.seed == 3


def test_long_memory_opens_without_a_folder():
    data = open_data(LongMemoryData(name="long_memory", segment=24, validation_sequences=5))
    assert data.name == "long_memory"
    assert len(data.content_hash) == 64
    assert data.class_names == ("class 1", "class 2", "class 3", "class 4")
    assert data.palette.shape == (4, 3)
    assert data.image_px == (48,)
    assert data.ignore_index == IGNORE_INDEX
    assert len(data.validation) == 5
    assert len(data.train_stream(seed=1, samples=12)) == 12
    channels, label = data.validation[0]
    assert data.to_rgb(channels).shape == (1, 48, 3)
    far = data.regions["far"](label)
    assert far.any()
    assert not far[:12].any(), "half of the segment asked for"


def test_long_memory_takes_every_setting_of_the_section():
    section = LongMemoryData(
        name="long_memory",
        segment=20,
        pulse=3,
        classes=2,
        sequence=70,
        palette=("#000000", "#ff0000", "#00ff00"),
        noise=0.05,
    )
    data = open_data(section)
    sequences = data.train_stream(seed=3, samples=2)
    for key in ("segment", "pulse", "classes", "sequence", "palette", "noise"):
        assert getattr(sequences, key) == getattr(section, key)
    assert sequences.seed == 3
    assert data.class_names == section.class_names
    assert data.image_px == section.image_px
    assert data.validation[0][0].shape == (section.channels, *section.image_px)


def test_no_seed_trains_on_the_validation_sequences():
    data = open_data(LongMemoryData(name="long_memory", validation_sequences=20))
    held_out = {label.numpy().tobytes() for _, label in data.validation}
    for seed in range(5):
        trained = {label.numpy().tobytes() for _, label in data.train_stream(seed=seed, samples=99)}
        assert not held_out & trained


def test_no_seed_trains_on_the_validation_bars():
    data = open_data(ThinBarsData(name="thin_bars", validation_images=20))
    held_out = {label[0].numpy().tobytes() for _, label in data.validation}
    for seed in range(5):
        trained = {lab[0].numpy().tobytes() for _, lab in data.train_stream(seed=seed, samples=200)}
        assert not held_out & trained


def test_folder_pairs_open_checked(pairs_folder):
    data = open_data(folder_pairs(), root=pairs_folder)
    assert data.name == "folder_pairs"
    assert data.class_names == ("sky", "road", "car")
    assert data.palette.shape == (3, 3)
    assert data.image_px == (16, 20)
    assert data.regions == {}
    assert len(data.validation) == 2
    image, label = data.validation[0]
    assert image.shape == (3, 24, 36)
    assert label.dtype == torch.int64
    images, labels = next(
        iter(batches(data.train_stream(seed=0, samples=8), batch_size=4, steps=2))
    )
    assert images.shape == (4, 3, 16, 20)
    assert labels.shape == (4, 16, 20)
    assert open_data(folder_pairs(crop_px=None), root=pairs_folder).image_px == (24, 36)


def test_the_identity_is_of_both_splits_and_not_of_the_place(pairs_folder, tmp_path, write_label):
    before = open_data(folder_pairs(), root=pairs_folder).identity
    moved = Path(shutil.copytree(pairs_folder, tmp_path / "moved"))
    assert open_data(folder_pairs(), root=moved).identity == before
    write_label(moved / "valannot" / "d.png", seed=8)
    assert open_data(folder_pairs(), root=moved).content_hash != before["content_hash"]


def test_the_faults_of_both_splits_come_in_one_error(pairs_folder):
    (pairs_folder / "trainannot" / "a.png").unlink()
    (pairs_folder / "valannot" / "d.png").unlink()
    with pytest.raises(DataError, match=r"2 faults:\n.*train/a.jpg has no.*\n.*val/d.png has no"):
        open_data(folder_pairs(), root=pairs_folder)


def test_a_missing_folder_is_told_once(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: the folder does not exist; correct the path$"):
        open_data(folder_pairs(), root=tmp_path / "nowhere")


@pytest.mark.parametrize("section", [folder_pairs(), CityscapesData(name="cityscapes")])
def test_image_data_need_a_folder(section):
    with pytest.raises(
        DataError, match=f"data '{section.name}' needs a data folder; give --data PATH"
    ):
        open_data(section)


def test_generated_data_take_no_folder(tmp_path):
    with pytest.raises(DataError, match="data 'thin_bars' is generated and reads no folder"):
        open_data(ThinBarsData(name="thin_bars"), root=tmp_path)
    with pytest.raises(DataError, match="'long_memory' is generated and reads no folder"):
        open_data(LongMemoryData(name="long_memory"), root=tmp_path)


def test_cityscapes_open_by_split(tmp_path, write_image, write_label):
    for split in ("train", "val"):
        write_image(tmp_path / "leftImg8bit" / split / "ulm" / "ulm_0_leftImg8bit.png")
        write_label(tmp_path / "gtFine" / split / "ulm" / "ulm_0_gtFine_labelTrainIds.png")
    data = open_data(CityscapesData(name="cityscapes", size_px=(24, 36)), root=tmp_path)
    assert data.name == "cityscapes"
    assert len(data.class_names) == 19
    assert len(data.validation) == 1
    assert data.train_stream(seed=0, samples=3)[2][0].shape == (3, 24, 36)


def test_generated_data_need_no_torchvision():
    code = (
        "import sys; from dilsearch.data import ThinBars; ThinBars(length=1)[0];"
        "sys.exit('torchvision' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(not CAMVID.is_dir(), reason=f"CamVid is not at {CAMVID}")
def test_camvid_is_whole():
    section = folder_pairs(class_names=CAMVID_CLASSES, size_px=(180, 240), crop_px=(180, 240))
    data = open_data(section, root=CAMVID)
    assert len(data.validation) == 101
    image, label = data.validation[0]
    assert image.shape == (3, 180, 240)
    assert set(np.unique(label)) <= {*range(11), IGNORE_INDEX}
