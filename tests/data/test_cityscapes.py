import numpy as np
import pytest
from PIL import Image

from dilsearch.data.cityscapes import Cityscapes
from dilsearch.errors import DataError


@pytest.fixture
def cityscapes_folder(tmp_path, write_image):
    """One frame in each of two cities, with original ids 0 to 33 in every label."""
    root = tmp_path / "cityscapes"
    ids = np.resize(np.arange(34, dtype=np.uint8), (24, 36))
    for split in ("train", "val"):
        for city in ("aachen", "bonn"):
            frame = f"{city}_000000_000019"
            write_image(root / "leftImg8bit" / split / city / f"{frame}_leftImg8bit.png")
            label = root / "gtFine" / split / city / f"{frame}_gtFine_labelIds.png"
            label.parent.mkdir(parents=True)
            Image.fromarray(ids).save(label)
    return root


def _save_train_ids(root, value=0):
    for path in (root / "gtFine" / "train").glob("*/*_labelIds.png"):
        label = np.full((24, 36), 255, dtype=np.uint8)
        label[:, :19] = np.arange(19)
        label[0, 0] = value
        Image.fromarray(label).save(str(path).replace("labelIds", "labelTrainIds"))


def test_original_ids_become_training_ids(cityscapes_folder):
    data = Cityscapes(cityscapes_folder, split="train", size_px=(24, 36))
    data.check()
    assert len(data) == 2
    assert len(data.class_names) == 19
    label = data[0][1].numpy().ravel()
    # Ids of the published label table: 7 road, 13 fence, 26 car, 33 bicycle; the rest is void.
    named = {7: "road", 13: "fence", 17: "pole", 23: "sky", 26: "car", 31: "train", 33: "bicycle"}
    for value, name in named.items():
        assert label[value] == data.class_names.index(name)
    void = [0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30]
    assert (label[void] == 255).all()
    assert sorted(set(label.tolist())) == [*range(19), 255]


def test_training_ids_are_preferred_where_there_are_any(cityscapes_folder):
    _save_train_ids(cityscapes_folder)
    data = Cityscapes(cityscapes_folder, split="train", size_px=(24, 36))
    data.check()
    assert data.pairs[0].label.endswith("_gtFine_labelTrainIds.png")
    assert data[0][1][5].tolist() == [*range(19), *[255] * 17]


def test_values_are_judged_by_the_kind_of_label(cityscapes_folder):
    _save_train_ids(cityscapes_folder, value=33)
    with pytest.raises(DataError, match=r"value 33 in 1 pixels, .* a training id, 0 to 18"):
        Cityscapes(cityscapes_folder, split="train", size_px=(24, 36)).check()


def test_faults_are_listed(cityscapes_folder):
    root = cityscapes_folder
    (root / "leftImg8bit/train/bonn/bonn_000000_000019_leftImg8bit.png").unlink()
    (root / "gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png").unlink()
    with pytest.raises(DataError) as caught:
        Cityscapes(root, split="train").check()
    assert str(caught.value).splitlines()[1:] == [
        "  - leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png has no label "
        "gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png; add or drop one",
        "  - gtFine/train/bonn/bonn_000000_000019_gtFine_labelIds.png has no image "
        "leftImg8bit/train/bonn/bonn_000000_000019_leftImg8bit.png; add or drop one",
    ]


def test_missing_and_empty_folders_are_named(tmp_path):
    with pytest.raises(DataError, match="the folder does not exist"):
        Cityscapes(tmp_path / "nowhere", split="train").check()
    with pytest.raises(DataError, match=r"no folder 'leftImg8bit/train'; .*\n.*'gtFine/train'"):
        Cityscapes(tmp_path, split="train").check()
    for folder in ("leftImg8bit", "gtFine"):
        (tmp_path / folder / "train").mkdir(parents=True)
    with pytest.raises(DataError, match=r"'leftImg8bit/train' is empty; put .*_leftImg8bit.png"):
        Cityscapes(tmp_path, split="train").check()
