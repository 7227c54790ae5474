"""Frames: every form of memory gives the labels that Rust gives, and is copied only if it must be."""

import array
import ctypes
import io
import unittest

import numpy as np
import PIL.Image
import pyfcn

from common import CASES, DATA, image, segmenter

S = segmenter()


def labels(frame, format=None):
    return S.segment(frame, format).labels


class Tensor:
    """An object with DLPack on a device, like another library's tensor."""

    def __init__(self, array, device=(1, 0)):
        self.array, self.device = array, device

    def __dlpack__(self, **arguments):
        return self.array.__dlpack__(**arguments)

    def __dlpack_device__(self):
        return self.device


class Formats(unittest.TestCase):
    def test_a_block_of_every_format_has_rusts_labels(self):
        self.assertEqual(len(CASES), 20)
        seen = set()
        for case in CASES:
            name, size = case["format"], (case["width"], case["height"])
            pixels = (DATA / f"{name}.frame").read_bytes()
            expected = np.frombuffer((DATA / f"{name}.labels").read_bytes(), np.uint8).reshape(size[::-1])
            with self.subTest(name):
                frame = pyfcn.Frame(pixels, name, size=size)
                self.assertFalse(frame.copied)
                self.assertEqual((frame.width, frame.height, frame.format), (*size, name))
                np.testing.assert_array_equal(S.segment(frame).labels, expected)
                # The smallest block that is too short.
                with self.assertRaisesRegex(pyfcn.InvalidArgumentError, "holds"):
                    pyfcn.Frame(pixels[:-1], name, size=size)
                seen.add(expected.tobytes())
        self.assertGreater(len(seen), 8, "the formats show the same, so this test says little")

    def planes(self, name):
        case = next(case for case in CASES if case["format"] == name)
        width, height = case["width"], case["height"]
        block = np.fromfile(DATA / f"{name}.frame", np.uint8)
        x, y = {"NV12": (2, 2), "NV21": (2, 2), "I420": (2, 2), "J420": (2, 2), "I422": (2, 1), "J422": (2, 1),
                "I440": (1, 2), "J440": (1, 2)}.get(name, (1, 1))
        columns, rows = -(-width // x), -(-height // y)
        luma, rest = block[: width * height].reshape(height, width), block[width * height :]
        if name in ("NV12", "NV21"):
            return [luma, rest.reshape(rows, columns, 2)]
        return [luma, *rest.reshape(2, rows, columns)]

    def test_planes_may_be_apart(self):
        for name in ["NV12", "NV21", "I420", "I422", "I440", "I444", "J420", "J422", "J440", "J444"]:
            planes = self.planes(name)
            expected = np.fromfile(DATA / f"{name}.labels", np.uint8).reshape(planes[0].shape)

            def padded(plane):
                wide = np.zeros((plane.shape[0] + 1, plane.shape[1] + 5, *plane.shape[2:]), np.uint8)
                view = wide[1:, 2:-3]
                view[...] = plane
                return view

            for what, given, copied in [
                ("tight", planes, False),
                ("padded", [padded(plane) for plane in planes], False),
                ("a tuple", tuple(planes), False),
                ("two dimensions", [plane.reshape(plane.shape[0], -1) for plane in planes], False),
                ("bottom-up", [planes[0], *(plane[::-1].copy()[::-1] for plane in planes[1:])], True),
            ]:
                with self.subTest(f"{name}, {what}"):
                    frame = pyfcn.Frame(given, name)
                    self.assertEqual(frame.copied, copied)
                    np.testing.assert_array_equal(S.segment(frame).labels, expected)
            for what, wrong in [
                ("too few planes", planes[:-1]),
                ("too many planes", [*planes, planes[-1]]),
                ("a short plane", [planes[0], *(plane[:-1] for plane in planes[1:])]),
                ("a narrow plane", [planes[0], *(plane[:, :-1] for plane in planes[1:])]),
                ("a wide plane", [planes[0][:, :-2], *planes[1:]]),
            ]:
                with self.subTest(f"{name}, {what}"), self.assertRaisesRegex(pyfcn.InvalidArgumentError, "plane"):
                    pyfcn.Frame(wrong, name)
        with self.assertRaisesRegex(pyfcn.InvalidArgumentError, "several planes"):
            pyfcn.Frame([image(8, 8)], "GRAY8")
        with self.assertRaisesRegex(pyfcn.InvalidArgumentError, "several planes"):
            pyfcn.Frame([[1, 2], [3, 4]])
        with self.assertRaisesRegex(pyfcn.InvalidArgumentError, "size"):
            pyfcn.Frame(planes, "J444", size=(90, 61))

    def test_planes_on_top_of_each_other_are_what_opencv_has(self):
        for name, lines, copied in [("NV12", 36, False), ("I420", 36, True), ("I422", 48, True), ("I440", 48, False),
                                    ("I444", 72, False)]:
            wide = image(lines, 40)
            dense = np.ascontiguousarray(wide[:, :32])
            expected = labels(pyfcn.Frame(dense, name, size=(32, 24)))
            np.testing.assert_array_equal(labels(dense, name), expected)
            # Rows that are apart: only full-width planes are still rows of that distance.
            frame = pyfcn.Frame(wide[:, :32], name)
            self.assertEqual(frame.copied, copied, name)
            np.testing.assert_array_equal(labels(frame), expected, name)
            wrong = [(lines - 1, 32), (lines, 32, 1), (0, 32), (lines, 0)]
            if name not in ("I440", "I444"):
                wrong.append((lines, 31))  # Two columns share samples.
            for shape in wrong:
                with self.assertRaisesRegex(pyfcn.InvalidArgumentError, "on top of each other", msg=f"{name} {shape}"):
                    pyfcn.Frame(image(*shape), name)

    def test_packed_chroma(self):
        pixels = image(24, 32, 2)
        for name in ["YUYV", "UYVY"]:
            expected = labels(pyfcn.Frame(pixels.tobytes(), name, size=(32, 24)))
            for view, copied in [
                (pixels, False),
                (pixels.reshape(24, 64), False),
                (np.concatenate([pixels, pixels], axis=1)[:, :32], False),
                (pixels[::-1].copy()[::-1], False),
                # Pairs of pixels share samples, so columns cannot go left in memory.
                (pixels[:, ::-1].copy()[:, ::-1], True),
            ]:
                frame = pyfcn.Frame(view, name)
                self.assertEqual(frame.copied, copied)
                np.testing.assert_array_equal(labels(frame), expected)
            with self.assertRaisesRegex(pyfcn.InvalidArgumentError, "shape"):
                pyfcn.Frame(image(24, 63), name)
        self.assertFalse(np.array_equal(labels(pixels, "YUYV"), labels(pixels, "UYVY")))

    def test_matrix_and_range(self):
        pixels = image(36, 32)
        seen = {
            S.segment(pyfcn.Frame(pixels, "NV12", matrix=matrix, range=range), scores=True).scores.tobytes()
            for matrix in ("bt601", "bt709")
            for range in ("limited", "full")
        }
        self.assertEqual(len(seen), 4)
        for wrong in [{"matrix": "bt2020"}, {"range": "video"}, {"rotation": 45}]:
            with self.assertRaises(pyfcn.InvalidArgumentError):
                pyfcn.Frame(pixels, "NV12", **wrong)


class Views(unittest.TestCase):
    def check(self, view, copied, format=None):
        frame = pyfcn.Frame(view, format)
        self.assertEqual(frame.copied, copied)
        dense = pyfcn.Frame(np.ascontiguousarray(view), format)
        self.assertFalse(dense.copied)
        np.testing.assert_array_equal(labels(frame), labels(dense))

    def test_views_are_read_where_they_are(self):
        for channels, formats in [(3, (None, "RGB", "BGR")), (4, (None, "BGRA", "RGBX", "BGRX"))]:
            whole = image(40, 50, channels)
            for format in formats:
                for what, view, copied in [
                    ("all", whole, False),
                    ("crop", whole[3:31, 5:44], False),
                    ("every second row", whole[::2], False),
                    ("upside down", whole[::-1], False),
                    ("mirrored", whole[:, ::-1], False),
                    ("turned", whole[::-1, ::-1], False),
                    ("a mirrored crop of every third row, upside down", whole[33:4:-3, 40:7:-1], False),
                    ("one column", whole[:, 7:8], False),
                    ("one row", whole[9:10], False),
                    ("one pixel", whole[9:10, 9:10], False),
                    ("channels reversed", whole[..., ::-1], channels == 4),
                    ("everything reversed", whole[::-1, ::-1, ::-1], channels == 4),
                    ("one column, channels reversed", whole[:, 7:8, ::-1], channels == 4),
                    ("every second column", whole[:, ::2], True),
                    ("transposed", whole.transpose(1, 0, 2), True),
                    ("channels reversed in every second column", whole[:, ::2, ::-1], True),
                    ("one row for all", np.broadcast_to(whole[:1], whole.shape), True),
                    ("one pixel for all", np.broadcast_to(whole[:1, :1], whole.shape), True),
                    ("Fortran order", np.asfortranarray(whole), True),
                    ("read-only", np.frombuffer(whole.tobytes(), np.uint8).reshape(whole.shape), False),
                ]:
                    with self.subTest(what, format=format, channels=channels):
                        self.check(view, copied, format)
        self.check(image(40, 50, 4)[..., :3], True)
        self.check(image(40, 50, 4)[..., 1:], True)

    def test_grey(self):
        for dtype in (np.uint8, np.uint16):
            whole = image(40, 50, dtype=dtype)
            for what, view, copied in [
                ("all", whole, False),
                ("a third dimension", whole[..., None], False),
                ("crop", whole[3:31, 5:44], False),
                ("turned", whole[::-1, ::-1], False),
                ("a channel of three", image(40, 50, 3)[..., 1].astype(dtype), False),
                ("a view of a channel", image(40, 50, 3).astype(dtype)[..., 1], True),
                ("every second column", whole[:, ::2], True),
                ("transposed", whole.T, True),
            ]:
                with self.subTest(what, dtype=dtype):
                    self.check(view, copied)
        # Only the high byte counts, in either byte order.
        high = image(40, 50)
        deep = high.astype(np.uint16) << 8 | image(40, 50, seed=2)
        np.testing.assert_array_equal(labels(deep), labels(high))
        swapped = pyfcn.Frame(deep.astype(">u2"))
        self.assertTrue(swapped.copied)
        np.testing.assert_array_equal(labels(swapped), labels(high))

    def test_crop_rotation_and_mirror_are_those_of_the_view(self):
        whole = image(40, 50, 3)
        for view in (whole, whole[::-1], whole[:, ::-1], whole[::-1, ::-1, ::-1]):
            part = view[7:31, 5:44]
            for turns in range(4):
                for mirror in (False, True):
                    frame = pyfcn.Frame(view, crop=(5, 7, 39, 24), rotation=90 * turns, mirror=mirror)
                    expected = np.rot90(part, -turns)
                    expected = np.ascontiguousarray(expected[:, ::-1] if mirror else expected)
                    self.assertEqual((frame.height, frame.width), expected.shape[:2])
                    np.testing.assert_array_equal(labels(frame), labels(expected))
        with self.assertRaisesRegex(pyfcn.InvalidArgumentError, "crop"):
            pyfcn.Frame(whole, crop=(5, 7, 46, 24))

    def test_bgr_is_the_reverse_of_rgb(self):
        whole = image(40, 50, 3)
        bgr = np.ascontiguousarray(whole[..., ::-1])
        np.testing.assert_array_equal(labels(bgr, "BGR"), labels(whole))
        np.testing.assert_array_equal(labels(bgr, "8UC3"), labels(whole))
        self.assertFalse(np.array_equal(labels(bgr), labels(whole)))

    def test_frames_keep_their_memory(self):
        frame = pyfcn.Frame(image(40, 50, 3)[::-1])
        expected = labels(image(40, 50, 3)[::-1])
        image(40, 50, 3, seed=9)
        np.testing.assert_array_equal(labels(frame), expected)
        # A frame sees what its array holds at the time of the call.
        pixels = image(40, 50, 3)
        frame = pyfcn.Frame(pixels)
        labels(frame)
        pixels[:] = pixels[::-1].copy()
        np.testing.assert_array_equal(labels(frame), expected)


class Others(unittest.TestCase):
    def test_objects_that_share_memory(self):
        pixels = image(40, 50, 3)
        expected = labels(pixels)
        shaped = memoryview(pixels.tobytes()).cast("B", (40, 50, 3))
        raw = (ctypes.c_uint8 * (40 * 50 * 3)).from_buffer_copy(pixels)
        for what, data, size in [
            ("memoryview", shaped, None),
            ("bytes", pixels.tobytes(), (50, 40)),
            ("bytearray", bytearray(pixels.tobytes()), (50, 40)),
            ("array", array.array("B", pixels.tobytes()), (50, 40)),
            ("ctypes", raw, (50, 40)),
            ("a flat array", pixels.ravel(), (50, 40)),
            ("DLPack", Tensor(pixels), None),
        ]:
            with self.subTest(what):
                frame = pyfcn.Frame(data, "RGB", size=size)
                self.assertFalse(frame.copied)
                np.testing.assert_array_equal(labels(frame), expected)
        # The memory is shared: a change shows.
        buffer = bytearray(pixels.tobytes())
        frame = pyfcn.Frame(buffer, "RGB", size=(50, 40))
        buffer[:] = pixels[::-1].tobytes()
        np.testing.assert_array_equal(labels(frame), labels(pixels[::-1]))
        # A buffer in use cannot be resized.
        with self.assertRaises(BufferError):
            buffer.append(1)

    def test_padding_in_a_block(self):
        wide = image(40, 64, 3)
        frame = pyfcn.Frame(wide.tobytes(), "RGB", size=(50, 40), stride=64 * 3)
        np.testing.assert_array_equal(labels(frame), labels(wide[:, :50]))
        with self.assertRaisesRegex(pyfcn.InvalidArgumentError, "stride"):
            pyfcn.Frame(wide.tobytes(), "RGB", size=(50, 40), stride=149)
        with self.assertRaisesRegex(pyfcn.InvalidArgumentError, "format"):
            pyfcn.Frame(wide.tobytes(), size=(50, 40))

    def test_devices_other_than_the_cpu_are_refused(self):
        with self.assertRaisesRegex(pyfcn.InvalidArgumentError, r"device \(2, 1\)"):
            labels(Tensor(image(40, 50, 3), (2, 1)))

    def test_pillow(self):
        pixels = image(40, 50, 3)
        rgb = PIL.Image.fromarray(pixels)
        np.testing.assert_array_equal(labels(rgb), labels(pixels))
        for mode in ["L", "RGBA"]:
            converted = rgb.convert(mode)
            np.testing.assert_array_equal(labels(converted), labels(np.asarray(converted)))
        deep = PIL.Image.fromarray(image(40, 50, dtype=np.uint16))
        self.assertEqual(deep.mode, "I;16")
        np.testing.assert_array_equal(labels(deep), labels(np.asarray(deep)))
        for mode in ["P", "1", "CMYK", "YCbCr", "LA"]:
            converted = rgb.convert(mode)
            np.testing.assert_array_equal(labels(converted), labels(np.asarray(converted.convert("RGB"))))
        file = io.BytesIO()
        rgb.save(file, "PNG")
        np.testing.assert_array_equal(labels(PIL.Image.open(file)), labels(pixels))

    def test_image_files(self):
        image = pyfcn.read_image(DATA / "photo.png")
        self.assertEqual((image.shape, image.dtype), ((360, 480, 3), np.uint8))
        np.testing.assert_array_equal(image, np.asarray(PIL.Image.open(DATA / "photo.png")))
        file = (DATA / "photo.png").read_bytes()
        for content in (file, bytearray(file)):
            np.testing.assert_array_equal(pyfcn.decode_image(content), image)
        turned = io.BytesIO()
        exif = PIL.Image.Exif()
        exif[0x0112] = 6  # The camera was turned by 90 degrees.
        PIL.Image.fromarray(image).save(turned, "PNG", exif=exif)
        np.testing.assert_array_equal(pyfcn.decode_image(turned.getvalue()), np.rot90(image, -1))
        # Nobody else holds the pixels.
        image[0, 0] = 7
        np.testing.assert_array_equal(image[0, 0], [7, 7, 7])

    def test_files_that_are_no_images_are_refused(self):
        file = (DATA / "photo.png").read_bytes()
        for what, wrong, error, words in [
            ("text", b"This is not a photo.", pyfcn.UnsupportedFormatError, "the image is neither a JPEG nor a PNG file"),
            ("nothing", b"", pyfcn.UnsupportedFormatError, "the image is empty"),
            ("the half", file[: len(file) // 2], pyfcn.FileError, "the image is damaged"),
        ]:
            with self.subTest(what), self.assertRaisesRegex(error, words):
                pyfcn.decode_image(wrong)
        with self.assertRaises(TypeError):
            pyfcn.decode_image("photo.png")
        with self.assertRaisesRegex(pyfcn.FileError, "missing.png"):
            pyfcn.read_image("missing.png")

    def test_other_objects_are_refused_with_a_reason(self):
        whole = image(40, 50, 3)
        for what, wrong, error, words in [
            ("float", whole / 255.0, TypeError, "uint8"),
            ("int8", whole.astype(np.int8), TypeError, "int8"),
            ("bool", whole > 3, TypeError, "bool"),
            ("uint16 in colour", whole.astype(np.uint16), pyfcn.InvalidArgumentError, r"\(40, 50, 3\)"),
            ("uint32", whole[..., 0].astype(np.uint32), TypeError, "uint32"),
            ("one dimension", whole.ravel(), pyfcn.InvalidArgumentError, r"\(6000\)"),
            ("four dimensions", whole[None], pyfcn.InvalidArgumentError, r"\(1, 40, 50, 3\)"),
            ("channels first", whole.transpose(2, 0, 1), pyfcn.InvalidArgumentError, r"\(3, 40, 50\)"),
            ("two channels", whole[..., :2], pyfcn.InvalidArgumentError, r"\(40, 50, 2\)"),
            ("no rows", whole[:0], pyfcn.InvalidArgumentError, r"\(0, 50, 3\)"),
            ("no columns", whole[:, :0], pyfcn.InvalidArgumentError, r"\(40, 0, 3\)"),
            ("a path", "photo.jpg", TypeError, "str"),
            ("None", None, TypeError, "NoneType"),
            ("a number", 3, TypeError, "int"),
            ("a list of numbers", [1, 2, 3], pyfcn.InvalidArgumentError, "planes"),
        ]:
            with self.subTest(what), self.assertRaisesRegex(error, words):
                labels(wrong)
        with self.assertRaisesRegex(TypeError, "uint16"):
            labels(whole[..., 0], "GRAY16")
        with self.assertRaisesRegex(TypeError, "uint8"):
            labels(whole[..., 0].astype(np.uint16), "GRAY8")
        for format in ["RGBA", "GRAY8"]:
            with self.assertRaisesRegex(pyfcn.InvalidArgumentError, "shape"):
                labels(whole, format)
        with self.assertRaisesRegex(pyfcn.UnsupportedFormatError, "BayerRG8"):
            labels(whole, "BayerRG8")
        with self.assertRaisesRegex(pyfcn.InvalidArgumentError, "has a format"):
            labels(pyfcn.Frame(whole), "BGR")


if __name__ == "__main__":
    unittest.main()
