"""What a disk refuses is told with the file, the reason and the way out."""

import errno

import pytest

from dnuc.errors import ResourceError
from dnuc.store import disk_errors_told

TOLD = r"the run \S+: a file{} could not be written or read: {}.* What is finished is stored: .* again to go on"


def refuse(number, path):
    with disk_errors_told(path):
        raise OSError(number, "told by the system", *([str(path / "zarr.json")] if number != errno.ENOSPC else []))


def test_a_full_disk_is_told_with_the_space_that_is_free(tmp_path):
    """Also where the directory itself could not be made."""
    with pytest.raises(ResourceError, match=TOLD.format("", r"No space left on device; [\d,]+ bytes are free")):
        refuse(errno.ENOSPC, tmp_path / "runs" / "new")


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO, errno.ESTALE])
def test_the_file_is_named_where_it_is_known(tmp_path, number):
    with pytest.raises(ResourceError, match=TOLD.format(r" \(\S+/zarr.json\)", "")):
        refuse(number, tmp_path)


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError, match="told by the system"):
        refuse(errno.ENOENT, tmp_path)
