"""Reads a run's event files with TensorBoard's own package and prints what it shows, as JSON.

    read_events.py RUN

Keys: scalars, {tag: [[step, value], ...]}, and images, {tag: [[step, width, height, mean colours of photo, truth and
prediction], ...]}. The first reading is TensorBoard's accumulator of old; the second is the one behind its web pages.
"""

import io
import json
import sys

import numpy
from PIL import Image
from tensorboard.backend.event_processing import event_accumulator, plugin_event_accumulator
from tensorboard.util import tensor_util

EVERYTHING = {event_accumulator.SCALARS: 0, event_accumulator.IMAGES: 0, event_accumulator.TENSORS: 0}


def picture(event):
    image = Image.open(io.BytesIO(event.encoded_image_string)).convert("RGB")
    assert image.size == (event.width, event.height), (image.size, event.width, event.height)
    thirds = numpy.split(numpy.asarray(image, dtype=float), 3, axis=1)
    return [event.step, *image.size, [third.mean(axis=(0, 1)).round(1).tolist() for third in thirds]]


def main():
    old = event_accumulator.EventAccumulator(sys.argv[1], size_guidance=EVERYTHING).Reload()
    tags = old.Tags()
    scalars = {tag: [[event.step, event.value] for event in old.Scalars(tag)] for tag in tags["scalars"]}
    images = {tag: [picture(event) for event in old.Images(tag)] for tag in tags["images"]}

    new = plugin_event_accumulator.EventAccumulator(sys.argv[1], tensor_size_guidance=EVERYTHING).Reload()
    for tag, points in scalars.items():
        assert new.SummaryMetadata(tag).plugin_data.plugin_name == "scalars", tag
        again = [[event.step, tensor_util.make_ndarray(event.tensor_proto).item()] for event in new.Tensors(tag)]
        assert again == points, (tag, again, points)
    for tag in images:
        assert new.SummaryMetadata(tag).plugin_data.plugin_name == "images", tag
    print(json.dumps({"scalars": scalars, "images": images}))


if __name__ == "__main__":
    main()
