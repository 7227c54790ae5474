"""Segmenters: models, options, errors, threads, processes."""

import asyncio
import concurrent.futures
import copy
import logging
import multiprocessing
import os
import pickle
import subprocess
import sys
import tempfile
import textwrap
import threading
import unittest

import numpy as np
import pyfcn
import pyfcn._runtime

from common import DATA, MODEL, image, segmenter

PHOTO = image(40, 50, 3)
EXPECTED = segmenter().segment(PHOTO).labels.copy()

#: A value for each option that differs from its default.
OPTIONS = {
    "provider": "cpu",
    "device": 1,
    "openvino_device": "GPU",
    "precision": "fast",
    "threads": 2,
    "sessions": 2,
    "timeout": 30.5,
    "gpu_memory_limit": 1 << 30,
    "runtime_library": pyfcn._runtime.find(),
    "cache_dir": tempfile.gettempdir(),
    "size_mode": "pad",
    "native_side": 64,
    "mean": (0.1, 0.2, 0.3),
    "std": [1.0, 2.0, 3.0],
    "class_names": ["a", "b", "c", "d", "e"],
    "palette": "cityscapes",
    "scale": 1 / 128,
    "channel_order": "bgr",
    "input_layout": "nchw",
    "output": "scores",
    "output_layout": "nchw",
    "output_values": "logits",
    "multilabel": 0.5,
}


def label_in_process(s, pixels):
    return os.getpid(), s.segment(pixels).labels


class Models(unittest.TestCase):
    def test_paths_and_bytes(self):
        content = MODEL.read_bytes()
        for model in (MODEL, str(MODEL), content, bytearray(content), memoryview(content)):
            s = pyfcn.Segmenter(model, provider="cpu", threads=1)
            np.testing.assert_array_equal(s.segment(PHOTO).labels, EXPECTED)
        for model in (3, None, ["model.onnx"]):
            with self.assertRaisesRegex(TypeError, "path or bytes"):
                pyfcn.Segmenter(model)

    def test_properties(self):
        s = segmenter()
        self.assertEqual(len(s.classes), 5)
        name, color, display_color = s.classes[1]
        self.assertEqual(s.card["classes"][1]["name"], name)
        self.assertEqual(max(display_color), 160 + (95 * max(color) + 127) // 255)
        self.assertEqual((s.provider, s.provider_reason, s.precision, s.model_stride), ("cpu", "", "float32", 8))
        self.assertRegex(s.runtime_version, r"^1\.\d+\.\d+$")
        self.assertEqual(s.options, {"provider": "cpu", "threads": 1})
        self.assertIn("5 classes", repr(s))
        s.warm_up(64, 48)
        self.assertEqual(pyfcn.UNKNOWN, 255)

    def test_the_library_is_the_one_in_the_package(self):
        import onnxruntime

        self.assertEqual(segmenter().runtime_version, onnxruntime.__version__)
        self.assertEqual(os.path.dirname(pyfcn._runtime.find()), os.path.dirname(onnxruntime.__file__) + "/capi")

    def test_the_newest_library_is_found_and_no_other_file(self):
        with tempfile.TemporaryDirectory() as folder:
            find = lambda: pyfcn._runtime.find("some_runtime")
            sys.path.insert(0, folder)
            try:
                self.assertIsNone(find())
                capi = os.path.join(folder, "some_runtime", "capi")
                os.makedirs(capi)
                with open(os.path.join(folder, "some_runtime", "__init__.py"), "w") as file:
                    file.write("raise ImportError('finding the library must not import the package')\n")
                for name in ["libonnxruntime_providers_cuda.so", "libonnxruntime.so", "libonnxruntime.so.1.9.txt"]:
                    open(os.path.join(capi, name), "w").close()
                self.assertIsNone(find())
                for name in ["libonnxruntime.so.1.9.3", "libonnxruntime.so.1.32.0", "libonnxruntime.so.1.4.0"]:
                    open(os.path.join(capi, name), "w").close()
                self.assertEqual(find(), os.path.join(capi, "libonnxruntime.so.1.32.0"))
            finally:
                sys.path.remove(folder)


class Options(unittest.TestCase):
    def test_every_option_is_taken(self):
        # One at a time: some exclude each other. Those that do not suit this model say so.
        refused = {"palette": None, "multilabel": "multilabel"}
        for name, value in OPTIONS.items():
            with self.subTest(name):
                try:
                    s = pyfcn.Segmenter(MODEL, **{"provider": "cpu", "threads": 1, name: value})
                except pyfcn.InvalidArgumentError as error:
                    self.assertIn(name, refused, str(error))
                else:
                    self.assertEqual(s.options[name], value)
                    s.segment(PHOTO)
                # None is the default.
                pyfcn.Segmenter(MODEL, **{"provider": "cpu", "threads": 1, name: None})

    def test_options_change_what_they_say(self):
        names = segmenter(class_names=OPTIONS["class_names"]).classes
        self.assertEqual([c.name for c in names], OPTIONS["class_names"])
        for option, value in [("mean", (0.9, 0.9, 0.9)), ("std", (9, 9, 9)), ("scale", 1.0), ("channel_order", "bgr")]:
            s = segmenter(**{option: value})
            with self.subTest(option):
                self.assertFalse(np.array_equal(s.segment(PHOTO, scores=True).scores,
                                                segmenter().segment(PHOTO, scores=True).scores))
        for mode, working in [("pad", (56, 40)), (("resize", 32, 24), (32, 24)), (("resize", 0, 24), (56, 24)),
                              (("short_side", 80), (104, 80)), (("tile", 32, 24, 8), (32, 24)), ("auto", None)]:
            with self.subTest(mode):
                size = segmenter(size_mode=mode).segment(PHOTO).working_size
                self.assertIn(size, [working] if working else [size])

    def test_wrong_values_name_the_option(self):
        for name, value, error, words in [
            ("threadz", 1, TypeError, "unexpected keyword argument 'threadz'"),
            ("provider", "gpu", pyfcn.InvalidArgumentError, "gpu"),
            ("provider", 3, TypeError, "provider"),
            ("precision", "float16", pyfcn.InvalidArgumentError, "'exact' and 'fast'"),
            ("threads", 257, pyfcn.InvalidArgumentError, "257"),
            ("threads", -1, OverflowError, ""),
            ("threads", "2", TypeError, "threads"),
            ("sessions", 65, pyfcn.InvalidArgumentError, "65"),
            ("timeout", 0, pyfcn.InvalidArgumentError, "timeout"),
            ("timeout", -1, pyfcn.InvalidArgumentError, "-1 seconds"),
            ("timeout", float("nan"), pyfcn.InvalidArgumentError, "seconds"),
            ("size_mode", "crop", pyfcn.InvalidArgumentError, "'auto' or 'pad'"),
            ("size_mode", ("resize", 3), pyfcn.InvalidArgumentError, "size_mode"),
            ("size_mode", ("short_side", 0), pyfcn.InvalidArgumentError, "short side"),
            ("size_mode", ("tile", 32, 24, 24), pyfcn.InvalidArgumentError, "overlap"),
            ("channel_order", "RGB", pyfcn.InvalidArgumentError, "'rgb' or 'bgr'"),
            ("input_layout", "hwc", pyfcn.InvalidArgumentError, "input_layout"),
            ("output_values", "softmax", pyfcn.InvalidArgumentError, "'logits' or 'probabilities'"),
            ("palette", "ade", pyfcn.InvalidArgumentError, "ade"),
            ("mean", (1, 2), (TypeError, ValueError), "mean|length"),
            ("class_names", ["one"], pyfcn.InvalidArgumentError, "1 class name"),
        ]:
            with self.subTest(name, value=value), self.assertRaisesRegex(error, words):
                segmenter(**{name: value})

    def test_a_provider_that_is_missing_is_an_error(self):
        for provider in ("cuda", "tensorrt", "openvino"):
            with self.assertRaises(pyfcn.ProviderError):
                segmenter(provider=provider)
        s = segmenter(provider="auto")
        self.assertEqual(s.provider, "cpu")
        self.assertTrue(s.provider_reason)


class Errors(unittest.TestCase):
    def test_each_status_is_a_class(self):
        classes = [getattr(pyfcn, name) for name in pyfcn.__all__ if name.endswith("Error") and name != "Error"]
        header = (DATA / "fcn.h").read_text()
        statuses = {line.split()[0] for line in header.splitlines() if line.startswith("    FCN_ERROR_")}
        # Python has neither NULL nor a status for success.
        self.assertEqual({c.status for c in classes}, statuses - {"FCN_ERROR_NULL_ARGUMENT"})
        for c in classes:
            self.assertTrue(issubclass(c, pyfcn.Error))
        for c, builtin in [(pyfcn.InvalidArgumentError, ValueError), (pyfcn.FileError, OSError),
                           (pyfcn.TimeoutError, TimeoutError), (pyfcn.OutOfMemoryError, MemoryError)]:
            self.assertTrue(issubclass(c, builtin))

    def test_models_that_cannot_be_used(self):
        for model, error, words in [
            (str(MODEL) + ".missing", pyfcn.FileError, "model.onnx.missing"),
            (b"no model", pyfcn.ModelError, ""),
            (MODEL.read_bytes()[:-100], pyfcn.ModelError, ""),
            ("", pyfcn.FileError, "cannot be opened"),
        ]:
            with self.assertRaisesRegex(error, words):
                pyfcn.Segmenter(model)

    def test_another_library_is_refused(self):
        with self.assertRaisesRegex(pyfcn.OnnxRuntimeError, "already loaded"):
            segmenter(runtime_library="/nowhere/libonnxruntime.so")
        code = "import pyfcn, sys; pyfcn.Segmenter(sys.argv[1], runtime_library='/nowhere/libonnxruntime.so')"
        run = subprocess.run([sys.executable, "-I", "-c", code, MODEL], capture_output=True, text=True)
        self.assertIn("pyfcn._errors.OnnxRuntimeError: ONNX Runtime could not be loaded from /nowhere", run.stderr)

    def test_a_timeout_ends_a_call(self):
        s = segmenter(timeout=1e-9)
        with self.assertRaises(TimeoutError):
            s.segment(PHOTO)

    def test_messages_go_to_logging(self):
        with self.assertLogs("pyfcn", logging.INFO) as logs:
            segmenter(provider="auto")
        self.assertTrue(any("runs on the CPU" in line for line in logs.output), logs.output)
        with self.assertNoLogs("pyfcn", logging.WARNING) if hasattr(self, "assertNoLogs") else self.subTest():
            segmenter()


class Threads(unittest.TestCase):
    def test_one_segmenter_serves_many_threads(self):
        s = segmenter(sessions=2)
        photos = [image(40, 50, 3, seed=seed) for seed in range(8)]
        expected = [s.segment(photo).labels for photo in photos]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for _ in range(10):
                for mask, labels in zip(pool.map(s.segment, photos), expected):
                    np.testing.assert_array_equal(mask.labels, labels)

    def test_other_threads_run_during_a_call(self):
        # One session: the calls wait for each other, so only cancel() can end them early, and it
        # needs the interpreter while they hold it or not.
        s = segmenter(size_mode=("tile", 16, 16, 15))
        big = image(200, 200, 3)
        started, outcomes = threading.Event(), []

        def work():
            started.set()
            try:
                s.segment(big)
                outcomes.append("done")
            except pyfcn.CancelledError:
                outcomes.append("cancelled")

        thread = threading.Thread(target=work)
        thread.start()
        started.wait()
        while thread.is_alive():
            s.cancel()
        self.assertEqual(outcomes, ["cancelled"])
        np.testing.assert_array_equal(segmenter().segment(PHOTO).labels, EXPECTED)

    def test_asyncio_waits_in_a_thread(self):
        async def main():
            s = segmenter(sessions=2)
            run = asyncio.get_running_loop().run_in_executor
            return await asyncio.gather(*(run(None, s.segment, PHOTO) for _ in range(4)))

        for mask in asyncio.run(main()):
            np.testing.assert_array_equal(mask.labels, EXPECTED)

    def test_an_interpreter_that_ends_during_a_call(self):
        code = textwrap.dedent("""
            import pyfcn, numpy, sys, threading
            s = pyfcn.Segmenter(sys.argv[1], provider="cpu", threads=2, sessions=2)
            frame = numpy.zeros((300, 300, 3), numpy.uint8)
            started = threading.Semaphore(0)
            def work():
                while True:
                    s.segment(frame)
                    started.release()
            for _ in range(3):
                threading.Thread(target=work, daemon=True).start()
            for _ in range(10):
                started.acquire()
            print("ends")
        """)
        for _ in range(3):
            run = subprocess.run([sys.executable, "-I", "-c", code, MODEL], capture_output=True, text=True, timeout=120)
            self.assertEqual((run.returncode, run.stdout, run.stderr), (0, "ends\n", ""))


class Processes(unittest.TestCase):
    def test_pickles_hold_the_model_and_the_options(self):
        content = MODEL.read_bytes()
        options = {"provider": "cpu", "threads": 1, "class_names": OPTIONS["class_names"], "size_mode": ("tile", 32, 24, 8)}
        for model in (str(MODEL), content):
            s = pyfcn.Segmenter(model, **options)
            for again in (pickle.loads(pickle.dumps(s)), pickle.loads(pickle.dumps(s, 2)), copy.copy(s), copy.deepcopy(s)):
                self.assertIsNot(again, s)
                self.assertEqual((again.model, again.options), (model, options))
                np.testing.assert_array_equal(again.segment(PHOTO).labels, s.segment(PHOTO).labels)
        # A path is absolute, whatever the folder of the process that receives it.
        before = os.getcwd()
        os.chdir(MODEL.parent)
        try:
            s = pyfcn.Segmenter(MODEL.name, provider="cpu", threads=1)
        finally:
            os.chdir(before)
        self.assertEqual(pickle.loads(pickle.dumps(s)).model, str(MODEL))
        # Options that were changed in the dict that was passed or returned.
        s.options["threads"] = 7
        self.assertEqual(s.options["threads"], 1)

    def test_process_pools_receive_a_segmenter(self):
        s = segmenter()
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            process, labels = pool.submit(label_in_process, s, PHOTO).result()
        self.assertNotEqual(process, os.getpid())
        np.testing.assert_array_equal(labels, EXPECTED)

    def test_a_forked_child_creates_its_own(self):
        code = textwrap.dedent("""
            import os, pickle, pyfcn, numpy, sys
            s = pyfcn.Segmenter(sys.argv[1], provider="cpu", threads=2)
            frame = numpy.zeros((40, 50, 3), numpy.uint8)
            s.segment(frame)
            if os.fork() == 0:
                try:
                    s.segment(frame)
                except pyfcn.OnnxRuntimeError as error:
                    print("its parent's:", "cannot be used in its child" in str(error))
                print("its own:", pickle.loads(pickle.dumps(s)).segment(frame).labels.shape, flush=True)
                sys.exit(0)
            print("status", os.wait()[1])
        """)
        run = subprocess.run([sys.executable, "-I", "-W", "ignore", "-c", code, MODEL], capture_output=True, text=True,
                             timeout=120)
        self.assertEqual((run.stdout, run.stderr), ("its parent's: True\nits own: (40, 50)\nstatus 0\n", ""))

    def test_onnxruntimes_own_package_works_beside(self):
        for first in ("import onnxruntime", "pass"):
            code = textwrap.dedent(f"""
                {first}
                import pyfcn, numpy, sys
                s = pyfcn.Segmenter(sys.argv[1], provider="cpu", threads=1)
                import onnxruntime
                session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
                [given] = session.get_inputs()
                session.run(None, {{given.name: numpy.zeros((1, 3, 40, 56), numpy.float32)}})
                print(s.segment(numpy.zeros((40, 50, 3), numpy.uint8)).labels.shape)
            """)
            run = subprocess.run([sys.executable, "-I", "-c", code, MODEL], capture_output=True, text=True, timeout=120)
            self.assertEqual(run.stdout, "(40, 50)\n", run.stderr)


if __name__ == "__main__":
    unittest.main()
