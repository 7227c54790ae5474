"""Writes contours.txt beside this file, the truth of the test in src/mask/contours.rs. Ran with OpenCV 5.0.0.

A picture is a line "width height contours", its rows ('#' has the label), and a line for each contour: its kind, the first corner of
its parent if it has one, a colon, and its corners.
"""

import pathlib

import cv2
import numpy as np

random = np.random.default_rng(1985)


def blobs(height, width, share):
    noise = cv2.GaussianBlur(random.random((height, width)), (0, 0), 1.5)
    return noise < np.quantile(noise, share)


rings = np.zeros((21, 23), bool)
for inset in range(0, 10, 2):
    rings[inset : 21 - inset, inset : 23 - inset] = inset % 4 == 0
pictures = [
    np.zeros((3, 4), bool),
    np.ones((1, 1), bool),
    np.ones((4, 6), bool),
    np.eye(7, dtype=bool),
    rings,
    np.indices((6, 7)).sum(axis=0) % 2 == 0,
    *(random.random(size) < share for size, share in (((9, 11), 0.3), ((12, 10), 0.5), ((15, 17), 0.7), ((1, 20), 0.5), ((20, 1), 0.5))),
    *(blobs(*case) for case in ((30, 40, 0.4), (40, 30, 0.6), (32, 32, 0.75))),
]
lines = ["# Written by contours.py."]
for picture in pictures:
    contours, hierarchy = cv2.findContours(picture.astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    parents = [] if hierarchy is None else hierarchy[0][:, 3]

    def level(index):
        return 0 if parents[index] < 0 else 1 + level(parents[index])

    lines.append(f"{picture.shape[1]} {picture.shape[0]} {len(contours)}")
    lines += ["".join(".#"[value] for value in row) for row in picture.astype(int)]
    for index, contour in enumerate(contours):
        first = "" if parents[index] < 0 else " ".join(map(str, contours[parents[index]].reshape(-1, 2)[0]))
        kind = "hole" if level(index) % 2 else "outer"
        lines.append(f"{kind} {first}: " + " ".join(map(str, contour.flatten())))
pathlib.Path(__file__).with_name("contours.txt").write_text("\n".join(lines) + "\n")
