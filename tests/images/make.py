"""Makes the photos of the tests, written with Pillow 13.0: python3 tests/images/make.py

turned.jpg: 16 x 8 pixels, red left half and blue right half, whose EXIF data says "turn a quarter clockwise".
baseline.jpg, progressive.jpg, restarts.jpg: 61 x 45 pixels of noise on a slope in three kinds of JPEG.
behind.png: 3 x 2 pixels with EXIF orientation 6 in a part behind the pixels.
"""

import random
import struct
import zlib
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
picture = Image.new("RGB", (16, 8), (0, 0, 255))
picture.paste((255, 0, 0), (0, 0, 8, 8))
exif = Image.Exif()
exif[0x0112] = 6  # Orientation
picture.save(HERE / "turned.jpg", quality=95, subsampling=0, exif=exif)

random.seed(0)
noise = [(4 * x + random.randrange(9), 5 * y + random.randrange(9), 2 * (x + y)) for y in range(45) for x in range(61)]
picture = Image.new("RGB", (61, 45))
picture.putdata(noise)
picture.save(HERE / "baseline.jpg", quality=60)
picture.save(HERE / "progressive.jpg", quality=60, progressive=True)
picture.save(HERE / "restarts.jpg", quality=60, restart_marker_blocks=3)


def part(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


rows = b"".join(b"\0" + bytes(range(9 * y, 9 * y + 9)) for y in range(2))
tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
header = part(b"IHDR", struct.pack(">IIBBBBB", 3, 2, 8, 2, 0, 0, 0))
parts = header + part(b"IDAT", zlib.compress(rows)) + part(b"eXIf", tiff) + part(b"IEND", b"")
(HERE / "behind.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
