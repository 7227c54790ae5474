"""Masks: outputs, settings, measurements and drawing."""

import gc
import os
import pathlib
import tempfile
import unittest

import numpy as np
import PIL.Image
import pyfcn

from common import DATA, image, segmenter

S = segmenter()
ALL = {"confidence": True, "confidence_u8": True, "margin": True, "scores": True}


class Outputs(unittest.TestCase):
    def test_arrays_are_rusts(self):
        pixels = np.fromfile(DATA / "RGB8.frame", np.uint8).reshape(61, 90, 3)
        mask = S.segment(pixels, **ALL)
        self.assertEqual((mask.width, mask.height), (90, 61))
        for name, dtype, shape in [
            ("labels", np.uint8, (61, 90)),
            ("confidence", np.float32, (61, 90)),
            ("confidence_u8", np.uint8, (61, 90)),
            ("margin", np.float32, (61, 90)),
            ("scores", np.float32, (5, 61, 90)),
        ]:
            values = getattr(mask, name)
            expected = np.fromfile(DATA / f"RGB8.{name}", dtype).reshape(shape)
            self.assertEqual(values.dtype, dtype)
            np.testing.assert_array_equal(values, expected, name)
            self.assertFalse(values.flags.writeable)
            with self.assertRaises(ValueError):
                values[0, 0] = 1
        counts = np.bincount(mask.labels.ravel(), minlength=5)
        self.assertEqual(mask.pixels.dtype, np.uint64)
        np.testing.assert_array_equal(mask.pixels, counts)
        self.assertEqual(mask.not_finite, 0)
        self.assertEqual(mask.working_size, (96, 64))
        timings = mask.timings
        self.assertGreaterEqual(timings.total, timings.inference)
        self.assertGreater(timings.inference, 0)

    def test_outputs_that_were_not_selected_are_none(self):
        for chosen in ALL:
            mask = S.segment(image(20, 30, 3), **{chosen: True})
            self.assertEqual([name for name in ALL if getattr(mask, name) is not None], [chosen])

    def test_arrays_stay_valid_when_frames_and_masks_go(self):
        photos = [image(40, 50, 3, seed=seed) for seed in range(4)]
        kept = []
        for photo in photos:
            mask = S.segment(photo, **ALL)
            kept.append([getattr(mask, name) for name in ("labels", *ALL)] + [mask.pixels])
        copies = [[values.copy() for values in arrays] for arrays in kept]
        del mask
        for _ in range(50):
            S.segment(image(40, 50, 3, seed=99), **ALL)
        gc.collect()
        for arrays, before in zip(kept, copies):
            for values, copy in zip(arrays, before):
                np.testing.assert_array_equal(values, copy)
        self.assertFalse(np.array_equal(kept[0][0], kept[1][0]))
        self.assertFalse(np.shares_memory(kept[0][0], kept[1][0]))


class Settings(unittest.TestCase):
    photo = image(40, 50, 3)

    def test_threshold(self):
        plain = S.segment(self.photo, confidence=True)
        middle = float(np.median(plain.confidence))
        mask = S.segment(self.photo, threshold=middle)
        np.testing.assert_array_equal(mask.labels, np.where(plain.confidence < np.float32(middle), 255, plain.labels))
        self.assertTrue((mask.labels == 255).any() and (mask.labels != 255).any())

    def test_classes_by_index_and_by_name(self):
        names = [c.name for c in S.classes]
        scores = S.segment(self.photo, scores=True).scores
        for chosen in ([1, 3], (3, 1), {names[1], 3}, [names[1], names[3]], np.array([1, 3])):
            mask = S.segment(self.photo, classes=chosen)
            np.testing.assert_array_equal(mask.labels, np.where(scores[3] > scores[1], 3, 1))
        for wrong, words in [([5], "class 5"), (["unicorn"], "unicorn"), ([], "no classes")]:
            with self.assertRaisesRegex(pyfcn.InvalidArgumentError, words):
                S.segment(self.photo, classes=wrong)
        with self.assertRaises(OverflowError):
            S.segment(self.photo, classes=[256])

    def test_remap_and_size(self):
        plain = S.segment(self.photo).labels
        table = [9, 8, 7, 6, 200]
        np.testing.assert_array_equal(S.segment(self.photo, remap=table).labels, np.array(table, np.uint8)[plain])
        with self.assertRaisesRegex(pyfcn.InvalidArgumentError, "4 labels"):
            S.segment(self.photo, remap=table[:4])
        mask = S.segment(self.photo, size=(20, 10))
        self.assertEqual(mask.labels.shape, (10, 20))
        self.assertEqual(S.segment(self.photo, size=(0, 10)).labels.shape, (10, 50))

    def test_specks_are_removed(self):
        smallest = lambda mask: min(region.pixels for region in mask.regions().values())
        plain, clean = S.segment(self.photo), S.segment(self.photo, min_region=60)
        self.assertFalse(np.array_equal(plain.labels, clean.labels))
        self.assertGreaterEqual(smallest(clean), 60)

    def test_smoothing_averages_the_frames_of_one_object(self):
        photos = [image(40, 50, 3, seed=seed) for seed in range(3)]
        smoothing = pyfcn.Smoothing(0.25)
        self.assertEqual(smoothing.share, 0.25)
        plain = [S.segment(photo, scores=True).scores for photo in photos]
        average = plain[0]
        kept = []
        for photo, scores in zip(photos, plain):
            average = 0.25 * scores + 0.75 * average
            mask = S.segment(photo, scores=True, smoothing=smoothing)
            kept.append((mask.scores, mask.scores.copy()))
            np.testing.assert_allclose(mask.scores, average, atol=1e-4)
        self.assertGreater(np.abs(average - plain[2]).max(), 0.01)
        smoothing.reset()
        np.testing.assert_array_equal(S.segment(photos[2], scores=True, smoothing=smoothing).scores, plain[2])
        for values, copy in kept:
            np.testing.assert_array_equal(values, copy)
        for share in (0.0, -1.0, 1.01, float("nan")):
            with self.assertRaisesRegex(pyfcn.InvalidArgumentError, "share"):
                pyfcn.Smoothing(share)
        pyfcn.Smoothing(1.0)


class Measurements(unittest.TestCase):
    def test_regions_are_what_numpy_counts(self):
        mask = S.segment(image(40, 50, 3), threshold=0.3)
        regions = mask.regions()
        self.assertEqual(sorted(regions), sorted(np.unique(mask.labels)))
        for label, region in regions.items():
            rows, columns = np.nonzero(mask.labels == label)
            self.assertEqual(region.pixels, len(rows))
            np.testing.assert_allclose(region.centroid, (columns.mean(), rows.mean()))
            x, y, width, height = region.bounds
            self.assertEqual((x, y, x + width - 1, y + height - 1),
                             (columns.min(), rows.min(), columns.max(), rows.max()))
        large = mask.regions(min_area=20)
        self.assertLess(sum(r.pixels for r in large.values()), sum(r.pixels for r in regions.values()))

    def test_contours_enclose_their_label(self):
        mask = S.segment(image(40, 50, 3))
        label = int(np.argmax(mask.pixels))
        contours = mask.contours(label)
        self.assertGreater(len(contours), 1)
        drawn = PIL.Image.new("L", (50, 40))
        for contour in contours:
            self.assertEqual((contour.points.dtype, contour.points.shape[1:]), (np.int32, (2,)))
            for x, y in contour.points:
                self.assertEqual(mask.labels[y, x], label)
            if contour.hole:
                self.assertFalse(contours[contour.parent].hole)
            drawn.putpixel(tuple(int(value) for value in contour.points[0]), 1)
        large = mask.contours(label, min_area=20)
        self.assertLess(len(large), len(contours))
        self.assertEqual(mask.contours(200), [])
        for wrong in (-1, 256):
            with self.assertRaises(OverflowError):
                mask.contours(wrong)


class Drawing(unittest.TestCase):
    photo = image(40, 50, 3)

    def test_overlay_blends_class_colours(self):
        mask = S.segment(self.photo)
        before = self.photo.copy()
        drawn = mask.overlay(self.photo, alpha=1.0)
        np.testing.assert_array_equal(self.photo, before)
        colors = np.array([c.display_color for c in S.classes], np.uint8)
        expected = np.where((mask.labels == S.background)[..., None], self.photo, colors[mask.labels])
        self.assertIsNotNone(S.background)
        np.testing.assert_array_equal(drawn, expected)
        bgr = mask.overlay(self.photo[..., ::-1], "BGR", alpha=1.0)
        np.testing.assert_array_equal(bgr[..., ::-1], expected)
        np.testing.assert_array_equal(mask.overlay(PIL.Image.fromarray(self.photo), alpha=1.0), expected)
        in_place = self.photo.copy()
        self.assertIsNone(mask.draw(in_place, alpha=1.0))
        np.testing.assert_array_equal(in_place, expected)
        # A part of a larger image, in place.
        wide = np.zeros((44, 60, 3), np.uint8)
        wide[2:42, 3:53] = self.photo
        mask.draw(wide[2:42, 3:53], alpha=1.0)
        np.testing.assert_array_equal(wide[2:42, 3:53], expected)
        self.assertEqual(int(wide[:2].sum() + wide[42:].sum() + wide[:, :3].sum() + wide[:, 53:].sum()), 0)

    def test_outline_and_legend_change_more(self):
        mask = S.segment(self.photo)
        seen = {mask.overlay(self.photo, outline=outline, legend=legend).tobytes()
                for outline in (0, 1) for legend in (False, True)}
        self.assertEqual(len(seen), 4)

    def test_images_that_cannot_be_drawn_into(self):
        mask = S.segment(self.photo)
        frozen = self.photo.copy()
        frozen.flags.writeable = False
        for what, wrong, words in [
            ("read-only", frozen, "read-only"),
            ("upside down", self.photo.copy()[::-1], "top to bottom"),
            ("mirrored", self.photo.copy()[:, ::-1], "left to right"),
            ("every second column", np.zeros((40, 100, 3), np.uint8)[:, ::2], "gaps"),
            ("another size", self.photo[:39].copy(), "40 rows"),
        ]:
            with self.subTest(what), self.assertRaisesRegex(pyfcn.InvalidArgumentError, words):
                mask.draw(wrong)
        with self.assertRaises(pyfcn.UnsupportedFormatError):
            mask.draw(self.photo[..., 0].copy())
        with self.assertRaisesRegex(pyfcn.InvalidArgumentError, "alpha"):
            mask.overlay(self.photo, alpha=1.5)
        with self.assertRaises(TypeError):
            mask.draw(bytearray(6000))
        # Reversed channels are the other format, in place.
        bgr = self.photo[..., ::-1].copy()
        mask.draw(bgr[..., ::-1], alpha=1.0)
        np.testing.assert_array_equal(bgr[..., ::-1], mask.overlay(self.photo, alpha=1.0))

    def test_png_holds_the_labels_and_colours(self):
        mask = S.segment(self.photo)
        with tempfile.TemporaryDirectory() as folder:
            for path in (os.path.join(folder, "text.png"), pathlib.Path(folder, "path.png")):
                mask.write_png(path)
                read = PIL.Image.open(path)
                self.assertEqual(read.mode, "P")
                np.testing.assert_array_equal(np.asarray(read), mask.labels)
                for index, c in enumerate(S.classes):
                    self.assertEqual(tuple(read.getpalette()[3 * index :][:3]), c.color)
                self.assertEqual(mask.encode_png(), pathlib.Path(path).read_bytes())
            with self.assertRaisesRegex(pyfcn.FileError, "missing"):
                mask.write_png(os.path.join(folder, "missing", "labels.png"))


if __name__ == "__main__":
    unittest.main()
