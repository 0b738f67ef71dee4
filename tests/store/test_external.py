"""Arrays that something else wrote: opened without reading them, and refused when they are not numbers."""

import numpy as np
import pytest
import zarr

from dnuc.errors import DataError
from dnuc.store import open_external

VALUES = np.arange(12, dtype=np.float32).reshape(4, 3)


def test_npy_is_mapped_not_read(tmp_path):
    np.save(tmp_path / "x.npy", VALUES)
    found = open_external(tmp_path / "x.npy")
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found[1:3, 0:2], VALUES[1:3, 0:2])


@pytest.mark.parametrize("form", [2, 3])
def test_zarr_of_either_format(tmp_path, form):
    zarr.save_array(str(tmp_path / "x.zarr"), VALUES, zarr_format=form)
    found = open_external(str(tmp_path / "x.zarr"))
    assert found.shape == (4, 3)
    np.testing.assert_array_equal(found[2:, 1:], VALUES[2:, 1:])


def test_an_array_inside_a_group(tmp_path):
    zarr.create_group(str(tmp_path / "g")).create_array("x", data=VALUES)
    np.testing.assert_array_equal(open_external(tmp_path / "g/x")[:], VALUES)
    with pytest.raises(DataError, match=r"it is a Zarr group, not an array; give the path of the array inside it"):
        open_external(tmp_path / "g")


@pytest.mark.parametrize("dtype", ["float64", "float16", "int8", "uint32", "bool"])
def test_all_numbers_and_more_dimensions(tmp_path, dtype):
    np.save(tmp_path / "x.npy", np.ones((4, 2, 3), dtype))
    assert open_external(tmp_path / "x.npy").shape == (4, 2, 3)


def test_objects_are_never_opened(tmp_path):
    """Unpickling them could run code."""

    class Trap:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'sprung')!r}, 'w')",))

    np.save(tmp_path / "x.npy", np.array([[Trap()]], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"cannot be opened: .*Give a \.npy file of numbers \(no objects"):
        open_external(tmp_path / "x.npy")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.arange(4), r"has shape \(4,\) and type int64; it must be numbers of shape \(samples, features\)"),
        (np.ones((2, 2), complex), "type complex128"),
        (np.array([["a"]]), "type <U1"),
    ],
)
def test_what_is_no_matrix_of_numbers(tmp_path, values, told):
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(DataError, match=told):
        open_external(tmp_path / "x.npy")


def test_missing_and_malformed_files(tmp_path):
    with pytest.raises(DataError, match=r"absent\.npy': no such file or directory"):
        open_external(tmp_path / "absent.npy")
    for name, content in (("empty.npy", b""), ("short.npy", b"\x93NUMPY\x01\x00"), ("text.txt", b"1 2 3")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}' cannot be opened: "):
            open_external(tmp_path / name)
    (tmp_path / "directory").mkdir()
    with pytest.raises(DataError, match="directory' cannot be opened: "):
        open_external(tmp_path / "directory")
    np.save(tmp_path / "cut.npy", VALUES)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:-8])
    with pytest.raises(DataError, match=r"cut\.npy' cannot be opened: "):
        open_external(tmp_path / "cut.npy")
