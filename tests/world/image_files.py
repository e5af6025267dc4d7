"""Image files made in memory for the tests: whole ones of every format, and what no library would write.

Also `decode` and `inspect` with the defaults that tests want.
"""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from visionfm.images import reading as images
from visionfm.images.settings import Reading


def encoded(image, name, **options):
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def decode(data, *, frame=None, target_px=None, exact=True, max_megapixels=200.0):
    reading = Reading(frame=frame, max_megapixels=max_megapixels)
    return images.decode(data, reading, target_px=target_px, exact=exact, where="scan.png")


def inspect(data, folder, *, frame=None, max_megapixels=200.0):
    path = folder / "scan.png"
    path.write_bytes(data)
    return images.inspect(path, Reading(frame=frame, max_megapixels=max_megapixels))


def reason(facts):
    head = facts.status.split(":")[0]
    assert head in images.REASONS, facts.status
    return head


def picture(width=61, height=40):
    """A smooth picture whose four corners differ, so that every mirror image and turn is told apart."""
    y, x = np.mgrid[0:height, 0:width]
    ramp = np.stack([x * 255 / width, y * 255 / height, 255 * np.exp(-((x - 9) ** 2 + (y - 7) ** 2) / 200)], axis=-1)
    return Image.fromarray(ramp.astype(np.uint8))


def tiff(pixels, *, order="<", photometric=None, bits=None, sample_format=1, deflate=False):
    """A TIFF of one strip, as scanners write it and Pillow does not: (H, W) or (H, W, 3), any integer width."""
    height, width = pixels.shape[:2]
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]
    bits = bits or pixels.dtype.itemsize * 8
    strip = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    strip = zlib.compress(strip) if deflate else strip
    photometric = photometric if photometric is not None else (1 if samples == 1 else 2)
    tags = {256: width, 257: height, 258: bits, 259: 8 if deflate else 1, 262: photometric, 273: 0, 277: samples,
            278: height, 279: len(strip), 339: sample_format}  # fmt: skip
    outside = 8 + 2 + 12 * len(tags) + 4
    lists = {tag: struct.pack(f"{order}{samples}H", *[tags[tag]] * samples) for tag in (258, 339) if samples > 1}
    tags[273] = outside + sum(map(len, lists.values()))
    entries = b""
    for tag, value in sorted(tags.items()):
        if tag in lists:
            entries += struct.pack(order + "HHII", tag, 3, samples, outside)
            outside += len(lists[tag])
        else:
            entries += struct.pack(order + "HHII", tag, 4, 1, value)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return head + struct.pack(order + "H", len(tags)) + entries + bytes(4) + b"".join(lists.values()) + strip


def png(rows, *, bits, colour):
    """A PNG of raw big-endian rows; colour 0 grey, 2 RGB."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = rows.shape[:2]
    raw = b"".join(b"\0" + row.astype(rows.dtype.newbyteorder(">")).tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def huge(name, width=100_000, height=100_000):
    """A few bytes whose header promises an enormous picture."""
    if name == "PNG":
        body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        data = encoded(picture(), "PNG")
        return data[:12] + body + struct.pack(">I", zlib.crc32(body)) + data[33:]
    if name == "TIFF":
        data = bytearray(tiff(np.zeros((4, 4), np.uint8)))
        data[18:22], data[30:34] = struct.pack("<I", width), struct.pack("<I", height)
        return bytes(data)
    if name == "BMP":
        data = bytearray(encoded(picture(), "BMP"))
        data[18:26] = struct.pack("<ii", width, height)
        return bytes(data)
    if name == "GIF":
        return encoded(picture(), "GIF")[:6] + struct.pack("<HH", 65535, 65535) + encoded(picture(), "GIF")[10:]
    if name == "WEBP":
        data = bytearray(encoded(picture(), "WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"))
        data[24:30] = (16382).to_bytes(3, "little") * 2
        return bytes(data)
    data = encoded(picture(), "JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", 65000, 65000) + data[at + 4 :]


WHOLE = {
    "JPEG": encoded(picture(), "JPEG"),
    "progressive": encoded(picture(), "JPEG", progressive=True),
    "PNG": encoded(picture(), "PNG"),
    "TIFF": encoded(picture(), "TIFF"),
    "TIFF-LZW": encoded(picture(), "TIFF", compression="tiff_lzw"),
    "TIFF-JPEG": encoded(picture(), "TIFF", compression="jpeg"),
    "BMP": encoded(picture(), "BMP"),
    "WEBP": encoded(picture(), "WEBP"),
    "GIF": encoded(picture(), "GIF"),
    "PNM": encoded(picture(), "PPM"),
    "JPEG 2000": encoded(picture(), "JPEG2000"),
}
RAMP = np.arange(65536, dtype=np.uint16).reshape(256, 256)


def several(name):
    first, second = Image.new("RGB", (30, 20), (200, 0, 0)), Image.new("RGB", (30, 20), (0, 0, 200))
    return encoded(first, name, save_all=True, append_images=[second])
