"""A campaign as one file that another machine checks and reports from: a zip of its spec, facts, kept states, adapters and report.

    fedquad.json      {"schema", "campaign", "files": {path: sha256}, "digest"}: every other entry, and nothing else
    spec.yaml  summary.json  arms/LABEL-sSEED/...  report/...

Whoever made it, it is read as what a device sends is: bounded in number, size and ratio, its names from a list of forms, no links, nothing
encrypted, each file written once into a fresh folder and compared with its digest. Nothing in it is run, and its report is not opened.
"""

import hashlib
import os
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedquad.errors import SpecError, StoreError, quoted
from fedquad.spec import NAME
from fedquad.store import exports, files, lock
from fedquad.store.campaign import CampaignFolder

INDEX = "fedquad.json"
SHAPE = {"schema": int, "campaign": str, "files": {str: str}}
SCHEMA = 1
MOST_FILES = 500_000
MOST_BYTES = 2**37  # of all files, unpacked
RATIO = 200  # unpacked to packed; our JSON packs to a twentieth
FREE_RATIO_BYTES = 2**20  # a file up to this size may pack as it likes
CHUNK = 2**20
LARGE = (".safetensors",)
PART = r"[A-Za-z0-9_][A-Za-z0-9._+:-]{0,90}"
FORMS = re.compile(
    rf"spec\.yaml|summary\.json|report/({PART}/)?{PART}"
    rf"|arms/{PART}/(arm\.json|rounds\.jsonl|state/round-\d{{4,9}}\.(json|safetensors)|(adapter|best)/{PART})"
)
OLD = (1980, 1, 1, 0, 0, 0)  # every file's date: the same campaign makes the same archive


def write(folder: CampaignFolder, path: Path) -> Path:
    """Write the archive of a campaign that is not at work, once all of it has been checked; returns its path."""
    with lock.hold(folder.path / "lock", folder.name):
        folder.check()
        found = dict(_contents(folder.path))
        index = {
            "schema": SCHEMA,
            "campaign": folder.name,
            "files": {name: _digest(one) for name, one in found.items()},
        }
        temporary = files.temporary_of(path)
        try:
            files.make_folder(path.resolve().parent)
            temporary.unlink(missing_ok=True)
            with zipfile.ZipFile(temporary, "x", allowZip64=True) as archive:
                _add(archive, INDEX, files.line({**index, files.SEAL: files.digest_of(index)}))
                for name, one in found.items():
                    _add(archive, name, files.read_bytes(one, files.TENSOR_BYTES))
            files.flush(temporary)
            os.replace(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise files.disk_error(error, path) from error
    return path


def _contents(root: Path) -> Iterator[tuple[str, Path]]:
    """What goes into it: every plain file that has the form of one of ours."""
    for folder, _, names in sorted(os.walk(root)):
        for name in sorted(names):
            path = Path(folder) / name
            inside = path.relative_to(root).as_posix()
            if FORMS.fullmatch(inside) and not path.is_symlink():
                yield inside, path


def _digest(path: Path) -> str:
    return hashlib.sha256(files.read_bytes(path, files.TENSOR_BYTES)).hexdigest()


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, OLD)
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    entry.compress_type = zipfile.ZIP_STORED if name.endswith((*LARGE, ".png")) else zipfile.ZIP_DEFLATED
    archive.writestr(entry, data)


@contextmanager
def opened(path: Path) -> Iterator[CampaignFolder]:
    """The campaign of an archive, unpacked for a while; refused unless it is whole, sound and holds nothing but what it lists."""
    with tempfile.TemporaryDirectory(prefix="fedquad-archive-") as there:
        folder = unpack(path, Path(there))
        folder.check()
        for arm in folder.arms():
            if arm.is_current() and (stale := exports.stale(arm.path, arm.progress())):
                raise StoreError(
                    f"{path} is refused: {stale[0][0]} of arm {arm.name} is not of the round it says; export it anew"
                )
        yield folder


def unpack(path: Path, into: Path) -> CampaignFolder:
    """Unpack an archive into a folder of its own below `into`."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise StoreError(f"{path} cannot be read: it is no plain file")
            with zipfile.ZipFile(file) as archive:
                return _unpack(archive, path, into)
    except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        if isinstance(error, SpecError):
            raise
        raise StoreError(f"{path} cannot be read as an archive: {getattr(error, 'strerror', None) or error}") from error


def _unpack(archive: zipfile.ZipFile, path: Path, into: Path) -> CampaignFolder:
    entries = _checked(archive, path)
    index = files.sealed(
        files.parse_json(_bytes(archive, entries[INDEX], path), f"{path}: {INDEX}"), SHAPE, f"{path}: {INDEX}"
    )
    if index["schema"] != SCHEMA:
        raise StoreError(
            f"{path} is of schema {index['schema']}, and this version reads {SCHEMA}; use the version that wrote it"
        )
    if not NAME.fullmatch(index["campaign"]):
        raise StoreError(f"{path} names its campaign {quoted(index['campaign'])}, which is no campaign's name")
    if set(index["files"]) != set(entries) - {INDEX}:
        strange = sorted(set(index["files"]) ^ (set(entries) - {INDEX}))[0]
        raise StoreError(
            f"{path} does not hold what it lists: {quoted(strange)} is only in one of the two; export it anew"
        )
    if shutil.disk_usage(into).free < sum(entry.file_size for entry in entries.values()) + files.RESERVE_BYTES:
        raise StoreError(f"{path} does not fit on the disk of {into}; set TMPDIR to a folder with more room")
    folder = into / "campaigns" / index["campaign"]
    for name, digest in index["files"].items():
        _extract(archive, entries[name], folder / name, digest, path)
    return CampaignFolder(folder)


def _checked(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """The entries by name, if each may be there."""
    entries = archive.infolist()
    if len(entries) > MOST_FILES:
        raise StoreError(f"{path} has {len(entries)} entries, and at most {MOST_FILES} are taken")
    known: dict[str, zipfile.ZipInfo] = {}
    total = 0
    for entry in entries:
        name = entry.filename
        if fault := _fault(entry):
            raise StoreError(f"{path} is refused: {quoted(name)} {fault}")
        if name in known:
            raise StoreError(f"{path} is refused: {quoted(name)} is in it twice")
        known[name] = entry
        total += entry.file_size
    if total > MOST_BYTES:
        raise StoreError(f"{path} is refused: it unpacks to {total} bytes, and at most {MOST_BYTES} are taken")
    if INDEX not in known:
        raise StoreError(
            f"{path} is no campaign's archive: it has no {INDEX}; `fedquad campaign export NAME` makes one"
        )
    return known


def _fault(entry: zipfile.ZipInfo) -> str:
    """Why an entry is not taken, or nothing."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if entry.filename != INDEX and not FORMS.fullmatch(entry.filename):
        return "is no path of a campaign"
    if kind not in (0, stat.S_IFREG):
        return "is no plain file"
    if entry.flag_bits & 0x1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is encrypted, or packed in a way that is not read"
    most = files.TENSOR_BYTES if entry.filename.endswith(LARGE) else files.JSON_BYTES
    if entry.file_size > most:
        return f"has {entry.file_size} bytes, and at most {most} are taken"
    if entry.file_size > max(FREE_RATIO_BYTES, RATIO * entry.compress_size):
        return f"unpacks to {entry.file_size} bytes from {entry.compress_size}, more than {RATIO} times as many"
    return ""


def _bytes(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> bytes:
    with archive.open(entry) as source:
        data = source.read(entry.file_size + 1)
    if len(data) != entry.file_size:
        raise StoreError(f"{path} is refused: {quoted(entry.filename)} is not as long as it says")
    return data


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, digest: str, path: Path) -> None:
    """Write one file where none is, chunk by chunk, no more of it than it says."""
    target.parent.mkdir(parents=True, exist_ok=True)
    state, written = hashlib.sha256(), 0
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with archive.open(entry) as source, open(os.open(target, flags, 0o644), "wb") as file:
        while chunk := source.read(CHUNK):
            written += len(chunk)
            if written > entry.file_size:
                break
            state.update(chunk)
            file.write(chunk)
    if written != entry.file_size or state.hexdigest() != digest:
        raise StoreError(f"{path} was changed: {quoted(entry.filename)} is not what its list says; export it anew")
