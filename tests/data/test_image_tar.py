"""Archives as they may arrive: cut short, damaged, with names that lead elsewhere; and the index that is kept."""

import io
import os
import tarfile

import numpy as np
import pytest
from PIL import Image

import dnuc.data.tars as tars
from dnuc.data import INDEX, open_source
from dnuc.data.tars import Span, members_of
from dnuc.errors import DataError
from dnuc.job import Data
from tests.data.packing import tar_with


def picture(shade):
    content = io.BytesIO()
    Image.new("RGB", (8, 6), (shade,) * 3).save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def archive(tmp_path):
    """One class of three images."""
    (tmp_path / "train").mkdir()
    return tar_with(tmp_path / "train" / "n1.tar", *[(f"n1_{i}.PNG", picture(40 * i)) for i in range(3)])


def listed(archive, **settings):
    return open_source(Data(source="image_tar", path=archive.parent, **settings)).list(0).id.tolist()


def test_members_may_be_at_the_top_or_in_a_directory_of_the_class(tmp_path):
    for number, form in enumerate(("{}", "./{}", "n1/{}", "./n1/{}")):
        path = tmp_path / str(number) / "n1.tar"
        path.parent.mkdir()
        folder = tarfile.TarInfo("n1")
        folder.type = tarfile.DIRTYPE
        tar_with(path, folder, (form.format("b.PNG"), picture(9)), (form.format("._b.PNG"), b"x"), ("readme.txt", b"x"))
        assert listed(path) == ["n1/b.PNG"]


@pytest.mark.parametrize("name", ["../x.PNG", "/etc/x.PNG", "n1/../../x.PNG", "..", "a/../x.PNG"])
def test_names_that_lead_out_are_refused(archive, name):
    tar_with(archive, ("ok.PNG", picture(1)), (name, picture(2)))
    with pytest.raises(DataError, match=r"archive '.*n1.tar' holds '.*', a name that leads out of it; it is not read"):
        listed(archive)


def special(name, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (special("x.PNG", tarfile.SYMTYPE), "holds 'x.PNG', a link or special file"),
        (special("x.PNG", tarfile.LNKTYPE), "holds 'x.PNG', a link or special file"),
        (special("x.PNG", tarfile.FIFOTYPE), "holds 'x.PNG', a link or special file"),
        (("n2/x.PNG", b"1"), "holds 'n2/x.PNG'; files must lie at its top or in one directory 'n1'"),
        (("n1/a/x.PNG", b"1"), "files must lie at its top"),
        (("n1_1.PNG", b"1"), "holds 'n1_1.PNG' twice"),
        (("x\udc80.PNG", b"1"), "a name that is not UTF-8"),
    ],
)
def test_members_that_are_no_plain_files(archive, member, message):
    tar_with(archive, ("n1_1.PNG", picture(1)), member)
    with pytest.raises(DataError, match=message):
        listed(archive)


def test_archives_without_images(archive):
    tar_with(archive, ("readme.txt", b"x"))
    with pytest.raises(DataError, match=r"archive 'n1.tar' of '.*train' holds no image \(.jpeg, .jpg, .png\)"):
        listed(archive)
    archive.rename(archive.with_suffix(".tgz"))
    with pytest.raises(DataError, match=r"train' holds no archives; it must hold one CLASS.tar a class"):
        listed(archive)


@pytest.mark.parametrize("where", ["data", "header", "end", "boundary", "empty"])
def test_an_archive_cut_short_is_refused_wherever_it_is_cut(archive, where):
    """Also at the end of a file, where nothing but the missing end mark tells that others are missing."""
    with tarfile.open(archive) as tar:
        second = tar.getmembers()[1]
        last = tar.getmembers()[-1]
    end = -(-(last.offset_data + last.size) // 512) * 512
    at = {"data": second.offset_data + 10, "header": second.offset + 100, "end": end + 100, "boundary": second.offset}
    os.truncate(archive, at.get(where, 0))
    with pytest.raises(DataError, match=r"archive '.*n1.tar' (is truncated|ends without the mark)"):
        listed(archive)


def test_a_damaged_header_does_not_hide_the_files_behind_it(archive):
    with tarfile.open(archive) as tar:
        second = tar.getmembers()[1]
    content = bytearray(archive.read_bytes())
    content[second.offset + 5] ^= 1  # its checksum is wrong now
    archive.write_bytes(content)
    with pytest.raises(DataError, match=rf"is damaged at byte {second.offset:,}: files may be missing; get it again"):
        listed(archive)


def test_compressed_archives_are_refused(archive):
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("x.PNG"))
    with pytest.raises(DataError, match=r"no plain tar archive: .*unpack it first if it is compressed"):
        listed(archive)


def test_links_to_archives_elsewhere(archive, tmp_path):
    outside = archive.rename(tmp_path / "n1.tar")
    archive.symlink_to(outside)
    with pytest.raises(DataError, match=r"'n1.tar' leads out of data.path"):
        listed(archive)


def test_long_names_in_both_formats(tmp_path):
    name = "n" * 150 + ".PNG"
    for number, form in enumerate((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)):
        path = tmp_path / str(number) / "n1.tar"
        path.parent.mkdir()
        with tarfile.open(path, "w", format=form) as tar:
            for member in (name, "ä.PNG"):
                info = tarfile.TarInfo(member)
                info.size = len(picture(7))
                tar.addfile(info, io.BytesIO(picture(7)))
        assert listed(path) == [f"n1/{name}", "n1/ä.PNG"]
        source = open_source(Data(source="image_tar", path=path.parent))
        assert all(source.image(i).shape == (6, 8, 3) for i in listed(path))


def test_the_index_is_read_from_the_run_and_not_from_the_archive(archive, tmp_path, monkeypatch):
    run = tmp_path / "run"
    source = open_source(Data(source="image_tar", path=archive.parent), run=run)
    ids = source.list(0).id.tolist()
    members_of.cache_clear()
    scanned = []
    scan = tars._scan
    monkeypatch.setattr(tars, "_scan", lambda span, directory: scanned.append(span) or scan(span, directory))
    assert source.list(0).id.tolist() == ids
    assert [int(source.image(i)[0, 0, 0]) for i in ids] == [0, 40, 80]
    assert scanned == []
    (run / INDEX / "n1.npz").write_bytes(b"not an index")
    members_of.cache_clear()
    assert source.list(0).id.tolist() == ids
    assert len(scanned) == 1
    members_of.cache_clear()
    assert source.list(0).id.tolist() == ids
    assert len(scanned) == 1  # it was written again


def test_the_index_of_an_archive_that_changed_is_made_anew(archive, tmp_path):
    source = open_source(Data(source="image_tar", path=archive.parent), run=tmp_path / "run")
    assert len(source.list(0)) == 3
    tar_with(archive, ("new.PNG", picture(99)))
    assert source.list(0).id.tolist() == ["n1/new.PNG"]
    assert source.image("n1/new.PNG")[0, 0, 0] == 99


def test_an_index_that_cannot_be_kept_does_not_matter(archive, tmp_path):
    (tmp_path / "run").write_text("a file where the directory would be")
    source = open_source(Data(source="image_tar", path=archive.parent), run=tmp_path / "run")
    assert len(source.list(0)) == 3


def test_no_pickle_is_loaded_from_an_index(archive, tmp_path):
    """An index file that holds objects instead of numbers is not unpickled, which could run code; it is made anew."""
    index = tmp_path / "run" / INDEX / "n1.npz"
    index.parent.mkdir(parents=True)
    span = Span.of(archive)
    told = np.array([span.start, span.size, span.changed], dtype=object)
    np.savez(index, archive=told, name=told, offset=told, size=told)
    assert (
        listed(archive)
        == open_source(Data(source="image_tar", path=archive.parent), run=tmp_path / "run").list(0).id.tolist()
    )
