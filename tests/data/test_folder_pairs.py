import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors

from dilsearch.data import pairs
from dilsearch.data.folder_pairs import FolderPairs
from dilsearch.errors import DataError

CLASSES = ("sky", "road", "car")


def open_pairs(root, **changes):
    settings = {
        "split": "train",
        "class_names": CLASSES,
        "ignore_index": 11,
        "size_px": (24, 36),
    }
    return FolderPairs(root, **{**settings, **changes})


def test_pairs_are_found_by_stem_whatever_the_format(pairs_folder):
    data = open_pairs(pairs_folder)
    data.check()
    assert len(data) == 3
    assert [pair.image for pair in data.pairs] == ["train/a.jpg", "train/b.png", "train/c.JPEG"]
    assert data.class_names == CLASSES


def test_items_are_tv_tensors_with_void_as_255(pairs_folder):
    image, label = open_pairs(pairs_folder)[1]
    assert isinstance(image, tv_tensors.Image)
    assert isinstance(label, tv_tensors.Mask)
    assert image.shape == (3, 24, 36)
    assert label.shape == (24, 36)
    assert image.dtype == label.dtype == torch.uint8
    pixels = np.asarray(Image.open(pairs_folder / "train" / "b.png"))
    assert (image.permute(1, 2, 0).numpy() == pixels).all()
    values = np.asarray(Image.open(pairs_folder / "trainannot" / "b.png"))
    assert (label.numpy() == np.where(values == 11, 255, values)).all()


def test_images_and_labels_are_resized(pairs_folder):
    image, label = open_pairs(pairs_folder, size_px=(12, 20))[0]
    assert image.shape == (3, 12, 20)
    assert label.shape == (12, 20)
    assert set(label.unique().tolist()) <= {0, 1, 2, 255}, "labels are never blended"


def test_palette_labels_are_read_as_indices(pairs_folder):
    path = pairs_folder / "trainannot" / "a.png"
    values = np.asarray(Image.open(path))
    paletted = Image.frombytes("P", values.shape[::-1], values.tobytes())
    paletted.putpalette([200, 100, 50] * 256)
    paletted.save(path)
    data = open_pairs(pairs_folder)
    data.check()
    assert (data[0][1].numpy() == np.where(values == 11, 255, values)).all()


def test_grey_images_become_rgb(pairs_folder):
    Image.new("L", (36, 24), 7).save(pairs_folder / "train" / "b.png")
    data = open_pairs(pairs_folder)
    data.check()
    assert (data[1][0] == 7).all()


def test_hidden_and_foreign_files_are_passed_over(pairs_folder):
    (pairs_folder / "train" / "._a.jpg").write_bytes(b"resource fork")
    (pairs_folder / "train" / "notes.txt").write_text("no image")
    (pairs_folder / "trainannot" / ".DS_Store").write_bytes(b"")
    open_pairs(pairs_folder).check()


def _unlink_label(root, *_):
    (root / "trainannot" / "a.png").unlink()


def _unlink_image(root, *_):
    (root / "train" / "b.png").unlink()


def _double_image(root, write_image, _):
    write_image(root / "train" / "a.png")


def _other_size(root, _, write_label):
    write_label(root / "trainannot" / "b.png", size_px=(12, 18))


def _transposed(root, _, write_label):
    write_label(root / "trainannot" / "b.png", size_px=(36, 24))


def _value_out_of_range(root, _, write_label):
    write_label(root / "trainannot" / "b.png", value=12)


def _coloured_label(root, write_image, _):
    write_image(root / "trainannot" / "b.png")


def _deep_label(root, *_):
    Image.fromarray(np.zeros((24, 36), dtype=np.uint16)).save(root / "trainannot" / "b.png")


def _garbage(folder, name):
    def spoil(root, *_):
        (root / folder / name).write_bytes(b"not an image at all")

    return spoil


def _truncated(folder, name):
    def spoil(root, *_):
        path = root / folder / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])

    return spoil


def _flipped_byte(root, *_):
    path = root / "train" / "b.png"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def _emptied(root, *_):
    for folder in ("train", "trainannot"):
        for path in (root / folder).iterdir():
            path.unlink()


def _no_labels(root, *_):
    shutil.rmtree(root / "trainannot")


def _no_folder(root, *_):
    shutil.rmtree(root)


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (_unlink_label, r"train/a.jpg has no label trainannot/a.png; add or drop one"),
        (_unlink_image, r"trainannot/b.png has no image train/b.png or .jpg; add or drop one"),
        (_double_image, r"train/a.jpg and train/a.png go by one name; keep one of them"),
        (
            _other_size,
            r"train/b.png is 24 x 36 px, but its label trainannot/b.png is 12 x 18 px; give both",
        ),
        (_transposed, r"is 24 x 36 px, but its label trainannot/b.png is 36 x 24 px"),
        (
            _value_out_of_range,
            r"trainannot/b.png holds the value 12 in 4 pixels, but a label is a class, 0 to 2, "
            r"or the ignored 11; correct the file or the classes",
        ),
        (
            _coloured_label,
            r"trainannot/b.png has pixels of mode 'RGB', but a label holds one 8-bit class index "
            r"per pixel; convert it to a greyscale or palette PNG",
        ),
        (_deep_label, r"trainannot/b.png has pixels of mode 'I;16'"),
        (_garbage("train", "b.png"), r"train/b.png cannot be read: it is no PNG or JPEG; replace"),
        (_garbage("train", "a.jpg"), r"train/a.jpg cannot be read: it is no PNG or JPEG; replace"),
        (_garbage("trainannot", "c.png"), r"trainannot/c.png cannot be read: it is no PNG or"),
        (_truncated("train", "a.jpg"), r"train/a.jpg cannot be read: .*truncated"),
        (_truncated("train", "b.png"), r"train/b.png cannot be read: .*; replace the file"),
        (_truncated("trainannot", "b.png"), r"trainannot/b.png cannot be read: .*truncated"),
        (_flipped_byte, r"train/b.png cannot be read: .*; replace the file"),
        (_emptied, r"'train' is empty; put PNG or JPEG images there"),
        (_no_labels, r"there is no folder 'trainannot'; it should hold the label of each image"),
        (_no_folder, r"the folder does not exist; correct the path"),
    ],
)
def test_each_fault_is_named(pairs_folder, write_image, write_label, spoil, text):
    open_pairs(pairs_folder).check()
    spoil(pairs_folder, write_image, write_label)
    with pytest.raises(DataError, match=text) as caught:
        open_pairs(pairs_folder).check()
    assert str(caught.value).startswith(f"data folder {pairs_folder}: "), "one fault, one sentence"
    assert "\n" not in str(caught.value)


def test_all_faults_are_listed_at_once(pairs_folder, write_image, write_label):
    _unlink_image(pairs_folder)
    _truncated("train", "a.jpg")(pairs_folder)
    write_label(pairs_folder / "trainannot" / "c.png", size_px=(12, 18), value=77)
    write_image(pairs_folder / "train" / "f.png")
    with pytest.raises(DataError) as caught:
        open_pairs(pairs_folder).check()
    head, *lines = str(caught.value).splitlines()
    assert head == f"data folder {pairs_folder}, 5 faults:"
    assert [line.split()[1] for line in lines] == [
        "train/f.png",
        "trainannot/b.png",
        "train/a.jpg",
        "trainannot/c.png",
        "train/c.JPEG",
    ]
    assert "holds the value 77" in lines[3]
    assert "its label trainannot/c.png is 12 x 18 px" in lines[4]


def test_many_values_are_abridged(pairs_folder, write_label):
    write_label(pairs_folder / "trainannot" / "b.png", classes=40)
    with pytest.raises(DataError, match=r"holds the value 3, 4, 5, 6, 7, \.\.\. in \d+ pixels"):
        open_pairs(pairs_folder).check()


def test_a_long_list_is_cut(pairs_folder, write_image):
    for i in range(25):
        write_image(pairs_folder / "train" / f"extra{i:02}.png", size_px=(2, 2))
    with pytest.raises(DataError) as caught:
        open_pairs(pairs_folder).check()
    head, *lines = str(caught.value).splitlines()
    assert head.endswith("25 faults:")
    assert len(lines) == 21
    assert lines[-1] == "  and 5 more"


def test_a_bad_label_is_refused_even_without_a_check(pairs_folder):
    Image.new("L", (36, 24), 9).save(pairs_folder / "trainannot" / "a.png")
    with pytest.raises(DataError, match=r"trainannot/a.png holds the value 9 in 864 pixels"):
        open_pairs(pairs_folder)[0]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"class_names": ()}, "class_names has 0 names; give 1 to 255"),
        ({"class_names": ("a", "b", "a")}, "class_names has 'a' twice"),
        ({"ignore_index": 2}, "ignore_index = 2 is not a value from 3 to 255"),
        ({"ignore_index": 256}, "ignore_index = 256 is not a value from 3 to 255"),
        ({"size_px": (0, 36)}, r"size_px = \[0, 36\] holds no pixel"),
    ],
)
def test_impossible_settings_are_refused(pairs_folder, changes, text):
    with pytest.raises(DataError, match=text):
        open_pairs(pairs_folder, **changes)


def test_without_an_ignored_value_every_pixel_is_a_class(pairs_folder, write_label):
    with pytest.raises(DataError, match=r"value 11 in 4 pixels, .* a class, 0 to 2; corr"):
        open_pairs(pairs_folder, ignore_index=None).check()
    for name in "abc":
        write_label(pairs_folder / "trainannot" / f"{name}.png")
    open_pairs(pairs_folder, ignore_index=None).check()


def test_content_hash_is_of_names_and_bytes_not_of_the_place(pairs_folder, tmp_path, write_label):
    before = open_pairs(pairs_folder).content_hash()
    moved = Path(shutil.copytree(pairs_folder, tmp_path / "elsewhere"))
    assert open_pairs(moved).content_hash() == before
    assert open_pairs(moved, split="val").content_hash() != before
    write_label(moved / "trainannot" / "a.png", seed=9, value=11)
    changed = open_pairs(moved).content_hash()
    assert changed != before
    for folder, suffix in (("train", ".jpg"), ("trainannot", ".png")):
        (pairs_folder / folder / f"a{suffix}").rename(pairs_folder / folder / f"z{suffix}")
    assert open_pairs(pairs_folder).content_hash() not in (before, changed)


def test_samples_are_kept_once_read_if_they_fit(pairs_folder, monkeypatch):
    small = open_pairs(pairs_folder)
    assert small[0][0] is small[0][0]
    monkeypatch.setattr(pairs, "_KEEP_BYTES", 4 * 24 * 36 * 3 - 1)
    large = open_pairs(pairs_folder)
    first, again = large[0], large[0]
    assert first[0] is not again[0]
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[0], small[0][0])


def test_a_copy_for_a_worker_leaves_the_kept_samples_behind(pairs_folder):
    data = open_pairs(pairs_folder)
    data[0]
    copy = pickle.loads(pickle.dumps(data))
    assert copy._kept == {}
    assert torch.equal(copy[0][1], data[0][1])
