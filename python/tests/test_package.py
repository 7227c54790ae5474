"""The package as a whole: the manual's code, the stubs, docstrings, what is installed."""

import ast
import contextlib
import importlib.metadata
import inspect
import io
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import unittest

import pyfcn

from common import DATA, MODEL

PACKAGE = pathlib.Path(pyfcn.__file__).parent
CLASSES = [pyfcn.Frame, pyfcn.Mask, pyfcn.Segmenter, pyfcn.Smoothing, pyfcn.Stream, pyfcn.StreamResult]
FUNCTIONS = [pyfcn.decode_image, pyfcn.read_image]

#: The docstrings' sentences that are in fcn.h, word by word.
SENTENCES_OF_THE_HEADER = 52


class Manual(unittest.TestCase):
    def test_its_code_runs(self):
        text = (DATA / "python.md").read_text()
        blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        self.assertGreater(len(blocks), 8)
        before = os.getcwd()
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as printed:
            for file in ("street.onnx", "photo.png"):
                shutil.copy(DATA / file, folder)
            os.chdir(folder)
            try:
                names = {"__name__": "manual"}
                for block in blocks:
                    try:
                        exec(compile(block, "python.md", "exec"), names)
                    except Exception as error:
                        self.fail(f"{error!r} in\n{block}")
            finally:
                os.chdir(before)
            self.assertEqual({"overlay.png", "labels.png"} - set(os.listdir(folder)), set())
        self.assertIn("(360, 480)", printed.getvalue())


class Stubs(unittest.TestCase):
    def parameters(self, function):
        """Names, kinds and defaults of a function in the stubs."""
        arguments = function.args
        positional = arguments.posonlyargs + arguments.args
        defaults = [inspect.Parameter.empty] * (len(positional) - len(arguments.defaults))
        defaults += [ast.literal_eval(default) for default in arguments.defaults]
        found = [(one.arg, False, default) for one, default in zip(positional, defaults)]
        for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults):
            found.append((one.arg, True, inspect.Parameter.empty if default is None else ast.literal_eval(default)))
        return found[1:]

    def test_they_have_the_modules_classes_and_signatures(self):
        tree = ast.parse((PACKAGE / "_pyfcn.pyi").read_text())
        stubs = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        self.assertEqual(set(stubs), {c.__name__ for c in CLASSES})
        functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        self.assertEqual({name for name in functions if not name.startswith("_")}, {f.__name__ for f in FUNCTIONS})
        for function in FUNCTIONS:
            stub = functions[function.__name__]
            self.assertEqual([one.arg for one in stub.args.args], list(inspect.signature(function).parameters))
        compared = 0
        for c in CLASSES:
            stub = {node.name: node for node in stubs[c.__name__].body if isinstance(node, ast.FunctionDef)}
            public = {name for name in vars(c) if not name.startswith("_")}
            self.assertEqual({name for name in stub if not name.startswith("_")}, public)
            for name, node in stub.items():
                is_property = any(getattr(one, "id", "") == "property" for one in node.decorator_list)
                self.assertEqual(is_property, inspect.isdatadescriptor(getattr(c, name)), f"{c.__name__}.{name}")
                if is_property or (name.startswith("__") and name != "__new__"):
                    continue
                signature = inspect.signature(c if name == "__new__" else getattr(c, name))
                real = [
                    (one.name, one.kind == one.KEYWORD_ONLY, one.default)
                    for one in signature.parameters.values()
                    if one.name != "self"
                ]
                self.assertEqual(self.parameters(node), real, f"{c.__name__}.{name}")
                compared += 1
        self.assertGreater(compared, 15)

    def test_the_signature_of_segmenter_has_every_option(self):
        from test_segmenter import OPTIONS

        names = list(inspect.signature(pyfcn.Segmenter).parameters)
        self.assertEqual(set(names[1:]), set(OPTIONS))

    def test_the_package_says_that_it_is_typed(self):
        self.assertTrue((PACKAGE / "py.typed").is_file())


class Docstrings(unittest.TestCase):
    def test_every_public_name_has_one(self):
        for name in pyfcn.__all__:
            if name not in ("UNKNOWN", "__version__"):
                self.assertTrue(inspect.getdoc(getattr(pyfcn, name)), name)
        for c in CLASSES:
            for name, member in vars(c).items():
                if not name.startswith("_"):
                    self.assertTrue(inspect.getdoc(member), f"{c.__name__}.{name}")

    def test_they_name_every_argument(self):
        for c, function in [(pyfcn.Frame, pyfcn.Frame), (pyfcn.Segmenter, pyfcn.Segmenter), (pyfcn.Stream, pyfcn.Stream),
                            (pyfcn.Segmenter, pyfcn.Segmenter.segment), (pyfcn.Mask, pyfcn.Mask.draw),
                            (pyfcn.Stream, pyfcn.Stream.push), (pyfcn.Smoothing, pyfcn.Smoothing)]:
            text = inspect.getdoc(function)
            documented = {name for line in re.findall(r"^([a-z_0-9, ]+):$", text, re.MULTILINE) for name in line.split(", ")}
            if "confidence and others" in text:
                shared = set(inspect.signature(pyfcn.Segmenter.segment).parameters) - {"self", "frame", "format", "smoothing"}
                documented = documented - {"confidence and others"} | shared
            expected = set(inspect.signature(function).parameters) - {"self"}
            self.assertEqual(documented, expected, function)

    def test_sentences_of_the_header_are_the_same(self):
        def plain(text):
            return " ".join(re.sub(r"[/*`]+", " ", text).split())

        header = plain((DATA / "fcn.h").read_text())
        sentences = []
        for c in [*CLASSES, *(getattr(pyfcn, name) for name in pyfcn.__all__ if name.endswith("Error"))]:
            members = [member for name, member in vars(c).items() if not (name.startswith("_") or isinstance(member, str))]
            for member in [c, *members]:
                sentences += [plain(one) for one in re.split(r"(?<=[.:])\s", inspect.getdoc(member) or "")]
        sentences = {one.rstrip(".:") for one in sentences if len(one) > 40}
        same = {one for one in sentences if one in header}
        # A sentence that is changed in one of them only lowers the number.
        self.assertEqual(len(same), SENTENCES_OF_THE_HEADER, sorted(sentences - same))


class Installation(unittest.TestCase):
    def test_nothing_of_a_checkout_is_used(self):
        self.assertIn("site-packages", str(PACKAGE))
        self.assertEqual(importlib.metadata.version("pyfcn"), pyfcn.__version__)
        requirements = importlib.metadata.requires("pyfcn")
        self.assertEqual({re.match(r"[a-z]+", one)[0] for one in requirements}, {"numpy", "onnxruntime"})
        self.assertNotIn("ORT_DYLIB_PATH", os.environ)
        files = {path.name for path in PACKAGE.iterdir()}
        self.assertIn("_pyfcn.pyi", files)
        self.assertIn("_pyfcn.abi3.so", files)

    def test_importing_takes_neither_onnxruntime_nor_pillow(self):
        code = "import sys, pyfcn; print([name for name in ('onnxruntime', 'PIL', 'asyncio') if name in sys.modules])"
        printed = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True).stdout
        self.assertEqual(printed, "[]\n")

    def test_nothing_is_printed(self):
        code = textwrap.dedent("""
            import pyfcn, numpy, sys
            for provider in ("auto", "cpu"):
                s = pyfcn.Segmenter(sys.argv[1], provider=provider, cache_dir=sys.argv[2])
                s.segment(numpy.zeros((40, 50, 3), numpy.uint8))
        """)
        with tempfile.TemporaryDirectory() as folder:
            run = subprocess.run([sys.executable, "-I", "-c", code, MODEL, folder], capture_output=True, text=True)
            self.assertNotEqual(os.listdir(folder), [])
        self.assertEqual((run.returncode, run.stdout, run.stderr), (0, "", ""))

    def test_without_onnxruntime_the_message_says_how_to_get_it(self):
        code = textwrap.dedent("""
            import pyfcn, pyfcn._runtime, sys
            pyfcn._runtime.find = lambda: None
            try:
                pyfcn.Segmenter(sys.argv[1])
            except pyfcn.OnnxRuntimeError as error:
                print(error)
        """)
        run = subprocess.run([sys.executable, "-I", "-c", code, MODEL], capture_output=True, text=True)
        self.assertIn("pip install onnxruntime", run.stdout + run.stderr)


if __name__ == "__main__":
    unittest.main()
