"""The definitions that an environment serves, kept in its online store.

They are one generation of a space that no group-by has: the files of the project's folder of definitions, packed, in
pieces that every store takes, and what was made of them (`Made`). Its fingerprint is the files' digest. So they are
exchanged as uploads are: in one step, and readers see the old ones or the new ones, whole.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
import zipfile
from pathlib import Path

import msgspec

from zipline.clock import now
from zipline.errors import UsageError
from zipline.plan.definitions import Definitions, load
from zipline.project import EMBEDDED, Project
from zipline.stores.contract import Generation, Place, PlaceError, Store, StoreError
from zipline.stores.opening import VERSION
from zipline.values import dataclass

PIECE = 1 << 18
"""Bytes of a value."""
LARGEST = 64 << 20
"""Bytes of all files together, packed."""
_OLD = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Packed:
    """The files of a folder of definitions; equal files have an equal digest."""

    content: bytes
    digest: str


class Made(msgspec.Struct, frozen=True):
    """What stands in the store and at the brokers for definitions that were applied: the spaces of group-bys by their
    names, the versions of streaming jobs; and of those before them what is still kept, so that one can go back."""

    spaces: dict[str, str]
    jobs: tuple[str, ...] = ()
    former_spaces: tuple[str, ...] = ()
    former_jobs: tuple[str, ...] = ()


def pack(folder: Path) -> Packed:
    """All files below a folder but hidden ones and byte code. UsageError where they are more than a store takes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as files:
        for path in sorted(_files(folder)):
            files.writestr(zipfile.ZipInfo(path.relative_to(folder).as_posix(), _OLD), path.read_bytes())
    content = packed.getvalue()
    if len(content) > LARGEST:
        raise UsageError(
            f"the folder of definitions, {folder}, has {len(content) >> 20} MB packed, and {LARGEST >> 20} are taken",
            hint="keep data elsewhere than beside definitions",
        )
    return Packed(content, hashlib.sha256(content).hexdigest())


def applied(project: Project, store: Store) -> Generation | None:
    """What was applied last, by its digest (`fingerprint`); None where nothing ever was."""
    return store.current(_space(project))


def publish(project: Project, store: Store, packed: Packed, made: Made) -> Generation:
    """From now on these are served."""
    pieces = [packed.content[at : at + PIECE] for at in range(0, len(packed.content), PIECE)]
    with store.upload(_space(project), end=now(), fingerprint=packed.digest) as writing:
        writing.put((_key(number), piece) for number, piece in enumerate([msgspec.json.encode(made), *pieces]))
        return writing.publish()


def read(project: Project, store: Store, generation: Generation) -> tuple[Packed, Made]:
    """The definitions of a generation. StoreError where they cannot be read whole."""
    place = Place(_space(project), generation.name)
    found = store.get([(place, [_key(number) for number in range(generation.rows)])])[0]
    pieces = [b"" if piece is None else bytes(piece) for piece in found]
    packed = Packed(b"".join(pieces[1:]), generation.fingerprint)
    if not all(pieces) or hashlib.sha256(packed.content).hexdigest() != packed.digest:
        raise PlaceError(
            "the definitions that were applied cannot be read: pieces of them are damaged or gone",
            next_command="zipline apply",
        )
    return packed, msgspec.json.decode(pieces[0], type=Made)


def unpack(project: Project, packed: Packed) -> Path:
    """The folder in which the files lie on this machine; they are written there where they are not yet."""
    folder = _folder(project, packed.digest)
    place = folder.parent
    if not folder.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
        try:
            with zipfile.ZipFile(io.BytesIO(packed.content)) as files:
                files.extractall(beside / folder.name)
            (beside / folder.name).mkdir(exist_ok=True)
            os.rename(beside, place)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return folder


def served_folder(project: Project, store: Store) -> Path:
    """Where the definitions lie that are served: those that were applied last, else the project's files.

    While the store cannot be asked they are those that this machine has seen last: features are unavailable all the
    same, and are taken up again with the store.
    """
    noted = _place(project) / f"{project.environment}.seen"
    try:
        generation = applied(project, store)
    except StoreError:
        folder = Path(noted.read_text()) if noted.exists() else project.root / project.configs
        return folder if folder.is_dir() else project.root / project.configs
    if generation is None:
        noted.unlink(missing_ok=True)
        return project.root / project.configs
    folder = _folder(project, generation.fingerprint)
    if not folder.is_dir():
        unpack(project, read(project, store, generation)[0])
    if noted.exists() and noted.read_text() == str(folder):
        return folder
    beside = noted.with_name(f".{noted.name}-{os.getpid()}")
    beside.write_text(str(folder))
    os.replace(beside, noted)
    return folder


def served_definitions(project: Project, store: Store) -> Definitions:
    """The definitions that lie there."""
    return load(served_folder(project, store))


def _place(project: Project) -> Path:
    return project.root / EMBEDDED / "applied"


def _folder(project: Project, digest: str) -> Path:
    return _place(project) / digest[:16] / (Path(project.configs).name or "configs")


def _key(number: int) -> bytes:
    return number.to_bytes(4, "big")


def _space(project: Project) -> str:
    return f"{project.key_prefix}{VERSION}applied"


def _files(folder: Path) -> list[Path]:
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__" and not name.startswith(".")]
        found += [Path(place, name) for name in names if not name.startswith(".") and not name.endswith(".pyc")]
    return found
