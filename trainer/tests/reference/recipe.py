"""Makes recipe.json, the numbers that tests of augmentation, losses and AdamW compare with.

Run in the project's folder: python trainer/tests/reference/recipe.py
Made with torch 2.13.0, torchvision 0.28.0 and opencv-python 4.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torchvision.transforms.v2 import functional

torch.manual_seed(7)


def flat(tensor):
    return [round(value, 7) for value in tensor.flatten().tolist()]


def colors():
    """torchvision's changes of a picture of 6 x 9 random pixels, grey, black, white and pure colours among them."""
    image = torch.rand(3, 6, 9)
    for x, pixel in enumerate([(0, 0, 0), (1, 1, 1), (0.5, 0.5, 0.5), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0.2, 0.7, 0.7)]):
        image[:, 0, x] = torch.tensor(pixel)
    changes = [
        *(("brightness", factor, functional.adjust_brightness(image, factor)) for factor in [0.6, 1.4]),
        *(("contrast", factor, functional.adjust_contrast(image, factor)) for factor in [0.6, 1.4]),
        *(("saturation", factor, functional.adjust_saturation(image, factor)) for factor in [0.0, 0.6, 1.4]),
        *(("hue", factor, functional.adjust_hue(image, factor)) for factor in [-0.5, -0.1, 0.05, 0.3, 0.5]),
    ]
    return {
        "image": flat(image),
        "changes": [{"name": name, "factor": factor, "image": flat(result)} for name, factor, result in changes],
    }


def hue_of_opencv():
    """What OpenCV makes of turning hues by 20 percent of the circle: its own conversion to HSV and back."""
    image = torch.rand(3, 6, 9)
    hsv = cv2.cvtColor(np.ascontiguousarray(image.permute(1, 2, 0).numpy()), cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + 0.2 * 360) % 360
    turned = torch.tensor(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)).permute(2, 0, 1)
    return {"image": flat(image), "turned": flat(turned)}


def blurs():
    """torchvision's gaussian_blur with the kernel that reaches three standard deviations."""
    image = torch.rand(3, 12, 15)
    results = []
    for sigma in [0.3, 1.0, 1.7]:
        size = 2 * int(np.ceil(3 * sigma)) + 1
        results.append({"sigma": sigma, "image": flat(functional.gaussian_blur(image, [size, size], [sigma, sigma]))})
    return {"image": flat(image), "blurs": results}


def losses():
    """Cross-entropy of 2 x 4 x 3 x 5 scores with its gradient, and hard pixels by sorting."""
    scores = torch.randn(2, 4, 3, 5) * 2
    labels = torch.randint(0, 4, (2, 3, 5))
    labels[0, 0, :3] = 255
    labels[1, 2, 4] = 255
    weights = torch.tensor([0.5, 1.0, 3.0, 0.0])
    cases = []
    for weight in [None, weights]:
        for smoothing in [0.0, 0.1]:
            for probability, share in [(None, None), (0.4, None), (None, 0.25), (0.1, 0.5), (0.7, 0.2), (1e-6, None)]:
                x = scores.clone().requires_grad_()
                each = cross_entropy(x, labels, weight, ignore_index=255, label_smoothing=smoothing, reduction="none")
                chance = x.detach().softmax(1).gather(1, labels.clamp(max=3)[:, None])[:, 0]
                counted = labels != 255
                ordered = chance[counted].sort().values
                if probability is None and share is None:
                    loss = cross_entropy(x, labels, weight, ignore_index=255, label_smoothing=smoothing)
                    chosen = counted
                else:
                    least = max(int(np.ceil((share or 0.0) * len(ordered))), 1)
                    bound = max(ordered[least - 1].item(), probability or 0.0)
                    chosen = counted & (chance <= bound)
                    scale = torch.ones(4) if weight is None else weight
                    loss = each[chosen].sum() / scale[labels[chosen]].sum()
                if not loss.isfinite():
                    continue
                loss.backward()
                cases.append({
                    "weights": None if weight is None else weight.tolist(),
                    "smoothing": smoothing,
                    "probability": probability,
                    "share": share,
                    "chosen": int(chosen.sum()),
                    "loss": loss.item(),
                    "gradient": flat(x.grad),
                })
    return {"scores": flat(scores), "labels": labels.flatten().tolist(), "cases": cases}


def adamw():
    """Parameters after each of five steps of torch.optim.AdamW: conv (2 x 2), score32 (1 x 2) and its bias."""
    conv = torch.tensor([[0.5, -0.3], [0.2, 0.8]], requires_grad=True)
    score = torch.tensor([[0.7, -0.6]], requires_grad=True)
    bias = torch.tensor([0.1], requires_grad=True)
    groups = [{"params": [conv]}, {"params": [score, bias], "lr": 0.05 * 3}]
    optimizer = torch.optim.AdamW(groups, lr=0.05, betas=(0.8, 0.99), weight_decay=0.1)
    x = torch.tensor([1.0, 2.0])
    steps = []
    for _ in range(5):
        optimizer.zero_grad()
        ((score @ (conv @ x) + bias) ** 2).sum().backward()
        optimizer.step()
        steps.append(torch.cat([conv.flatten(), score.flatten(), bias]).tolist())
    return steps


def clipped():
    """The norm of three gradients, and the gradients after clip_grad_norm_."""
    parameters = [torch.zeros(2, 2, requires_grad=True), torch.zeros(3, requires_grad=True)]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    before = [flat(parameter.grad) for parameter in parameters]
    norm = torch.nn.utils.clip_grad_norm_(parameters, 1.5).item()
    return {"before": before, "norm": norm, "after": [flat(parameter.grad) for parameter in parameters]}


reference = {
    "colors": colors(),
    "hue_of_opencv": hue_of_opencv(),
    "blurs": blurs(),
    "losses": losses(),
    "adamw": adamw(),
    "clipped": clipped(),
}
Path(__file__).with_suffix(".json").write_text(json.dumps(reference) + "\n")
