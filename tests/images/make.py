"""Makes turned.jpg: 16 x 8 pixels, red left half and blue right half, whose EXIF data says "turn a quarter clockwise".

Written with Pillow 13.0: python3 tests/images/make.py
"""

from pathlib import Path

from PIL import Image

picture = Image.new("RGB", (16, 8), (0, 0, 255))
picture.paste((255, 0, 0), (0, 0, 8, 8))
exif = Image.Exif()
exif[0x0112] = 6  # Orientation
picture.save(Path(__file__).with_name("turned.jpg"), quality=95, subsampling=0, exif=exif)
