"""What becomes of arrays of one's own, good ones and bad ones."""

import struct

import numpy as np
import pytest
from image_files import IMAGES, noise, zip_of

from vae.data import own
from vae.data.dataset import DatasetError


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (IMAGES, IMAGES[:, None]),
        (IMAGES[..., None], IMAGES[:, None]),
        (IMAGES[:, None], IMAGES[:, None]),
        (IMAGES.astype(np.int64), IMAGES[:, None]),
        (IMAGES / 255, IMAGES[:, None]),
        ((IMAGES / 255).astype(">f4"), IMAGES[:, None]),
        (IMAGES / 127.5 - 1, IMAGES[:, None]),
        (IMAGES > 100, 255 * (IMAGES > 100)[:, None]),
        ((IMAGES > 100).astype(np.uint8), 255 * (IMAGES > 100)[:, None]),
        (IMAGES // 16 / 15 * 16, IMAGES[:, None] // 16 * 17),
        (IMAGES.astype(np.uint16) * 257, IMAGES[:, None]),
        (noise(12, 6, 5, 3), noise(12, 6, 5, 3).transpose(0, 3, 1, 2)),
        (noise(12, 3, 6, 5), noise(12, 3, 6, 5)),
        (noise(12, 36), noise(12, 36).reshape(12, 1, 6, 6)),
    ],
)
def test_arrays_of_any_layout_and_range_become_bytes(tmp_path, values, expected):
    np.save(tmp_path / "a.npy", values)
    np.savez_compressed(tmp_path / "a.npz", values)
    for name in ("a.npy", "a.npz"):
        data = own.read(tmp_path / name)
        assert np.array_equal(data.images, expected)
        assert data.class_names == ("unlabelled",)


@pytest.mark.parametrize(
    "names",
    [("images", "labels"), ("x", "y"), ("arr_0", "arr_1"), ("train_images", "train_labels")],
)
@pytest.mark.parametrize("shape", [(12,), (12, 1)])
def test_labels_beside_the_images_are_found(tmp_path, names, shape):
    labels = np.arange(12) % 3
    np.savez(tmp_path / "a.npz", **dict(zip(names, (IMAGES, labels.reshape(shape)), strict=True)))
    data = own.read(tmp_path / "a.npz")
    assert data.labels.tolist() == labels.tolist()
    assert data.class_names == ("0", "1", "2")


def test_parts_are_joined_with_their_own_labels(tmp_path):
    np.savez(
        tmp_path / "a.npz",
        x_train=IMAGES,
        y_train=np.array(["a"] * 12),
        x_test=IMAGES[:3],
        y_test=np.array(["b"] * 3),
    )
    data = own.read(tmp_path / "a.npz")
    assert [data.class_names[label] for label in data.labels] == ["b"] * 3 + ["a"] * 12
    assert "Joined: x_test, x_train" in data.note


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (-300, -45, "Values -300 to -45 become 0 to 255."),
        (0, 4095, "Values 0 to 4095 become 0 to 255."),
        (-1e-9, 1, "Values 0 to 1 become 0 to 255; what lies beyond, from -1e-09 to 1, is cut."),
        (-0.04, 1.04, "Values 0 to 1 become 0 to 255; what lies beyond, from -0.04 to 1.04"),
        (-1.02, 1.02, "Values -1 to 1 become 0 to 255; what lies beyond"),
        (-1e-6, 255.001, "Values 0 to 255 become 0 to 255; what lies beyond"),
        (-0.4, 0.9, "Values -0.4 to 0.9 become 0 to 255."),
        (-2.1, 2.6, "Values -2.1 to 2.6 become 0 to 255."),
        (0, 0.3, "Values 0 to 1 become 0 to 255."),
        (0, 1.5, "Values 0 to 1.5 become 0 to 255."),
    ],
)
def test_the_range_that_is_meant_is_found_and_said(tmp_path, low, high, told):
    np.save(tmp_path / "a.npy", low + IMAGES / IMAGES.max() * (high - low))
    assert told in own.survey(tmp_path / "a.npy").treatment()


def test_bytes_that_hold_levels_of_another_scale_are_stretched(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES // 16)
    assert "Values 0 to 15 become 0 to 255." in own.survey(tmp_path / "a.npy").treatment()
    np.save(tmp_path / "a.npy", IMAGES // 4)
    assert own.read(tmp_path / "a.npy").images.max() == 63  # dark, and as they are


def test_labels_that_are_no_classes_are_said_not_to_be_used(tmp_path):
    np.savez(tmp_path / "a.npz", x=IMAGES, y=np.zeros((12, 40)))
    told = own.survey(tmp_path / "a.npz")
    assert told.classes == {"unlabelled": 12}
    assert "Not used for labels" in told.treatment()


def npy(shape: object, dtype: str = "'|u1'", data: bytes = b"", order: str = "False") -> bytes:
    header = f"{{'descr': {dtype}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


BAD_ARRAYS = {
    "promises much": (npy((10**6, 10**6, 10**6)), "says it holds"),
    "promises more than is there": (npy((12, 100, 100), data=bytes(50)), "is cut short"),
    "negative": (npy((-1, 5, 5)), "has the shape"),
    "objects": (npy((12,), "'|O'", bytes(96)), "Python objects"),
    "code in the header": (npy("__import__('os')"), "no usable header"),
    "no header": (b"\x93NUMPY\x01\x00\xff\xff", "no usable header"),
    "a header of 9 MB": (
        b"\x93NUMPY\x02\x00" + struct.pack("<L", 9 * 10**6) + b"(" * 9 * 10**6,
        "expected 9000000 bytes",
    ),
    "nothing": (b"", "no usable header"),
    "text": (b"hello, world", "no usable header"),
    "a later format": (b"\x93NUMPY\x09\x00" + bytes(100), "no usable header"),
    "one dimension": (npy((12,), data=bytes(12)), "has no images"),
    "Fortran order": (npy((12, 5, 4), data=noise(240).tobytes(), order="True"), "Fortran order"),
    "complex": (npy((12, 5, 4), "'<c8'", bytes(240 * 8)), "no images.*complex numbers"),
    "words": (npy((12, 5, 4), "'<U3'", bytes(240 * 12)), "no images.*holds text"),
    "dates": (npy((12, 5, 4), "'<M8[s]'", bytes(240 * 8)), "no images.*holds dates"),
    "records": (npy((12,), "[('a', '<f4')]", bytes(48)), "no images.*holds records"),
    "no rows": (npy((0, 5, 4)), r"no images.*is empty, of shape \(0, 5, 4\)"),
    "no columns": (npy((12, 5, 0)), r"no images.*is empty, of shape \(12, 5, 0\)"),
    "one huge image": (npy((12, 10**4, 10**4), "'|V1'"), "is cut short"),
    "too many": (npy((200_000, 2, 2), data=bytes(800_000)), "200,000 images; at most 100,000"),
    "NaN": (npy((12, 2, 2), "'<f4'", np.full(48, np.nan, "<f4").tobytes()), "NaN or infinite"),
}


@pytest.mark.parametrize("what", BAD_ARRAYS)
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_bad_arrays_are_told(tmp_path, what, kind):
    data, told = BAD_ARRAYS[what]
    path = tmp_path / f"a.{kind}"
    if kind == "npy":
        path.write_bytes(data)
    else:
        zip_of(path, {"x.npy": data})
    with pytest.raises(DatasetError, match=told) as raised:
        own.read(path)
    assert len(str(raised.value)) < 400
