"""Opens zip archives without letting them unpack to more than they may."""

from __future__ import annotations

import io
import zipfile
import zlib

from ragline.errors import InvalidRequest, TooLarge

MAX_UNPACKED_BYTES = 512 * 2**20
MAX_RATIO = 200  # unpacked to packed; text in XML comes to 10 to 30
SMALL_BYTES = 16 * 2**20  # below this no ratio is suspicious
MAX_ENTRIES = 20_000


def opened(data: bytes) -> zipfile.ZipFile:
    """The archive, once its directory shows that it is no bomb. Nothing is unpacked for that.

    Raises TooLarge for a bomb, InvalidRequest for what is no archive. A directory that lies about a size is of no
    use to a bomb: reading an entry stops at the size that is stated.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise InvalidRequest(f"The file is broken or cut off: it is no whole zip archive ({error}).") from None
    entries = archive.infolist()
    unpacked = sum(entry.file_size for entry in entries)
    if len(entries) > MAX_ENTRIES or unpacked > MAX_UNPACKED_BYTES:
        raise TooLarge(
            f"The file would unpack to {unpacked / 2**20:,.0f} MB in {len(entries):,} parts; "
            f"the limits are {MAX_UNPACKED_BYTES // 2**20} MB and {MAX_ENTRIES:,} parts."
        )
    if unpacked > SMALL_BYTES and unpacked > MAX_RATIO * len(data):
        raise TooLarge(
            f"The file would unpack to {unpacked // max(1, len(data))} times its size (the limit is {MAX_RATIO}): "
            "that is a zip bomb, not a document."
        )
    return archive


def entry(archive: zipfile.ZipFile, name: str) -> bytes | None:
    """The bytes of an entry; None if there is none of that name. Raises InvalidRequest for a broken one."""
    try:
        info = archive.getinfo(name)
    except KeyError:
        return None
    if info.flag_bits & 1:
        raise InvalidRequest("The document is locked with a password: save it without one and send it again.")
    try:
        return archive.read(info)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OSError) as error:
        raise InvalidRequest(f"The file is broken: {name} in it cannot be read ({error}).") from None
