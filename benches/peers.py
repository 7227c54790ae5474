"""Runs one peer of the benchmark in this process and prints its measurements as JSON.

    peers.py PEER JOB      JOB is JSON: {model, frame, height, width, threads, seconds, mean, std, stride,
                           labels}, optionally device (cpu or cuda) and half (PyTorch in float16)

Each peer is a class: its constructor measures the time to create, and run() labels a frame. For rows with
"tensor in, scores out", the tensor is ready before the clock starts, and labels() runs after it has stopped.
"""

import json
import sys
import time
from pathlib import Path

import numpy

MAX_FRAMES = 500


class Job:
    device, half = "cpu", False

    def __init__(self, values):
        self.__dict__.update(values)
        self.frame = numpy.fromfile(self.frame, numpy.uint8).reshape(self.height, self.width, 3)
        self.mean = numpy.array(self.mean, numpy.float32)
        self.std = numpy.array(self.std, numpy.float32)
        # The network's input size: multiples of its stride.
        self.padded = tuple(-(-side // self.stride) * self.stride for side in (self.height, self.width))
        self.bottom, self.right = self.padded[0] - self.height, self.padded[1] - self.width

    def tensor(self):
        """The frame as the network's input: BGR HWC u8 => RGB NCHW float32, normalised, then padded with zeros."""
        image = (self.frame[..., ::-1].astype(numpy.float32) / 255 - self.mean) / self.std
        image = numpy.pad(image, [(0, self.bottom), (0, self.right), (0, 0)]) if self.bottom or self.right else image
        return numpy.ascontiguousarray(image.transpose(2, 0, 1)[None])

    def labels_of(self, scores):
        """C x H x W scores => labels of the frame."""
        return scores.argmax(0).astype(numpy.uint8)[: self.height, : self.width]


class Peer:
    def prepare(self):
        """Work that is done before the clock of the first frame starts."""

    def first(self):
        self.run()

    def labels(self):
        return self.result


class OnnxRuntime(Peer):
    """Tensor in, scores out, both bound: no allocation or copy per frame."""

    def __init__(self, job):
        import onnxruntime

        self.version = onnxruntime.__version__
        self.job = job
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = job.threads
        start = time.perf_counter()
        provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}[job.device]
        self.session = onnxruntime.InferenceSession(job.model, options, providers=[provider])
        self.create = time.perf_counter() - start
        if self.session.get_providers()[0] != provider:
            sys.exit(f"ONNX Runtime has no {provider} here")

    def prepare(self):
        self.tensor = self.job.tensor()

    def first(self):
        [self.scores] = self.session.run(None, {"image": self.tensor})
        self.binding = self.session.io_binding()
        name = self.session.get_outputs()[0].name
        self.binding.bind_input("image", "cpu", 0, numpy.float32, self.tensor.shape, self.tensor.ctypes.data)
        self.binding.bind_output(name, "cpu", 0, numpy.float32, self.scores.shape, self.scores.ctypes.data)

    def run(self):
        self.session.run_with_iobinding(self.binding)

    def labels(self):
        return self.job.labels_of(self.scores[0])


class OnnxRuntimeOnDevice(OnnxRuntime):
    """Tensor in, scores out, both in GPU memory: the network alone."""

    def first(self):
        import onnxruntime

        name = self.session.get_outputs()[0].name
        self.binding = self.session.io_binding()
        self.binding.bind_ortvalue_input("image", onnxruntime.OrtValue.ortvalue_from_numpy(self.tensor, self.job.device, 0))
        self.binding.bind_output(name, self.job.device, 0)
        self.run()

    def run(self):
        self.session.run_with_iobinding(self.binding)
        self.binding.synchronize_outputs()

    def labels(self):
        return self.job.labels_of(self.binding.get_outputs()[0].numpy()[0])


class OnnxRuntimeNumpy(OnnxRuntime):
    """Frame in, labels out, in straightforward numpy."""

    prepare, first, labels = Peer.prepare, Peer.first, Peer.labels

    def run(self):
        [scores] = self.session.run(None, {"image": self.job.tensor()})
        self.result = self.job.labels_of(scores[0])


class OpenVino(Peer):
    """Tensor in, scores out, in OpenVINO's own memory."""

    # The default is bfloat16 on some processors.
    precision = {"INFERENCE_PRECISION_HINT": "f32"}

    def __init__(self, job):
        import openvino

        self.version = openvino.__version__.split("-")[0]
        self.job = job
        start = time.perf_counter()
        core = openvino.Core()
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": job.threads,
            **self.precision,
        }
        self.request = core.compile_model(self.model(core), "CPU", settings).create_infer_request()
        self.create = time.perf_counter() - start

    def model(self, core):
        model = core.read_model(self.job.model)
        model.reshape([1, 3, *self.job.padded])
        return model

    def prepare(self):
        self.request.get_input_tensor().data[:] = self.job.tensor()

    def run(self):
        self.request.infer()

    def labels(self):
        return self.job.labels_of(self.request.get_output_tensor().data[0])


class OpenVinoFrame(OpenVino):
    """Frame in, labels out; colours and normalisation are part of the compiled graph (PrePostProcessor)."""

    prepare, labels = Peer.prepare, Peer.labels

    def model(self, core):
        from openvino import Layout, Type
        from openvino.preprocess import ColorFormat, PaddingMode, PrePostProcessor

        job = self.job
        build = PrePostProcessor(super().model(core))
        tensor = build.input().tensor()
        tensor.set_element_type(Type.u8).set_layout(Layout("NHWC")).set_color_format(ColorFormat.BGR)
        tensor.set_shape([1, job.height, job.width, 3])
        steps = build.input().preprocess()
        steps.convert_element_type(Type.f32).convert_color(ColorFormat.RGB)
        steps.mean((255 * job.mean).tolist()).scale((255 * job.std).tolist())
        if job.bottom or job.right:
            steps.pad([0, 0, 0, 0], [0, job.bottom, job.right, 0], 0.0, PaddingMode.CONSTANT)
        build.input().model().set_layout(Layout("NCHW"))
        return build.build()

    def run(self):
        import openvino

        self.request.set_input_tensor(openvino.Tensor(self.job.frame[None], shared_memory=True))
        self.request.infer()
        self.result = OpenVino.labels(self)


class OpenVinoDefault(OpenVinoFrame):
    """The same in the precision that OpenVINO chooses."""

    precision = {}


class Ncnn(Peer):
    """Frame in, labels out: its own conversion and normalisation, Winograd (its default), numpy's argmax."""

    exact = True

    def __init__(self, job):
        import ncnn

        self.ncnn = ncnn
        self.version = ncnn.__version__
        self.job = job
        model = Path(job.model)
        stem = model.parent / "ncnn" / (model.stem.replace("-", "_") + ".ncnn")
        start = time.perf_counter()
        self.net = ncnn.Net()
        self.net.opt.num_threads = job.threads
        if self.exact:
            # float32
            self.net.opt.use_fp16_packed = self.net.opt.use_fp16_storage = self.net.opt.use_fp16_arithmetic = False
            self.net.opt.use_bf16_storage = self.net.opt.use_bf16_packed = False
        for status in (self.net.load_param(f"{stem}.param"), self.net.load_model(f"{stem}.bin")):
            if status != 0:
                sys.exit(f"ncnn cannot load {stem}")
        self.create = time.perf_counter() - start
        # (v - mean) * norm, for v from 0 to 255
        self.mean = (255 * job.mean).tolist()
        self.norm = (1 / (255 * job.std)).tolist()

    def run(self):
        ncnn, job = self.ncnn, self.job
        image = ncnn.Mat.from_pixels(job.frame, ncnn.Mat.PixelType.PIXEL_BGR2RGB, job.width, job.height)
        image.substract_mean_normalize(self.mean, self.norm)
        if job.bottom or job.right:
            image = ncnn.copy_make_border(image, 0, job.bottom, 0, job.right, ncnn.BorderType.BORDER_CONSTANT, 0.0)
        extractor = self.net.create_extractor()
        extractor.input("in0", image)
        _, scores = extractor.extract("out0")
        self.result = job.labels_of(numpy.array(scores, copy=False))


class NcnnDefault(Ncnn):
    """The same with ncnn's own choice of storage and arithmetic."""

    exact = False


class OpenCv(Peer):
    """Frame in, labels out: blobFromImage and the dnn module, numpy's argmax."""

    def __init__(self, job):
        import cv2

        self.cv2 = cv2
        self.version = cv2.__version__
        self.job = job
        cv2.setNumThreads(job.threads)
        start = time.perf_counter()
        self.net = cv2.dnn.readNetFromONNX(job.model)
        self.net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
        self.net.setPreferableTarget(cv2.dnn.DNN_TARGET_CPU)
        self.create = time.perf_counter() - start
        self.parameters = cv2.dnn.Image2BlobParams()
        self.parameters.scalefactor = (1 / (255 * job.std)).tolist()
        self.parameters.mean = (255 * job.mean).tolist()
        self.parameters.swapRB = True

    def run(self):
        job = self.job
        blob = self.cv2.dnn.blobFromImageWithParams(job.frame, self.parameters)
        if job.bottom or job.right:
            blob = numpy.pad(blob, [(0, 0), (0, 0), (0, job.bottom), (0, job.right)])
        self.net.setInput(blob)
        self.result = job.labels_of(self.net.forward()[0])


class PyTorch(Peer):
    """Frame in, labels out: eager mode, channels last, inference mode, folded batch normalisation."""

    autocast = False

    def __init__(self, job):
        import torch
        from torch_network import Network

        self.torch = torch
        self.version = torch.__version__
        self.job = job
        torch.set_num_threads(job.threads)
        self.kind = torch.float16 if job.half else torch.float32
        start = time.perf_counter()
        self.net = Network(job.model).eval().to(job.device, self.kind, memory_format=torch.channels_last)
        self.create = time.perf_counter() - start
        self.mean = torch.tensor(255 * job.mean, device=job.device).view(1, 3, 1, 1)
        self.std = torch.tensor(255 * job.std, device=job.device).view(1, 3, 1, 1)

    def run(self):
        torch, job = self.torch, self.job
        with torch.inference_mode(), torch.autocast(job.device, torch.bfloat16, enabled=self.autocast):
            # HWC => NCHW as a view is channels last; BGR => RGB.
            image = torch.from_numpy(job.frame).to(job.device).permute(2, 0, 1)[None].flip(1).float()
            image = ((image - self.mean) / self.std).to(self.kind)
            image = torch.nn.functional.pad(image, (0, job.right, 0, job.bottom))
            scores = self.net(image.contiguous(memory_format=torch.channels_last))
            self.result = scores[0, :, : job.height, : job.width].argmax(0).to(torch.uint8).cpu().numpy()


class PyTorchAutocast(PyTorch):
    """The same with bfloat16 where PyTorch considers it safe."""

    autocast = True


PEERS = {
    "ort": OnnxRuntime,
    "ort-device": OnnxRuntimeOnDevice,
    "ort-numpy": OnnxRuntimeNumpy,
    "openvino-whole": OpenVino,
    "openvino": OpenVinoFrame,
    "openvino-default": OpenVinoDefault,
    "ncnn": Ncnn,
    "ncnn-default": NcnnDefault,
    "opencv": OpenCv,
    "pytorch": PyTorch,
    "pytorch-autocast": PyTorchAutocast,
}


def peak_memory():
    """The process's peak memory in KiB."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def timed(call):
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)


def main():
    job = Job(json.loads(sys.argv[2]))
    peer = PEERS[sys.argv[1]](job)
    peer.prepare()
    first = timed(peer.first)
    # As in examples/bench.c: a warm-up of a tenth of the time.
    begin = time.perf_counter()
    while True:
        peer.run()
        if time.perf_counter() - begin >= job.seconds / 10:
            break
    frames, end = [], time.perf_counter() + job.seconds
    while not frames or (time.perf_counter() < end and len(frames) < MAX_FRAMES):
        frames.append(timed(peer.run))
    peak = peak_memory()
    peer.labels().tofile(job.labels)
    print(json.dumps({
        "version": peer.version, "create": 1000 * peer.create, "first": first, "peak": peak, "frames": frames}))


if __name__ == "__main__":
    main()
