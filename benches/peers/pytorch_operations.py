"""Single operations in PyTorch on the shapes of cotangent's rows, under their names; one line for each way to do it
(layout, preallocated result, torch.compile, kind of optimiser)."""
import argparse

import measure

a = argparse.ArgumentParser()
a.add_argument("--filter", action="append", default=[], help="rows whose name contains it; may be repeated")
a.add_argument("--seconds", type=float, default=0.3)
a.add_argument("--threads", type=int, default=measure.threads())
a = a.parse_args()

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(a.threads)
torch.manual_seed(0)


def row(name, variant, f, **more):
    if not wanted(name):
        return
    measure.emit(peer="PyTorch", version=torch.__version__, name=name, variant=variant, threads=a.threads,
                 samples=measure.repeat(f, a.seconds), **more)


def wanted(name):
    return not a.filter or any(text in name for text in a.filter)


for m, k, n in ((256,) * 3, (512,) * 3, (1024,) * 3, (2048,) * 3, (64, 400, 120), (64, 120, 84), (64, 84, 10), (400, 64, 120)):
    x, y, out = torch.randn(m, k), torch.randn(k, n), torch.empty(m, n)
    row(f"matmul/{m}x{k}x{n}", "out", lambda: torch.mm(x, y, out=out))
    row(f"matmul/{m}x{k}x{n}", "new", lambda: torch.mm(x, y))

for n, d, h, k, size, stride, padding in (
        (64, 1, 28, 6, 5, 1, 2), (64, 6, 14, 16, 5, 1, 0), (32, 64, 32, 64, 3, 1, 1),
        (32, 128, 16, 128, 3, 1, 1), (32, 256, 8, 256, 3, 1, 1), (8, 3, 224, 64, 7, 2, 3)):
    out = (h + 2 * padding - size) // stride + 1
    shape = f"{n}x{d}x{h}x{h}-to{k}-k{size}s{stride}p{padding}"
    for layout, memory in (("nchw", torch.contiguous_format), ("nhwc", torch.channels_last)):
        x = torch.randn(n, d, h, h).contiguous(memory_format=memory)
        w = torch.randn(k, d, size, size).contiguous(memory_format=memory)
        b, g = torch.randn(k), torch.randn(n, k, out, out).contiguous(memory_format=memory)
        xr, wr, br = (t.detach().clone(memory_format=torch.preserve_format).requires_grad_() for t in (x, w, b))

        def forward():
            with torch.no_grad():
                F.conv2d(x, w, b, stride, padding)

        def backward(image, of):
            torch.autograd.grad(F.conv2d(image, wr, br, stride, padding), of, g)

        row(f"conv2d/{shape}", layout, forward)
        row(f"conv2d-backward/{shape}", layout, lambda: backward(xr, (xr, wr, br)))
        if d in (1, 3):
            row(f"conv2d-backward-weight/{shape}", layout, lambda: backward(x, (wr, br)))

for n, c, h in ((64, 6, 28), (64, 16, 10), (32, 64, 32), (8, 64, 112)):
    for layout, memory in (("nchw", torch.contiguous_format), ("nhwc", torch.channels_last)):
        x = torch.randn(n, c, h, h).contiguous(memory_format=memory)
        g = torch.randn(n, c, h // 2, h // 2).contiguous(memory_format=memory)
        xr = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        row(f"maxpool2/{n}x{c}x{h}x{h}", layout, lambda: F.max_pool2d(x, 2))
        row(f"maxpool2-backward/{n}x{c}x{h}x{h}", layout, lambda: torch.autograd.grad(F.max_pool2d(xr, 2), xr, g))

for n, c in ((1024, 1000), (64, 10)):
    x, y = torch.randn(n, c), torch.randint(0, c, (n,))
    xr = x.clone().requires_grad_()
    row(f"cross-entropy/{n}x{c}", "eager", lambda: F.cross_entropy(x, y))
    row(f"cross-entropy-backward/{n}x{c}", "eager", lambda: torch.autograd.grad(F.cross_entropy(xr, y), xr))

LONG = 10_000_000
if any(wanted(name) for name in ("add-relu/1e7", "sum/1e7", "copy/1e7")):
    x, y, out = torch.randn(LONG), torch.randn(LONG), torch.empty(LONG)
    row("add-relu/1e7", "eager", lambda: F.relu(x + y))
    row("add-relu/1e7", "out", lambda: torch.add(x, y, out=out).relu_())
    if wanted("add-relu/1e7"):
        compiled = torch.compile(lambda p, q: F.relu(p + q), dynamic=False)
        row("add-relu/1e7", "compile", lambda: compiled(x, y))
    row("sum/1e7", "eager", lambda: x.sum())
    row("copy/1e7", "out", lambda: out.copy_(x))
    row("copy/1e7", "clone", lambda: x.clone())

LENET5 = [(6, 1, 5, 5), (6,), (16, 6, 5, 5), (16,), (120, 400), (120,), (84, 120), (84,), (10, 84), (10,)]
for name, shapes in (("sgd-momentum/1e7", [(LONG,)]), ("sgd-momentum/lenet5", LENET5)):
    for kind in ("default", "foreach", "fused"):
        if wanted(name):
            parameters = [nn.Parameter(torch.randn(s)) for s in shapes]
            for p in parameters:
                p.grad = torch.randn_like(p)
            more = {} if kind == "default" else {kind: True}
            row(name, kind, torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, **more).step)

one, tracked = torch.ones(1), torch.ones(1, requires_grad=True)


def chain(x):
    for _ in range(100):
        x = x * 1.01
    return x


def untracked():
    with torch.no_grad():
        chain(one)


def backward():
    tracked.grad = None
    chain(tracked).backward()


row("overhead/add", "eager", lambda: one + one)
row("overhead/add-tracked", "eager", lambda: tracked + tracked)
row("overhead/chain-100", "eager", untracked)
row("overhead/chain-100-tracked", "eager", lambda: chain(tracked))
row("overhead/chain-100-backward", "eager", backward)
