"""A training row in PyTorch: pytorch_training.py FOLDER --mode MODE, where FOLDER is what `cotangent bench --agree`
wrote for the row. The 20 losses are checked first; then whole epochs of MNIST, or steps on random images, are timed.

  eager          SGD as it is by default
  fused          SGD(fused=True), as in all modes below
  channels_last  NHWC
  compile        forward and loss through torch.compile
  compile_last   the same in NHWC
  compile_cpp    compile, with inductor's C++ wrapper
  compile_all    forward and loss, backward and SGD's step each compiled
"""
import argparse
import json
import os
import time

import measure

MODES = ("eager", "fused", "channels_last", "compile", "compile_last", "compile_cpp", "compile_all")

a = argparse.ArgumentParser()
a.add_argument("folder")
a.add_argument("--mode", default="fused", choices=MODES)
a.add_argument("--epochs", type=int, default=1)
a.add_argument("--seconds", type=float, default=1)
a.add_argument("--threads", type=int, default=measure.threads())
a = a.parse_args()

import torch
import torch.nn.functional as F
from networks import NETWORKS
from safetensors.torch import load_file

torch.set_num_threads(a.threads)
torch.manual_seed(0)
with open(os.path.join(a.folder, "agree.json")) as f:
    expected = json.load(f)
row, batch = expected["name"], expected["batch"]
weights = load_file(os.path.join(a.folder, "weights.safetensors"))
given = load_file(os.path.join(a.folder, "batches.safetensors"))

net = NETWORKS[row.split("/")[1]]()
net.load_state_dict(weights)
last = a.mode in ("channels_last", "compile_last")
if last:
    net = net.to(memory_format=torch.channels_last)
if a.mode == "compile_cpp":
    import torch._inductor.config
    torch._inductor.config.cpp_wrapper = True
fused = {} if a.mode in ("eager", "compile_all") else {"fused": True}


def loss_of(x, y):
    return F.cross_entropy(net(x), y)


if a.mode.startswith("compile"):
    loss_of = torch.compile(loss_of, dynamic=False)


def fresh():
    """The optimiser of a run that begins, with the first weights in place."""
    net.load_state_dict(weights)
    optimizer = torch.optim.SGD(net.parameters(), lr=expected["rate"], momentum=expected["momentum"], **fused)
    return optimizer, torch.compile(optimizer.step) if a.mode == "compile_all" else optimizer.step


def step(x, y):
    optimizer.zero_grad(set_to_none=True)
    loss = loss_of(x, y)
    loss.backward()
    update()
    return loss


def formatted(x):
    return x.contiguous(memory_format=torch.channels_last) if last else x


began = time.perf_counter()
optimizer, update = fresh()
losses = [step(formatted(x), y).item() for x, y in zip(given["x"], given["y"])]
difference = measure.agreement(losses, expected["losses"], f"{row} in mode {a.mode}")

optimizer, update = fresh()
more = {}
if row.startswith("train/"):
    pixels, labels = (torch.from_numpy(v) for v in measure.mnist("train"))
    x, y = torch.from_numpy(measure.normalised(pixels.numpy())), labels.long()
    for size in {batch, len(x) % batch} - {0}:
        for _ in range(3):
            step(formatted(x[:size].clone()), y[:size].clone())
    warm_up = time.perf_counter() - began
    samples = []
    for _ in range(a.epochs):
        start = time.perf_counter()
        order = torch.randperm(len(x))
        for i in range(0, len(x), batch):
            at = order[i:i + batch]
            step(formatted(x.index_select(0, at)), y.index_select(0, at))
        samples.append(time.perf_counter() - start)
    pixels, labels = measure.mnist("test")
    x, y = torch.from_numpy(measure.normalised(pixels)), torch.from_numpy(labels).long()
    start = time.perf_counter()
    with torch.no_grad():
        right = sum((net(formatted(x[i:i + 1000])).argmax(1) == y[i:i + 1000]).sum().item() for i in range(0, len(x), 1000))
    more = {"evaluation_s": time.perf_counter() - start, "test_accuracy": right / len(x)}
else:
    batches = [(formatted(x), y) for x, y in zip(given["x"][:8], given["y"][:8])]
    turn = iter(range(1 << 62))
    warm_up = time.perf_counter() - began
    samples = measure.repeat(lambda: step(*batches[next(turn) % len(batches)]), a.seconds)
measure.emit(peer="PyTorch", version=torch.__version__, name=row, variant=a.mode, threads=a.threads, samples=samples,
             warm_up_s=warm_up, disagreement=difference, **more)
