"""Does PyTorch load what the program saves, and compute the same? Compares every logit of the test images.

    cargo run --release -- train --epochs 1 --out /somewhere
    venv/bin/pip install torch safetensors numpy
    venv/bin/python tests/pytorch/checkpoint.py target/release/cotangent /somewhere/latest IMAGES

IMAGES is an IDX file of pictures, such as MNIST's t10k-images-idx3-ubyte or its .gz. No test needs this.
"""

import gzip
import json
import pathlib
import subprocess
import sys

import numpy
import safetensors
import safetensors.torch
import torch
from torch.nn import functional as F

program, run, images = sys.argv[1:]
file = pathlib.Path(run) / "checkpoints" / "last.safetensors"


class LeNet5(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = torch.nn.Conv2d(6, 16, 5)
        self.fc1 = torch.nn.Linear(400, 120)
        self.fc2 = torch.nn.Linear(120, 84)
        self.fc3 = torch.nn.Linear(84, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(x.flatten(1)))
        return self.fc3(F.relu(self.fc2(x)))


net = LeNet5()
stored = safetensors.torch.load_file(file)
# Parameters have PyTorch's names; what the optimiser and the generators need to go on stands beside them.
beside = net.load_state_dict(stored, strict=False)
assert not beside.missing_keys, beside.missing_keys
print("loaded:", ", ".join(k for k in stored if k not in beside.unexpected_keys))
print("beside:", ", ".join(beside.unexpected_keys))
with safetensors.safe_open(file, "pt") as f:
    about = json.loads(f.metadata()["cotangent"])

raw = (gzip.open if images.endswith(".gz") else open)(images, "rb").read()
pixels = torch.from_numpy(numpy.frombuffer(raw, numpy.uint8, offset=16).reshape(-1, 1, 28, 28).copy())
[mean], [std] = about["normalisation"]["mean"], about["normalisation"]["std"]
with torch.no_grad():
    theirs = net((pixels.float() / 255 - mean) / std).log_softmax(1)

said = subprocess.run([program, "predict", "--json", "--top", "10", run, images], check=True, capture_output=True)
ours = torch.empty_like(theirs, dtype=torch.float64)
for line in said.stdout.splitlines():
    answer = json.loads(line)
    for guess in answer["guesses"]:
        ours[answer["index"], int(guess["class"])] = guess["probability"]
# Logits are known up to a constant a picture: logarithms of probabilities are those with the constant taken out.
apart = (ours.log() - theirs.double()).abs()[ours > 1e-30].max().item()
same = (ours.argmax(1) == theirs.argmax(1)).sum().item()
print(f"{len(theirs)} pictures: {same} of one class, logits differ by {apart:.2e} at most")
assert same == len(theirs) and apart < 1e-4
