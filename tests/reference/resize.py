"""Prints the numbers of the test in src/preprocess.rs. Ran with PyTorch 2.13.0."""

import torch
import torch.nn.functional as F

pixels = torch.tensor([i * i * 7 % 256 for i in range(36)], dtype=torch.float64).reshape(1, 3, 4, 3).permute(0, 3, 1, 2)
mean = torch.tensor([0.5, 0.25, 0.0], dtype=torch.float64).reshape(1, 3, 1, 1)
std = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64).reshape(1, 3, 1, 1)
resized = (F.interpolate(pixels, size=(5, 6), mode="bilinear", align_corners=False) / 255 - mean) / std
print(", ".join(f"{value:.6f}" for value in resized.flatten().tolist()))
