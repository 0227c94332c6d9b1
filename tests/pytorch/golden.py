"""Writes golden.rs: what PyTorch gives, for the tests in tests/optim.rs, tests/promotion.rs and tests/pytorch.rs.

    python -m venv venv && venv/bin/pip install torch
    venv/bin/python tests/pytorch/golden.py

No test needs Python: the numbers are committed, and this says where they come from. Run it again to check them
against another release; `git diff` shows what changed.
"""

import itertools
import math
import pathlib

import torch

F32, F64 = torch.float32, torch.float64
out = []


def real(x):
    """A Rust literal that is this number to the bit."""
    if math.isnan(x):
        return "f64::NAN"
    if math.isinf(x):
        return "f64::INFINITY" if x > 0 else "f64::NEG_INFINITY"
    return repr(float(x))


def reals(xs):
    return "[" + ", ".join(real(x) for x in xs) + "]"


def section(doc, code):
    out.append("\n".join(f"/// {line}" for line in doc.splitlines()) + "\n" + code + "\n")


# ---- optimisers: ten steps on Σ ½cθ² + dθ, from (1, −2) and ¼ ----

C, D = [1.0, 0.5], [0.2, -0.3]


def steps(make, dtype, n=10):
    a = torch.tensor([1.0, -2.0], dtype=dtype, requires_grad=True)
    b = torch.tensor(0.25, dtype=dtype, requires_grad=True)
    c, d = torch.tensor(C, dtype=dtype), torch.tensor(D, dtype=dtype)
    optimiser = make([a, b])
    for _ in range(n):
        optimiser.zero_grad()
        ((c * a.square() * 0.5 + d * a).sum() + b.square() * 1.5).backward()
        optimiser.step()
    return a.tolist() + [b.item()]


SGD, ADAM, ADAMW = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW
RMSPROP, ADAGRAD = torch.optim.RMSprop, torch.optim.Adagrad
OPTIMISERS = [
    (SGD, dict(lr=0.1)),
    (SGD, dict(lr=0.1, momentum=0.9)),
    (SGD, dict(lr=0.1, momentum=0.9, dampening=0.5)),
    (SGD, dict(lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True)),
    (SGD, dict(lr=0.1, momentum=0.9, dampening=0.25, weight_decay=0.01, maximize=True)),
    (ADAM, dict(lr=0.1)),
    (ADAM, dict(lr=0.3, betas=(0.4, 0.8), eps=1e-3, weight_decay=0.1, amsgrad=True)),
    (ADAM, dict(lr=0.1, maximize=True)),
    (ADAMW, dict(lr=0.1)),
    (ADAMW, dict(lr=0.3, betas=(0.8, 0.5), weight_decay=0.2, amsgrad=True)),
    (RMSPROP, dict(lr=0.01)),
    (RMSPROP, dict(lr=0.02, alpha=0.8, eps=1e-3, weight_decay=0.1, momentum=0.9, centered=True)),
    (RMSPROP, dict(lr=0.01, momentum=0.5, maximize=True)),
    (ADAGRAD, dict(lr=0.1)),
    (ADAGRAD, dict(lr=0.3, lr_decay=0.1, weight_decay=0.1, initial_accumulator_value=0.5, eps=1e-3)),
    (ADAGRAD, dict(lr=0.1, maximize=True)),
]
rows = []
for kind, settings in OPTIMISERS:
    words = f"{kind.__name__} " + ", ".join(f"{k} {v}" for k, v in settings.items())
    f64, f32 = (steps(lambda p: kind(p, **settings), t) for t in (F64, F32))
    rows.append(f'    ("{words}", {reals(f64)}, {reals(f32)}),')
section(
    "The three parameters after ten steps, in F64 and in F32.",
    f"pub const OPTIMISERS: [(&str, [f64; 3], [f64; 3]); {len(rows)}] = [\n" + "\n".join(rows) + "\n];",
)

# ---- cross-entropy: value and gradient of Σ losses·(1, 2, 3, …) under every option ----


def loss(shape, labels, probabilities, weighted, ignore, reduction, smoothing):
    n = math.prod(shape)
    x = torch.tensor([(7 * i % 11 - 5) / 4 for i in range(n)], dtype=F64).reshape(shape).requires_grad_()
    k = shape[1] if len(shape) > 1 else shape[0]
    places = [s for a, s in enumerate(shape) if a != (1 if len(shape) > 1 else 0)]
    m = math.prod(places)
    if probabilities:
        y = torch.tensor([(3 * i % 5 + 1) / 8 for i in range(n)], dtype=F64).reshape(shape)
    else:
        y = torch.tensor([(5 * i + 1) % k for i in range(m)]).reshape(places)
    weight = torch.tensor([1.0, 0.5, 2.0, 0.25][:k], dtype=F64) if weighted else None
    options = dict(weight=weight, reduction=reduction, label_smoothing=smoothing)
    if not probabilities:
        options["ignore_index"] = ignore
    v = torch.nn.functional.cross_entropy(x, y, **options)
    (v.flatten() * torch.arange(1, v.numel() + 1, dtype=F64)).sum().backward()
    return v.flatten().tolist(), x.grad.flatten().tolist()


rows = []
shapes = [([4], False), ([3, 4], False), ([2, 4, 3], False), ([2, 3, 2, 2], False), ([3, 4], True), ([2, 4, 3], True)]
for (shape, probabilities), weighted, ignore, reduction, smoothing in itertools.product(
    shapes, (False, True), (-100, 1), ("none", "mean", "sum"), (0.0, 0.1, 1.0)
):
    if probabilities and ignore != -100:
        continue
    v, g = loss(shape, None, probabilities, weighted, ignore, reduction, smoothing)
    words = f"{str(probabilities).lower()}, {str(weighted).lower()}, {ignore}, \"{reduction}\", {smoothing}"
    rows.append(f"    (&{shape}, {words}, &{reals(v)}, &{reals(g)}),")
section(
    "Shape of the logits, targets are probabilities?, weighted?, ignore_index, reduction, label_smoothing; the losses,\n"
    "and the gradient of Σᵢ (i + 1)·lossᵢ. Logits, targets and weights follow from their place: see `loss` in golden.py.",
    "pub type Loss = (&'static [usize], bool, bool, i64, &'static str, f64, &'static [f64], &'static [f64]);\n"
    "pub const CROSS_ENTROPY: &[Loss] = &[\n" + "\n".join(rows) + "\n];",
)

# ---- types of mixtures ----

TYPES = [torch.bool, torch.uint8, torch.int32, torch.int64, F32, F64]
NAMES = dict(zip(TYPES, ["Bool", "U8", "I32", "I64", "F32", "F64"]))


def table(name, doc, width, cell):
    rows = ["    [" + ", ".join(NAMES[cell(a, j)] for j in range(width)) + "]," for a in TYPES]
    section(doc, f"pub const {name}: [[DType; {width}]; 6] = [\n" + "\n".join(rows) + "\n];")


def of(dtype, shape):
    return torch.ones(shape, dtype=dtype)


for a, b in itertools.product(TYPES, TYPES):
    x, y, z = of(a, [2]), of(b, [2]), of(b, [])
    both = torch.promote_types(a, b)
    for other in (x * y, torch.maximum(x, y), torch.cat([x, y]), torch.where(x > 0, x, y), of(a, []) + z):
        assert other.dtype == both, (a, b)
    divided = both if both.is_floating_point else F32
    assert (x / y).dtype == divided and (x > y).dtype == torch.bool
    assert (z + x).dtype == (x + z).dtype
table("AXES", "`x + y` of two tensors with axes: also `x · y`, `max`, `cat`, `where`, and of two without.", 6,
      lambda a, j: (of(a, [2]) + of(TYPES[j], [2])).dtype)
table("ZERO", "A tensor with axes (row) and one without (column), in either order.", 6,
      lambda a, j: (of(a, [2]) + of(TYPES[j], [])).dtype)
table("NUMBER", "A tensor (row) and a plain number: whole, real.", 2, lambda a, j: (of(a, [2]) + (2, 2.0)[j]).dtype)

# ---- printing ----

inf, nan = math.inf, math.nan
PRINTED = [
    torch.tensor(3.0), torch.tensor(0.5), torch.tensor(-7), torch.tensor(True), torch.tensor(nan), torch.tensor(-inf),
    torch.tensor(1e10), torch.tensor(1e-5), torch.tensor(2.5, dtype=F64), torch.tensor(-7, dtype=torch.int32),
    torch.tensor(7, dtype=torch.uint8), torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 0.0]),
    torch.tensor([1.0, -2.5, 100.0]), torch.tensor([nan, 1.0]), torch.tensor([inf, 10.0, -1.0]),
    torch.tensor([nan, 0.5]), torch.tensor([1.0, 10000.0]), torch.tensor([0.001, 2.0]), torch.tensor([0.002, 2.0]),
    torch.tensor([True, False]), torch.tensor([1, -20, 300]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
    torch.tensor([[[1, 2], [3, 4]], [[5, 6], [7, 8]]]), torch.zeros(0), torch.zeros(0, 3),
    torch.zeros(0, dtype=torch.int64), torch.arange(4).reshape(2, 2).t(), torch.arange(30), torch.arange(1001),
    torch.zeros(100, 100), torch.arange(9, dtype=F64) + 0.5, torch.eye(3),
    torch.tensor([1e-8, 1.0]), torch.tensor([123456.0, 0.1]), torch.tensor([1e8, 1.0]), torch.tensor([16777216.0]),
    torch.tensor([-0.0, 0.0]), torch.arange(24.0).reshape(2, 3, 4) / 8, torch.arange(2000.0).reshape(2, 1000),
    torch.tensor([0.5, inf]), torch.tensor([1e-5, nan]), torch.tensor([[0.1], [12.25]]),
    torch.arange(40.0).reshape(1, 40) * 1.5, torch.zeros(2, 0, 3), torch.tensor([255, 0], dtype=torch.uint8),
    torch.tensor([99999.0]), torch.tensor([100000.0]), torch.tensor([1.5, 1234.5]), torch.tensor([1e4, 1.5]),
]
rows = ["    " + '"' + str(t).replace("torch.", "").replace("\n", "\\n") + '",' for t in PRINTED]
section(
    "`print(x)` of the tensors that `printed()` in tests/promotion.rs makes in this order, with types without `torch.`.",
    f"pub const PRINTED: [&str; {len(rows)}] = [\n" + "\n".join(rows) + "\n];",
)

# ---- schedules: the rate at each of twelve steps ----


def rates(make, n=12):
    optimiser = SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    schedule = make(optimiser)
    found = []
    for _ in range(n):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return found


S = torch.optim.lr_scheduler
SCHEDULES = [
    ("StepLR(4, 0.5)", lambda o: S.StepLR(o, 4, 0.5)),
    ("CosineAnnealingLR(12)", lambda o: S.CosineAnnealingLR(o, 12)),
    ("OneCycleLR(0.1, 13)", lambda o: S.OneCycleLR(o, 0.1, total_steps=13)),
    ("OneCycleLR(0.1, 13, linear)", lambda o: S.OneCycleLR(o, 0.1, total_steps=13, anneal_strategy="linear")),
]
rows = [f'    ("{name}", {reals(rates(make))}),' for name, make in SCHEDULES]
section(
    "The rate before each of twelve steps, from 0.1.",
    f"pub const SCHEDULES: [(&str, [f64; 12]); {len(rows)}] = [\n" + "\n".join(rows) + "\n];",
)

head = f"""//! What PyTorch {torch.__version__.split("+")[0]} gives. Written by golden.py, beside this file; not by hand.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::all)]

use cotangent::DType::{{self, *}};

"""
here = pathlib.Path(__file__).parent
text = head + "\n".join(out)
(here / "golden.rs").write_text(text)
print(f"{here / 'golden.rs'}: {len(text)} characters from PyTorch {torch.__version__}")
