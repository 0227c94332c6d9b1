"""The real TensorBoard reads what examples/events.rs wrote: python tests/event_file.py FOLDER"""

import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

found = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "tensors": 0, "images": 0, "histograms": 0})
found.Reload()
tags = found.Tags()
assert sorted(tags["scalars"]) == ["train/loss", "train/rate"], tags
loss = found.Scalars("train/loss")
assert [e.step for e in loss] == list(range(1, 111)), "each step once, those of the abandoned attempt gone"
assert all(e.value == struct.unpack("f", struct.pack("f", 1 / e.step))[0] for e in loss)
(image,) = found.Images("filters/conv1")
assert (image.step, image.width, image.height) == (110, 28, 28)
assert image.encoded_image_string.startswith(b"\x89PNG")
(histogram,) = found.Histograms("weights/fc")
value = histogram.histogram_value
assert (value.min, value.max, value.num) == (0.0, 1.0, 1000.0) and abs(value.sum - 500) < 1e-9
assert sum(value.bucket) == 1000 and len(value.bucket) == len(value.bucket_limit) == 30
print(f"TensorBoard read {len(loss)} steps, an image and a histogram")
