"""LeNet-5 forward in PyTorch: pytorch_inference.py FOLDER, where FOLDER is what `cotangent bench --agree` wrote for an
inference row. All modes, one line each."""
import argparse
import os

import measure

a = argparse.ArgumentParser()
a.add_argument("folder")
a.add_argument("--seconds", type=float, default=1)
a.add_argument("--threads", type=int, default=measure.threads())
a.add_argument("--modes", default="eager,channels_last,jit,compile,compile_cpp")
a = a.parse_args()

import torch
import torch._inductor.config
from networks import LeNet5
from safetensors.torch import load_file

torch.set_num_threads(a.threads)
weights = load_file(os.path.join(a.folder, "weights.safetensors"))
given = load_file(os.path.join(a.folder, "batches.safetensors"))
name = "infer/lenet5/" + os.path.basename(os.path.normpath(a.folder))
torch._inductor.config.freezing = True

for mode in a.modes.split(","):
    x, net = given["x"], LeNet5()
    net.load_state_dict(weights)
    net.eval()
    if mode == "channels_last":
        net, x = net.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    elif mode == "jit":
        with torch.no_grad():
            net = torch.jit.freeze(torch.jit.trace(net, x))
    elif mode.startswith("compile"):
        torch._inductor.config.cpp_wrapper = mode == "compile_cpp"
        torch._dynamo.reset()
        net = torch.compile(net, dynamic=False)
    with torch.no_grad() if mode.startswith("compile") else torch.inference_mode():
        found = net(x).flatten().tolist()
        difference = measure.agreement(found, given["logits"].flatten().tolist(), f"{name} in mode {mode}")
        samples = measure.repeat(lambda: net(x), a.seconds)
    measure.emit(peer="PyTorch", version=torch.__version__, name=name, variant=mode, threads=a.threads,
                 samples=samples, disagreement=difference)
