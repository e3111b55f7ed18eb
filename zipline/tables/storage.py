"""Where files are: a local folder or any fsspec URL, and one vocabulary of options for the libraries that read it.

Options of S3 are named once, as `zipline.toml` names them (`endpoint_url`, `region`, `access_key_id`,
`secret_access_key`, `session_token`, `anonymous`), and translated for fsspec and for Delta; the `AWS_...` spelling is
accepted too. Options of other schemes go to the libraries as they are written.

Questions about local files are answered by the operating system: fsspec takes a while to import.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

from zipline.errors import TableError
from zipline.values import dataclass

if TYPE_CHECKING:
    import duckdb
    import pyarrow.parquet as pq

_T = TypeVar("_T")
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
_S3 = ("s3", "s3a", "s3n")
_S3_FSSPEC = {"access_key_id": "key", "secret_access_key": "secret", "session_token": "token"}
_EXTRAS = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "abfss": "adlfs", "az": "adlfs"}
_MARKS = ("ETag", "etag", "md5Hash", "content_md5", "generation", "LastModified", "last_modified", "mtime", "created")
"""What file systems of different object stores call the mark or the time of a file's content."""
DEFAULT_PARTITION = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of a table: its path as DuckDB opens it, and the partition values its folders (or the log) give.

    `name` is its path in the table; `token` is another one when the content may be another one.
    """

    path: str
    bytes: int | None = None
    rows: int | None = None
    partition: Mapping[str, str | None] = field(default_factory=dict)
    name: str = ""
    token: str = ""


def scheme_of(location: str) -> str | None:
    """The URL scheme in lower case, or None for a path; `file://` counts as a path."""
    found = _SCHEME.match(location)
    scheme = found.group(1).lower() if found else None
    return None if scheme in (None, "file", "local") else scheme


def normalised(location: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> str:
    """An absolute path, or a URL without a trailing slash; relative paths are under `root` or the current folder."""
    text = os.fspath(location)
    scheme = scheme_of(text)
    if scheme in _S3:
        text = "s3://" + text.split("://", 1)[1]
    if scheme is not None:
        return text.rstrip("/")
    if _SCHEME.match(text):
        text = unquote(text.split("://", 1)[1])
    return os.path.abspath(os.path.join(os.fspath(root) if root else os.curdir, os.path.expanduser(text)))


def joined(location: str, *parts: str) -> str:
    """A location inside another."""
    return "/".join([location.rstrip("/"), *parts])


class Storage:
    """The file system that a location is on."""

    def __init__(self, location: str, options: Mapping[str, str] | None = None) -> None:
        self.location = location
        self.scheme = scheme_of(location)
        self._options = dict(options or {})
        if self.scheme is not None:
            self.files  # noqa: B018 (what cannot be opened is refused now)

    @cached_property
    def files(self) -> Any:
        """The file system as fsspec has it."""
        import fsspec

        try:
            return fsspec.filesystem(self.scheme or "file", **fsspec_options(self.scheme, self._options))
        except (ImportError, ValueError) as wrong:
            raise _no_file_system(self.location, self.scheme, wrong) from None

    def attach(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Lets the connection read from here."""
        if self.scheme is not None and not connection.filesystem_is_registered(self.scheme):
            connection.register_filesystem(self.files)

    def is_folder(self, location: str) -> bool:
        return os.path.isdir(location) if self._is_path(location) else bool(self._asked(self.files.isdir, location))

    def exists(self, location: str) -> bool:
        return os.path.exists(location) if self._is_path(location) else bool(self._asked(self.files.exists, location))

    def children(self, location: str) -> list[str]:
        """The names directly inside a folder, sorted; [] where there is none."""
        if not self.is_folder(location):
            return []
        if self._is_path(location):
            return sorted(_answered(os.listdir, location))
        found: list[str] = self._asked(self.files.ls, location, detail=False)
        return sorted(each.rstrip("/").rsplit("/", 1)[-1] for each in found)

    def data_files(self, location: str) -> list[DataFile]:
        """The files in a folder and below, sorted by path, without hidden ones and those that begin with `_`."""
        if self._is_path(location):
            return _answered(_files_below, location.rstrip("/"))
        found: dict[str, Any] = self._asked(self.files.find, location, detail=True)
        root = self._bare(location)
        listed = [(path, path[len(root) :].lstrip("/"), facts) for path, facts in sorted(found.items())]
        return [
            DataFile(
                self._opened(path), facts.get("size"), None, _partition_values(below), below, self._token(path, facts)
            )
            for path, below, facts in listed
            if not any(_is_hidden(part) for part in below.split("/"))
        ]

    def file(self, location: str) -> DataFile:
        if self._is_path(location):
            return _answered(_local_file, location, location.rsplit("/", 1)[-1])
        facts: dict[str, Any] = self._asked(self.files.info, location)
        name = location.rsplit("/", 1)[-1]
        return DataFile(location, facts.get("size"), name=name, token=self._token(location, facts))

    def _token(self, path: str, facts: Mapping[str, Any]) -> str:
        """Size and time of writing; an object store's own mark of the content where it has one."""
        if self.scheme is None:
            return _local_token(os.stat(path))
        marks = (facts.get(name) for name in _MARKS)
        return f"{facts.get('size')}-{next((str(mark) for mark in marks if mark), '')}"

    def is_as_it_was(self, file: DataFile) -> bool:
        """Whether a file that is there has the content of before. Machines may have copies of it, made at other times:
        of a local one its size and time count."""
        if self._is_path(file.path):
            facts = _answered(os.stat, file.path)
            return file.token.startswith(f"{facts.st_size}-{facts.st_mtime_ns}-")
        # Some stores quote their marks of the content in one answer and not in another.
        return self.file(file.path).token.replace('"', "") == file.token.replace('"', "")

    def glob(self, pattern: str) -> list[str]:
        return sorted(self._opened(path) for path in self._asked(self.files.glob, pattern))

    def open(self, path: str) -> Any:
        """The file for reading bytes; OSError where it cannot be opened."""
        try:
            return open(path, "rb") if self._is_path(path) else self.files.open(path, "rb")
        except OSError:
            raise
        except Exception as wrong:  # as above
            raise OSError(str(wrong)) from None

    @contextmanager
    def parquet(self, path: str) -> Iterator[tuple[pq.ParquetFile, bool]]:
        """A Parquet file, and whether threads may read it; OSError where it cannot be opened.

        Not where Python opens it: a thread of Arrow that lets go of such a file while the interpreter ends aborts the
        process.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        is_path = self._is_path(path)
        with pa.OSFile(path) if is_path else self.open(path) as opened:
            yield pq.ParquetFile(opened), is_path

    def _asked(self, question: Any, location: str, **how: Any) -> Any:
        self.files.invalidate_cache()
        try:
            return question(location, **how)
        except Exception as wrong:  # every fsspec file system raises the errors of its own client library
            raise _unreadable(location, wrong) from None

    def _is_path(self, location: str) -> bool:
        """True for what the operating system understands as it is written."""
        return self.scheme is None and os.path.isabs(location)

    def _bare(self, location: str) -> str:
        return str(self.files._strip_protocol(location)).rstrip("/")

    def _opened(self, path: str) -> str:
        return path if self.scheme is None else str(self.files.unstrip_protocol(path))


def _answered(question: Callable[..., _T], location: str, *more: str) -> _T:
    try:
        return question(location, *more)
    except OSError as wrong:
        raise _unreadable(location, wrong) from None


def _unreadable(location: str, wrong: Exception) -> TableError:
    return TableError(
        f"{location} cannot be read: {wrong}",
        hint="check the path, and the storage options and credentials of the project",
        next_command="zipline doctor",
    )


def _files_below(root: str) -> list[DataFile]:
    found: list[str] = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        found += [os.path.join(folder, name) for name in names if not _is_hidden(name)]
    return [_local_file(path, path[len(root) + 1 :]) for path in sorted(found)]


def _local_file(path: str, below: str) -> DataFile:
    facts = os.stat(path)
    return DataFile(path, facts.st_size, None, _partition_values(below), below, _local_token(facts))


def _local_token(facts: os.stat_result) -> str:
    """The last one is of any change: whoever writes a file anew may give it the time of the old one."""
    return f"{facts.st_size}-{facts.st_mtime_ns}-{facts.st_ctime_ns}"


def _is_hidden(part: str) -> bool:
    return part.startswith(".") or (part.startswith("_") and "=" not in part)


def _partition_values(below: str) -> dict[str, str | None]:
    pairs = [part.split("=", 1) for part in below.split("/")[:-1] if "=" in part]
    return {unquote(key): None if value == DEFAULT_PARTITION else unquote(value) for key, value in pairs}


def fsspec_options(scheme: str | None, options: Mapping[str, str]) -> dict[str, Any]:
    """The options as fsspec's file system of the scheme takes them."""
    if scheme is None:
        return {}
    if scheme not in _S3:
        return dict(options)
    named = _neutral(options)
    given: dict[str, Any] = {_S3_FSSPEC[name]: value for name, value in named.items() if name in _S3_FSSPEC}
    if "endpoint_url" in named:
        given["endpoint_url"] = named["endpoint_url"]
    if "region" in named:
        given["client_kwargs"] = {"region_name": named["region"]}
    if named.get("anonymous", "").lower() == "true":
        given["anon"] = True
    return given


def delta_options(location: str, options: Mapping[str, str] | None) -> dict[str, str]:
    """The options as the deltalake package takes them."""
    scheme = scheme_of(location)
    if scheme is None or not options:
        return {}
    if scheme not in _S3:
        return dict(options)
    named = _neutral(options)
    given = {f"AWS_{name.upper()}": value for name, value in named.items() if name != "anonymous"}
    if named.get("anonymous", "").lower() == "true":
        given["AWS_SKIP_SIGNATURE"] = "true"
    if named.get("endpoint_url", "").startswith("http://"):
        given["AWS_ALLOW_HTTP"] = "true"
    if "endpoint_url" in named:
        given.setdefault("AWS_REGION", "us-east-1")
    return given


def _neutral(options: Mapping[str, str]) -> dict[str, str]:
    names = {
        "key": "access_key_id",
        "secret": "secret_access_key",
        "token": "session_token",
        "endpoint": "endpoint_url",
    }
    bare = {name.lower().removeprefix("aws_"): value for name, value in options.items()}
    return {names.get(name, name): str(value) for name, value in bare.items()}


def _no_file_system(location: str, scheme: str | None, wrong: Exception) -> TableError:
    package = _EXTRAS.get(scheme or "")
    if package and isinstance(wrong, ImportError):
        return TableError(
            f"{location} needs the package {package}, which is not installed",
            next_command="pip install 'zipline-features[s3]'" if package == "s3fs" else f"pip install {package}",
        )
    return TableError(
        f"{location} cannot be opened: {wrong}", asked=scheme, valid=("s3", "gs", "abfs", "hdfs", "memory", "file")
    )
