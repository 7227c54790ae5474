"""Makes pth/*: small state dicts as torch.save writes them, and what they hold, for the reader of .pth files.

Run in the project's folder: python trainer/tests/reference/pth.py
Made with torch 2.13.0.
"""

import json
from collections import OrderedDict
from pathlib import Path

import torch

folder = Path(__file__).with_suffix("")
folder.mkdir(exist_ok=True)
base = torch.arange(24, dtype=torch.float32) / 8 - 1
state = OrderedDict(
    plain=base.reshape(2, 3, 4),
    turned=base.reshape(2, 3, 4).permute(2, 0, 1),
    cut=base.reshape(4, 6)[1:, 1::2],
    channels_last=base.reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last),
    half=torch.tensor([[0.5, -2.0], [65504.0, 6e-8]], dtype=torch.float16).t(),
    bfloat16=torch.tensor([1.5, -3.0, 1e30], dtype=torch.bfloat16),
    double=torch.tensor([[1 / 3, 2 / 3, 1e300]], dtype=torch.float64),
    long=torch.tensor(-(2**53) + 1),
    int=torch.tensor([-7, 2**31 - 1], dtype=torch.int32),
    short=torch.tensor([-7, 300], dtype=torch.int16),
    char=torch.tensor([-7, 100], dtype=torch.int8),
    byte=torch.tensor([7, 200], dtype=torch.uint8),
    bool=torch.tensor([True, False, True]),
    empty=torch.zeros(0, 3),
    parameter=torch.nn.Parameter(base[:3].clone()),
)
# The modules' versions, which real state dicts have.
state._metadata = OrderedDict([("", {"version": 1})])
torch.save(state, folder / "zip.pth")
torch.save(state, folder / "old.pth", _use_new_zipfile_serialization=False)
torch.save({"epoch": 3, "loss": 0.25, "state_dict": {"w": base[:6].reshape(2, 3)}}, folder / "nested.pth")
expected = {
    name: {"kind": str(value.dtype), "shape": list(value.shape), "values": value.detach().flatten().tolist()}
    for name, value in state.items()
}
(folder / "expected.json").write_text(json.dumps(expected) + "\n")
