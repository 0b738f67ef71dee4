"""A run directory: one Zarr group with everything a job computed, and the markers that make it resumable.

A stage's group carries the hash of everything it depends on and a completion marker that is written last. A group
with another hash is of another job: it is dropped and made anew. A group with the right hash but no marker was
interrupted: what it holds is kept and finished. A group whose arrays were dropped, for nothing needed them any more,
says so before the first of them is deleted: whatever is left of them is no data.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Literal

import numpy as np
import xarray as xr
import zarr

from dnuc._version import __version__
from dnuc.errors import StoreError
from dnuc.location import Location, ObjectPath, locate, remove_tree, subdirectories
from dnuc.store import arrays
from dnuc.store.arrays import DESCRIPTION, DamagedError, StoredArray
from dnuc.store.opening import reached, zarr_store
from dnuc.store.schema import STAGES
from dnuc.traffic import count_traffic

DROPPED = "dropped to stay within activations.storage_budget"  # what happened to activations that are not there
FORMAT = 1  # of the store; a change makes older runs unreadable and is told as such


def digest(*parts: Any) -> str:
    """A short hash of JSON-like values: what a stage depends on.

    >>> digest({"k": 30}) == digest({"k": 30}), digest({"k": 30}) == digest({"k": 31})
    (True, False)
    """
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class RunStore:
    """The door to one run directory, or to one below a URL of an object store. Small to pickle: only that travels."""

    def __init__(self, path: str | Location) -> None:
        self.path: Location = locate(path).resolve()
        self._writable: dict[tuple[str, str], Any] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return (RunStore, (str(self.path),))

    def __repr__(self) -> str:
        return f"RunStore({str(self.path)!r})"

    @classmethod
    def create(cls, path: str | Location) -> RunStore:
        """Open a run directory, making it if it is not there. A directory with other content is refused."""
        store = cls(path)
        if not (store.path / "zarr.json").is_file():
            if is_used(store.path):
                raise StoreError(
                    f"{store.path} exists, is not empty and is not a dnuc run: give another directory with --out"
                )
            if not isinstance(store.path, ObjectPath):
                store.path.mkdir(parents=True, exist_ok=True)
            store._make_root()
        return cls.open(path)

    def _make_root(self) -> None:
        with reached(self.path):
            attributes = {"dnuc_format": FORMAT, "dnuc_version": __version__}
            zarr.create_group(zarr_store(self.path), attributes=attributes)

    @classmethod
    def open(cls, path: str | Location) -> RunStore:
        """Open an existing run directory."""
        store = cls(path)
        if isinstance(store.path, ObjectPath):
            store.path.check()
        if not (store.path / "zarr.json").is_file():
            raise StoreError(f"{store.path} is not a dnuc run directory (it has no zarr.json): run a job first")
        found = store.attributes("").get("dnuc_format")
        if found != FORMAT:
            raise StoreError(
                f"{store.path} has store format {found}, this dnuc {__version__} reads format {FORMAT}: "
                "use the dnuc version that wrote it, or run the job again in another directory"
            )
        return store

    # --- groups -----------------------------------------------------------------------------------------------

    def exists(self, group: str) -> bool:
        """Whether the group is there, complete or not."""
        return (self.path / group / "zarr.json").is_file()

    def attributes(self, group: str) -> dict[str, Any]:
        """What is recorded about a group: scalar results, names, its hash."""
        if not self.exists(group):
            raise StoreError(f"run {self.path} has no {group or 'zarr.json'}: has the stage run?")
        try:
            with reached(self.path):
                return dict(self._group(group, "r").attrs)
        except (ValueError, OSError) as error:
            reason = f"its description zarr.json cannot be read ({error})"
            raise DamagedError(str(self.path), group, DESCRIPTION, (), reason) from None

    def describe(self, group: str, **attributes: Any) -> None:
        """Record values about a group, which is made if need be. Only one process may do so at a time."""
        with reached(self.path):
            self._group(group, "a").update_attributes(attributes)

    def _group(self, group: str, mode: Literal["r", "a"]) -> zarr.Group:
        store = zarr_store(self.path)
        return zarr.open_group(store, path=group, mode=mode, zarr_format=3, use_consolidated=False)

    def is_complete(self, group: str, digest: str | None = None) -> bool:
        """Whether a stage is finished (and, with a digest, depends on just that)."""
        if not self.exists(group):
            return False
        attributes = self.attributes(group)
        return bool(attributes.get("complete")) and (digest is None or attributes.get("digest") == digest)

    def awaits(self, group: str, digest: str) -> bool:
        """Whether a stage is under way and depends on just that: a task asks before it writes.

        A scheduler may outlive the client that gave it a task, and a task that runs cannot be stopped. By the time it
        ends, another job may have taken the directory, and its results are nobody's.
        """
        if not self.exists(group):
            return False
        attributes = self.attributes(group)
        return not attributes.get("complete") and attributes.get("digest") == digest

    def begin(self, group: str, digest: str) -> bool:
        """Prepare a stage's group; True if unfinished work of the same digest is there to go on with."""
        if self.exists(group) and self.attributes(group).get("digest") == digest:
            self._take_back(group)
            return True
        self.drop(group)
        self.describe(group, digest=digest, complete=False)
        return False

    def finish(self, group: str, **attributes: Any) -> None:
        """Write the completion marker, last; `attributes` are scalar results stored beside it."""
        self.describe(group, **attributes, complete=True)
        self.consolidate(group)

    def drop(self, group: str) -> None:
        """Delete a group and all in it. It is renamed first: what an interrupted deletion leaves is no group."""
        self._writable.clear()
        if isinstance(self.path, ObjectPath):
            remove_tree(self.path / group)  # which begins with what makes it a group
            return
        if (self.path / group).exists():
            doomed = self.path / f".dropped-{uuid.uuid4().hex}"
            (self.path / group).rename(doomed)
        self.clean()

    def release(self, group: str, **attributes: Any) -> None:
        """Delete a group's arrays, for nothing needs them now. Its marker stays, and tells that they were dropped.

        The note is written first: a kill at any moment leaves no array that could be taken for a damaged one.
        """
        if attributes or not self.is_dropped(group):
            self.describe(group, **attributes, dropped=True)
        if self._delete_arrays(group):
            self.consolidate(group)

    def is_dropped(self, group: str) -> bool:
        """Whether a group's arrays were deleted because nothing needed them any more."""
        return self.exists(group) and bool(self.attributes(group).get("dropped"))

    def clean(self) -> None:
        """Delete what interrupted deletions left."""
        for leftover in () if isinstance(self.path, ObjectPath) else self.path.glob(".dropped-*"):
            shutil.rmtree(leftover)

    def _take_back(self, group: str) -> None:
        """A complete or unfinished stage is to be worked on: what is left of dropped arrays goes first."""
        if self.is_dropped(group):
            self._delete_arrays(group)
            self.describe(group, complete=False, dropped=False)
        else:
            self.describe(group, complete=False)

    def _delete_arrays(self, group: str) -> bool:
        """Whether there was anything left to delete."""
        self._writable.clear()
        arrays = subdirectories(self.path / group)
        for directory in arrays:
            (directory / "zarr.json").unlink(missing_ok=True)  # without it there is no array to be read
            remove_tree(directory, strict=False)
        return bool(arrays)

    def discard(self, group: str, name: str) -> None:
        """Delete one array."""
        self._writable.clear()
        remove_tree(self.path / group / name, strict=False)

    def outdate(self, group: str) -> None:
        """Take back a group's completion marker: what it depends on is about to change."""
        if self.is_complete(group):
            self.describe(group, complete=False)

    def consolidate(self, group: str = "") -> None:
        """Gather the metadata in one place, as xarray.open_zarr expects."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Consolidated metadata", category=UserWarning)
            warnings.filterwarnings("ignore", message="Object at .* is not recognized", category=UserWarning)
            with reached(self.path):
                zarr.consolidate_metadata(zarr_store(self.path), path=group or None)

    # --- arrays -----------------------------------------------------------------------------------------------

    def declare(
        self,
        group: str,
        name: str,
        shape: tuple[int, ...],
        chunks: tuple[int, ...] | None = None,
        dtype: str | None = None,
    ) -> None:
        """An empty array as the schema declares it, unless it is already there."""
        if (self.path / group / name / "zarr.json").is_file():
            return
        with reached(self.path):
            parent = self._group(group, "a")
            arrays.create(parent, STAGES[group.rsplit("/", 1)[-1]][name], shape, chunks, dtype)

    def save(self, group: str, values: Mapping[str, Any]) -> None:
        """Write whole arrays by their declared names, replacing those of an interrupted attempt."""
        for name, value in values.items():
            content = np.asarray(value)
            if (self.path / group / name).is_dir():
                self._writable.clear()
                remove_tree(self.path / group / name)
            self.declare(group, name, content.shape)
            if content.size:
                self.write(group, name, (slice(None),) * content.ndim, content)

    def write(self, group: str, name: str, key: Any, value: Any) -> None:
        """Write a region, which must be whole chunks (and whole shards): two writers of one lose data."""
        # a chunk of fill values is written as any other, or it could not be told from one that is lost
        where, full = zarr_store(self.path), {"write_empty_chunks": True}
        with reached(self.path):
            array = self._writable.get((group, name))
            if array is None:
                array = zarr.open(where, path=f"{group}/{name}", mode="r+", zarr_format=3, config=full)
            if isinstance(self.path, ObjectPath):  # to look it up takes as long there as to write a chunk
                self._writable[group, name] = array
            array[key] = value
        count_traffic(written=np.asarray(value).nbytes)

    def array(self, group: str, name: str) -> StoredArray:
        """An array by its address, to index or to send to a worker."""
        if not (self.path / group / name / "zarr.json").is_file():
            if self.is_dropped(group):
                raise StoreError(f"run {self.path} has no array {group}/{name}: {dropped_words(group)}")
            raise StoreError(f"run {self.path} has no array {group}/{name}: has the stage run?")
        return StoredArray(str(self.path), group, name)

    def whole(self, group: str, name: str) -> StoredArray:
        """An array to be read in parts; an error if it is finished and files of it are lost since."""
        stored = self.array(group, name)
        if stored.lost and self.is_complete(group):
            reason = f"{stored.lost} of its files are lost"
            raise DamagedError(str(self.path), group, name, (0,) * stored.ndim, reason)
        return stored

    def read(self, group: str, name: str) -> np.ndarray:
        """A whole array in memory; only for arrays whose size is a few values a sample."""
        return self.whole(group, name)[:]

    def has(self, group: str, name: str) -> bool:
        """Whether an array is stored."""
        return (self.path / group / name / "zarr.json").is_file()

    def flags(self, group: str, name: str) -> np.ndarray:
        """A ledger of finished work as booleans. An unreadable entry counts as not finished."""
        ledger = self.array(group, name)
        with suppress(DamagedError):
            return ledger[:] == 1
        done = np.zeros(ledger.shape, dtype=bool)
        step = ledger.chunks[0]
        for start in range(0, len(done), step):
            try:
                done[start : start + step] = ledger[start : start + step] == 1
            except DamagedError:
                continue
        return done

    def repair(self, error: DamagedError) -> str:
        """Forget the damaged piece, so that the next run computes it anew; returns what will be done."""
        if error.name == "activation" and error.first:
            rows = self.array(error.group, "activation").chunks[0]
            first = self._first_damaged_row(error, rows)
            self.write(error.group, "block_done", slice(first // rows, first // rows + 1), np.zeros(1, np.uint8))
            self.describe(error.group, complete=False)
            last = min(first + rows, len(self.array(error.group, "activation"))) - 1
            return f"samples {first} .. {last} of {error.group} will be extracted again"
        if not error.group:  # what it records is found again by the next run; all else is below
            (self.path / "zarr.json").unlink()
            self._make_root()
            return f"{self.path / 'zarr.json'} is written again"
        self.drop(error.group)
        return f"{error.group} will be computed again"

    def _first_damaged_row(self, error: DamagedError, rows: int) -> int:
        stored = self.array(error.group, error.name)
        start = error.first[0] // rows * rows
        for first in range(start, len(stored), rows):
            try:
                for f in range(0, stored.shape[1], stored.chunks[1]):
                    if not np.isfinite(stored[first : first + rows, f : f + stored.chunks[1]]).all():
                        return first  # a lost file: what is not finite is never stored
            except DamagedError:
                return first
        return start

    def dataset(self, *groups: str) -> xr.Dataset:
        """The arrays of some groups as one lazy xarray Dataset with named dimensions."""
        parts = [
            xr.open_zarr(
                zarr_store(self.path),
                group=g,
                consolidated=False,
                drop_variables=["block_done", "tile_redone", "last_merge"],
            )
            for g in groups
        ]
        return xr.merge(parts, combine_attrs="drop_conflicts", compat="no_conflicts", join="exact")

    # --- layers -----------------------------------------------------------------------------------------------

    def models(self) -> list[str]:
        """Names of the models, in the job's order."""
        return [_plain(name) for name in self.attributes("").get("models", [])]

    def layers(self, model: str) -> list[dict[str, Any]]:
        """A model's layers in order: name, module, depth, relative_depth, features."""
        entries = list(self.attributes(f"models/{model}").get("layers", []))
        return [entry | {"name": _plain(entry["name"])} for entry in entries]

    def each_layer(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(model, layer) over the whole run."""
        for model in self.models():
            for layer in self.layers(model):
                yield model, layer


def dropped_words(group: str) -> str:
    """Why a layer's activations are not there, and how to have them.

    >>> dropped_words("models/net/fc/activations").rpartition(": ")[2]
    "activations.keep = ['net/fc'] in the job, run again, keeps them"
    """
    model, layer = group.split("/")[1:3]
    return f"{DROPPED}: activations.keep = ['{model}/{layer}'] in the job, run again, keeps them"


def _plain(name: str) -> str:
    """The name of a group in a run that somebody else may have written: none that leads out of the directory."""
    if not name or {"/", "\\", "\0"} & set(name) or name in (".", ".."):
        raise StoreError(f"the run names a model or layer {name!r}, which leads out of it: dnuc did not write that")
    return name


def stage_group(model: str, layer: str, stage: str) -> str:
    """Where a stage of a layer is stored.

    >>> stage_group("resnet", "layer4.2", "neighbors")
    'models/resnet/layer4.2/neighbors'
    """
    return f"models/{model}/{layer}/{stage}"


def is_used(path: Location) -> bool:
    """Whether anything is at a path already: files in the directory, objects below the URL."""
    if isinstance(path, ObjectPath):
        path.check()
        return path.exists()
    return path.exists() and any(path.iterdir())
