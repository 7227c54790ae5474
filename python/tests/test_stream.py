"""Streams: callback, polling, iterators, asyncio, and the end of the interpreter."""

import asyncio
import gc
import subprocess
import sys
import textwrap
import threading
import unittest
import weakref

import numpy as np
import pyfcn

from common import MODEL, image, segmenter

S = segmenter()
PHOTOS = [image(40, 50, 3, seed=seed) for seed in range(6)]
LABELS = [S.segment(photo).labels.copy() for photo in PHOTOS]
#: Something has to come within this time, in seconds; no test judges time.
LONG = 60


class Callback(unittest.TestCase):
    def test_results_come_with_what_was_pushed(self):
        came = threading.Semaphore(0)
        results = []

        def receive(result):
            results.append((result.mask.labels, result.timestamp, result.user, result.error, threading.get_ident()))
            came.release()

        with pyfcn.Stream(S, receive) as stream:
            for number, photo in enumerate(PHOTOS):
                user = {"number": number}
                stream.push(photo, number, user)
                self.assertTrue(came.acquire(timeout=LONG))
        self.assertEqual(stream.counters, (6, 0, 6, 0, 0))
        self.assertEqual(stream.counters.done, 6)
        for number, (labels, timestamp, user, error, thread) in enumerate(results):
            # Masks are valid after the callback and after later frames.
            np.testing.assert_array_equal(labels, LABELS[number])
            self.assertEqual((timestamp, user, error), (number, {"number": number}, None))
            self.assertNotEqual(thread, threading.get_ident())
        with self.assertRaises(pyfcn.CancelledError):
            stream.push(PHOTOS[0])
        for fetch in (stream.poll, stream.wait, lambda: iter(stream), stream.__aiter__):
            with self.assertRaisesRegex(pyfcn.InvalidArgumentError, "callback"):
                fetch()

    def test_the_callback_may_stop_the_stream(self):
        done = threading.Event()

        def receive(result):
            stream.stop()
            done.set()

        stream = pyfcn.Stream(S, receive)
        stream.push(PHOTOS[0])
        self.assertTrue(done.wait(LONG))
        stream.stop()
        self.assertEqual(stream.counters.done, 1)

    def test_exceptions_go_to_the_unraisable_hook(self):
        caught, came = [], threading.Event()

        def hook(unraisable):
            caught.append((unraisable.exc_type, unraisable.object))
            came.set()

        def receive(result):
            raise LookupError("from the callback")

        before, sys.unraisablehook = sys.unraisablehook, hook
        try:
            with pyfcn.Stream(S, receive) as stream:
                stream.push(PHOTOS[0])
                self.assertTrue(came.wait(LONG))
                came.clear()
                stream.push(PHOTOS[1])
                self.assertTrue(came.wait(LONG))
        finally:
            sys.unraisablehook = before
        self.assertEqual(caught, [(LookupError, receive)] * 2)

    def test_late_frames_are_errors(self):
        came, errors = threading.Event(), []

        def receive(result):
            errors.append(result.error)
            try:
                result.mask
            except pyfcn.TimeoutError as error:
                errors.append(error)
            came.set()

        with pyfcn.Stream(S, receive, deadline=1e-9) as stream:
            stream.push(PHOTOS[0])
            self.assertTrue(came.wait(LONG))
            self.assertIs(errors[0], errors[1])
            self.assertIsInstance(errors[0], TimeoutError)
            self.assertEqual(stream.counters.late, 1)
            came.clear()
            stream.set_deadline(None)
            stream.push(PHOTOS[0])
            self.assertTrue(came.wait(LONG))
            self.assertIsNone(errors[2])

    def test_a_stream_and_its_callback_that_know_each_other_are_collected(self):
        class Camera:
            def __init__(self):
                self.stream = pyfcn.Stream(S, self.receive)

            def receive(self, result):
                pass

        camera = Camera()
        camera.stream.push(PHOTOS[0])
        gone = weakref.ref(camera)
        del camera
        for _ in range(100):
            gc.collect()
            if gone() is None:
                break
            # The callback is running, and holds the camera.
            threading.Event().wait(0.05)
        self.assertIsNone(gone())
        # The near-miss: one that is still referenced stays.
        camera = Camera()
        gone = weakref.ref(camera)
        gc.collect()
        self.assertIs(gone(), camera)
        camera.stream.stop()


class Fetched(unittest.TestCase):
    def test_poll_and_wait(self):
        stream = pyfcn.Stream(S, confidence=True, threshold=0.5)
        self.assertIsNone(stream.poll())
        self.assertIsNone(stream.wait(0.001))
        expected = S.segment(PHOTOS[0], confidence=True, threshold=0.5)
        stream.push(PHOTOS[0], -7, "user")
        result = stream.wait(LONG)
        np.testing.assert_array_equal(result.mask.labels, expected.labels)
        np.testing.assert_array_equal(result.mask.confidence, expected.confidence)
        self.assertEqual((result.timestamp, result.user, result.error), (-7, "user", None))
        self.assertIsNone(stream.poll())
        stream.push(PHOTOS[1])
        while stream.counters.done < 2:
            pass
        stream.stop()
        # The last result can still be fetched.
        self.assertIsNotNone(stream.wait().mask)
        with self.assertRaises(pyfcn.CancelledError):
            stream.poll()
        for wrong in (-1.0, float("inf"), float("nan")):
            with self.assertRaises(pyfcn.InvalidArgumentError):
                stream.wait(wrong)

    def test_pushes_that_cannot_succeed_are_refused(self):
        with pyfcn.Stream(S) as stream:
            with self.assertRaises(pyfcn.InvalidArgumentError):
                stream.push(PHOTOS[0][:, :, :2])
            with self.assertRaises(TypeError):
                stream.push("photo.jpg")
            self.assertEqual(stream.counters.pushed, 0)

    def test_frames_are_copied_or_kept(self):
        for copy in (True, False):
            with pyfcn.Stream(S) as stream:
                for photo, labels in zip(PHOTOS, LABELS):
                    pixels = photo.copy()
                    stream.push(pixels[::-1], copy=copy)
                    if copy:
                        pixels[:] = 0
                    del pixels
                    np.testing.assert_array_equal(stream.wait(LONG).mask.labels, S.segment(photo[::-1]).labels)

    def test_smoothing_stays_with_the_stream(self):
        smoothing = pyfcn.Smoothing(0.25)
        with pyfcn.Stream(S, smoothing=0.25, scores=True) as stream:
            for photo in PHOTOS:
                stream.push(photo)
                expected = S.segment(photo, scores=True, smoothing=smoothing)
                np.testing.assert_array_equal(stream.wait(LONG).mask.scores, expected.scores)
        self.assertFalse(np.array_equal(expected.scores, S.segment(PHOTOS[-1], scores=True).scores))

    def test_iteration_ends_with_the_stream(self):
        stream = pyfcn.Stream(S)
        stream.push(PHOTOS[0], 0)
        seen = []
        for result in stream:
            np.testing.assert_array_equal(result.mask.labels, LABELS[result.timestamp])
            seen.append(result.timestamp)
            if len(seen) == len(PHOTOS):
                stream.stop()
            else:
                stream.push(PHOTOS[len(seen)], len(seen))
        self.assertEqual(seen, list(range(len(PHOTOS))))
        # Another thread ends a loop that waits.
        stream = pyfcn.Stream(S)
        thread = threading.Thread(target=lambda: seen.append(list(stream)))
        thread.start()
        stream.stop()
        thread.join(LONG)
        self.assertEqual(seen[-1], [])

    def test_late_frames_are_only_counted(self):
        with pyfcn.Stream(S, deadline=1e-9) as stream:
            stream.push(PHOTOS[0], 1)
            while stream.counters.late < 1:
                pass
            stream.set_deadline(None)
            stream.push(PHOTOS[1], 2)
            self.assertEqual(stream.wait(LONG).timestamp, 2)


class Asyncio(unittest.TestCase):
    def test_async_for(self):
        async def main():
            seen = []
            stream = pyfcn.Stream(S)
            stream.push(PHOTOS[0], 0)
            async for result in stream:
                np.testing.assert_array_equal(result.mask.labels, LABELS[result.timestamp])
                seen.append(result.timestamp)
                if len(seen) == len(PHOTOS):
                    stream.stop()
                else:
                    stream.push(PHOTOS[len(seen)], len(seen))
            return seen

        self.assertEqual(asyncio.run(main()), list(range(len(PHOTOS))))

    def test_the_loop_runs_while_it_waits(self):
        async def main():
            stream = pyfcn.Stream(S)

            async def consume():
                return [result.timestamp async for result in stream]

            task = asyncio.ensure_future(consume())
            for _ in range(3):
                await asyncio.sleep(0)
            self.assertFalse(task.done())
            stream.push(PHOTOS[0], 5)
            while stream.counters.done < 1:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.001)
            stream.stop()
            return await asyncio.wait_for(task, LONG)

        self.assertEqual(asyncio.run(main()), [5])

    def test_a_task_that_waits_can_be_cancelled(self):
        async def main():
            with pyfcn.Stream(S) as stream:
                with self.assertRaises(asyncio.TimeoutError):
                    await asyncio.wait_for(stream.__aiter__().__anext__(), 0.01)
                # What it left behind wakes nobody.
                stream.push(PHOTOS[0], 1)
                result = await asyncio.wait_for(stream.__aiter__().__anext__(), LONG)
                self.assertEqual(result.timestamp, 1)
                return stream

        stream = asyncio.run(main())
        self.assertEqual(stream.counters.done, 1)

    def test_a_loop_that_was_closed_is_left_alone(self):
        with pyfcn.Stream(S) as stream:
            loop = asyncio.new_event_loop()
            task = loop.create_task(stream.__aiter__().__anext__())
            loop.run_until_complete(asyncio.sleep(0))
            task.cancel()
            loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
            loop.close()
            stream.push(PHOTOS[0], 3)
            self.assertEqual(stream.wait(LONG).timestamp, 3)


class End(unittest.TestCase):
    def run_code(self, code, expected):
        code = textwrap.dedent("""
            import pyfcn, numpy, sys, threading
            s = pyfcn.Segmenter(sys.argv[1], provider="cpu", threads=1)
            frame = numpy.zeros((40, 50, 3), numpy.uint8)
        """) + textwrap.dedent(code)
        for _ in range(3):
            run = subprocess.run([sys.executable, "-I", "-c", code, MODEL], capture_output=True, text=True, timeout=120)
            self.assertEqual((run.returncode, run.stdout, run.stderr), (0, expected, ""))

    def test_streams_that_run_end_with_the_interpreter(self):
        self.run_code("""
            came = threading.Event()
            def receive(result):
                came.set()
                try:
                    stream.push(frame)
                except pyfcn.CancelledError:
                    pass  # The stream was stopped meanwhile.
            stream = pyfcn.Stream(s, receive)
            stream.push(frame)
            polled = pyfcn.Stream(s)
            polled.push(frame)
            came.wait()
            print("ends")
        """, "ends\n")

    def test_a_stream_that_is_dropped_in_its_callback(self):
        self.run_code("""
            came = threading.Event()
            def receive(result):
                streams.clear()
                came.set()
            streams = [pyfcn.Stream(s, receive)]
            streams[0].push(frame)
            came.wait()
            print("ends")
        """, "ends\n")


if __name__ == "__main__":
    unittest.main()
