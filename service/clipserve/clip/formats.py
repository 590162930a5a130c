"""Image formats, known by their first bytes."""

from __future__ import annotations

from collections.abc import Callable, Collection

from clipserve.errors import UnsupportedFormat


def _iso_brand(*brands: bytes) -> Callable[[bytes], bool]:
    return lambda head: head[4:8] == b"ftyp" and head[8:12] in brands


# Name, as in Pillow -> whether a file that begins like this has that format. A setting lists those to decode.
FORMATS: dict[str, Callable[[bytes], bool]] = {
    "JPEG": lambda head: head.startswith(b"\xff\xd8\xff"),
    "PNG": lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
    "WEBP": lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP",
    "GIF": lambda head: head.startswith((b"GIF87a", b"GIF89a")),
    "BMP": lambda head: head.startswith(b"BM"),
    "TIFF": lambda head: head.startswith((b"II*\0", b"MM\0*")),
    "AVIF": _iso_brand(b"avif", b"avis"),
}

# The same, of a format whose decoder is a package of its own: that of `clipserve-core[heif]`.
OPTIONAL = {"HEIC": _iso_brand(b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")}

# Formats that are never decoded, for the error.
_FOREIGN: dict[str, Callable[[bytes], bool]] = {
    "JPEG 2000": lambda head: head.startswith((b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")),
    "PDF": lambda head: head.startswith(b"%PDF"),
    "EPS": lambda head: head.startswith(b"%!PS"),
    "PSD": lambda head: head.startswith(b"8BPS"),
    "SVG or XML": lambda head: head.lstrip().startswith((b"<svg", b"<?xml")),
    "HTML": lambda head: head.lstrip().lower().startswith((b"<!doctype", b"<html")),
}
_KNOWN = FORMATS | OPTIONAL | _FOREIGN


def sniff(data: bytes, allowed: Collection[str]) -> str:
    """The format of `data` by its first bytes. File names and content types are ignored.

    Raises:
        UnsupportedFormat: it is none of `allowed`.
    """
    head = bytes(data[:64])
    for name, matches in _KNOWN.items():
        if matches(head):
            if name in allowed:
                return name
            way = f" A server with clipserve-core[heif] accepts it if CLIPSERVE_IMAGE_FORMATS lists {name}."
            said = f"the image is {name}, which is not accepted. Send one of {', '.join(allowed)}."
            raise UnsupportedFormat(said + (way if name in OPTIONAL else ""))
    what = "the image is empty (0 bytes)" if not data else "the bytes are not an image of a known format"
    raise UnsupportedFormat(f"{what}. Send one of {', '.join(allowed)}.")
