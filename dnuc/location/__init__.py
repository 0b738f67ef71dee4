"""Where a run is: a directory, or what lies below a prefix in a bucket of an object store (s3://, gs://).

A directory is a `pathlib.Path`, as ever. An `ObjectPath` answers the few of its methods that a run needs in the same
way, so most code need not know which one it has; what differs is here.
"""

from dnuc.location.files import filled, free_bytes, remove_tree, replace_file, subdirectories
from dnuc.location.journal import Journal, journal
from dnuc.location.objects import Location, ObjectPath, locate

__all__ = [
    "Journal",
    "Location",
    "ObjectPath",
    "filled",
    "free_bytes",
    "journal",
    "locate",
    "remove_tree",
    "replace_file",
    "subdirectories",
]
