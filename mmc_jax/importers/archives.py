"""Members of zip files of others, read into memory and never unpacked.

Sizes are bounded and names stay inside the archive. Members that are packed by
Zstandard, which Python reads from 3.14 on, are read too.
"""

import pathlib
import struct
import zipfile
import zlib
from collections.abc import Iterator

import pyarrow as pa

from mmc_jax import limits

_ZSTANDARD = 93
_LOCAL_HEADER = 30
_ENCRYPTED = 1


class Archive:
    """A zip file whose members are read one by one."""

    def __init__(self, path: pathlib.Path):
        """Opens an archive and checks what it says of its members.

        Raises:
          ValueError: It is no zip file, a member's name leads outside, or its
            members are too large.
        """
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        # Of a version that Python does not know: NotImplementedError.
        except (
            zipfile.BadZipFile,
            NotImplementedError,
            OSError,
            ValueError,
        ) as error:
            raise ValueError(f"{path}: no zip file ({error})") from error
        # A name that is there twice stands for the last of them.
        self._members = {info.filename: info for info in self._zip.infolist()}
        total = 0
        for name, info in self._members.items():
            _refuse_outside(path, name)
            total += info.file_size
            limits.check("member", info.file_size, f"{path}, member {name!r}")
        limits.check("fold", total // max(path.stat().st_size, 1), path)

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *_) -> None:
        self._zip.close()

    def names(self) -> Iterator[str]:
        """Yields the names of all members that are files."""
        return (name for name in self._members if not name.endswith("/"))

    def read(self, name: str) -> bytes:
        """Returns the bytes of a member.

        Raises:
          ValueError: There is none of that name, or it is damaged, encrypted or
            packed in a way that is not read.
        """
        info = self._members.get(name)
        if info is None:
            raise ValueError(f"{self.path}: no member {name!r}")
        where = f"{self.path}, member {name!r}"
        try:
            if info.compress_type == _ZSTANDARD:
                return self._zstandard(info, where)
            with self._zip.open(info) as member:
                raw = member.read(info.file_size + 1)
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            OSError,
            RuntimeError,
            pa.ArrowException,
            struct.error,
        ) as error:
            raise ValueError(f"{where}: damaged ({error})") from error
        return raw

    def _zstandard(self, info: zipfile.ZipInfo, where: str) -> bytes:
        if info.flag_bits & _ENCRYPTED:
            raise ValueError(f"{where}: encrypted")
        with open(self.path, "rb") as file:
            file.seek(info.header_offset)
            header = file.read(_LOCAL_HEADER)
            name_length, extra_length = struct.unpack("<HH", header[26:30])
            file.seek(name_length + extra_length, 1)
            packed = file.read(info.compress_size)
        with pa.CompressedInputStream(pa.BufferReader(packed), "zstd") as file:
            raw = file.read(info.file_size + 1)
        if len(raw) != info.file_size or zlib.crc32(raw) != info.CRC:
            raise ValueError(f"{where}: damaged (not what its checksum says)")
        return raw


def _refuse_outside(path: pathlib.Path, name: str) -> None:
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
        raise ValueError(
            f"{path}, member {name!r}: its name leads outside the archive"
        )
