"""The images of a folder as other sources have them: class tars, a tar of tars, Parquet as Hugging Face writes it."""

import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq


def class_tars(root, out):
    """One CLASS.tar for each directory of `root`, files at the top, in an order that is not sorted."""
    out.mkdir(parents=True, exist_ok=True)
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        with tarfile.open(out / f"{folder.name}.tar", "w") as tar:
            for path in sorted(folder.iterdir(), key=lambda p: p.name[::-1]):
                tar.add(path, path.name)
    return out


def tar_of_tars(root, out):
    """ILSVRC2012_img_train.tar: a tar of class tars."""
    tars = class_tars(root, out / "classes")
    with tarfile.open(out / "train.tar", "w") as tar:
        for path in sorted(tars.iterdir()):
            tar.add(path, path.name)
    return out / "train.tar"


def parquet_files(root, out, per_file=7, group=3, named=True, rows=None):
    """Files train-00000-of-..., in the order of the folder (or of `rows`, ids), small row groups."""
    out.mkdir(parents=True, exist_ok=True)
    keys = sorted(path.name for path in root.iterdir() if path.is_dir())
    rows = rows or [f"{key}/{name}" for key in keys for name in sorted(p.name for p in (root / key).iterdir())]
    table = pa.table(
        {
            "image": pa.array(
                [{"bytes": (root / row).read_bytes(), "path": row.split("/")[1]} for row in rows],
                pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
            ),
            "label": pa.array([keys.index(row.split("/")[0]) for row in rows], pa.int64()),
        }
    )
    if named:
        features = {"image": {"_type": "Image"}, "label": {"names": keys, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    files = -(-len(rows) // per_file)
    for number in range(files):
        part = table.slice(number * per_file, per_file)
        pq.write_table(part, out / f"train-{number:05d}-of-{files:05d}.parquet", row_group_size=group)
    return out


def tar_with(path, *members):
    """A tar of members, each (name, content) or a TarInfo."""
    with tarfile.open(path, "w") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            name, content = member
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path
