"""Files of `cotangent export`, read by those whose formats they are: python cli/tests/interchange.py PROGRAM FOLDER

Every kind of network is trained a little on noise, exported and imported. onnx checks the graphs, onnxruntime computes
the logits of `predict`; numpy and safetensors read the weights; what comes back through `import` is the same to the bit.
"""

import csv
import io
import json
import os
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
from safetensors.numpy import load_file, save_file

PROGRAM, FOLDER = os.path.abspath(sys.argv[1]), sys.argv[2]
os.makedirs(FOLDER, exist_ok=True)
os.chdir(FOLDER)
noise = np.random.default_rng(0)

LAYERS = """
[[layers]]
conv2d = { out = 6, kernel = [3, 5], stride = [1, 2], padding = [1, 2] }
[[layers]]
act = "sigmoid"
[[layers]]
max_pool2d = { kernel = 3, stride = 2, padding = 1 }
[[layers]]
conv2d = { out = 4, kernel = 3, bias = false }
[[layers]]
batch_norm2d = { eps = 0.01 }
[[layers]]
act = "tanh"
[[layers]]
avg_pool2d = { kernel = [2, 3], stride = 1, padding = 1 }
[[layers]]
dropout = 0.5
[[layers]]
max_pool2d = {}
[[layers]]
flatten = {}
[[layers]]
linear = 9
[[layers]]
act = "relu"
[[layers]]
linear = {}
"""

# Groups, other edges, and windows that run over them: 23×18 → 11×10 → 6×6 → 4×4 → 5×5 → 3×3.
EDGES = """
[[layers]]
conv2d = { out = 6, kernel = [3, 4], padding = "same", dilation = [2, 1] }
[[layers]]
conv2d = { out = 12, kernel = 3, stride = 2, padding = [[1, 0], [2, 1]], groups = 3 }
[[layers]]
batch_norm2d = {}
[[layers]]
act = "relu"
[[layers]]
max_pool2d = { kernel = 2, stride = 2, dilation = 2, padding = 1, ceil_mode = true }
[[layers]]
avg_pool2d = { kernel = 3, stride = 2, padding = 1, ceil_mode = true }
[[layers]]
avg_pool2d = { kernel = 2, stride = 1, padding = 1, count_include_pad = false }
[[layers]]
avg_pool2d = { kernel = 2, ceil_mode = true, count_include_pad = false }
[[layers]]
flatten = {}
[[layers]]
linear = { out = 7, bias = false }
[[layers]]
act = "tanh"
[[layers]]
linear = {}
"""


def run(*words, code=0):
    done = subprocess.run([PROGRAM, *words], capture_output=True, text=True)
    assert done.returncode == code, (words, done.returncode, done.stderr)
    return done.stdout


def probabilities(model, file):
    rows = list(csv.reader(io.StringIO(run("predict", model, file, "--format", "csv"))))
    return np.array([[float(p) for p in row[4:]] for row in rows[1:]])


def levels(n, *shape):
    return noise.integers(0, 256, (n, *shape), dtype=np.uint8)


STACKS = {"layers": LAYERS, "edges": EDGES}
CASES = {
    "lenet5": (levels(48, 28, 28), 1),
    "softmax": (levels(48, 1, 9, 7), 1),
    "mlp": (noise.normal(3, 20, (48, 11)).astype(np.float32), 3),
    "cnn": (levels(48, 3, 24, 20), 3),
    "resnet18": (levels(24, 3, 8, 8), 1),
    "layers": (levels(48, 2, 17, 19), 3),
    "edges": (levels(48, 3, 23, 18), 3),
}

for model, (x, epochs) in CASES.items():
    y = np.arange(len(x)) % 3
    np.savez(f"{model}.data.npz", x=x, y=y)
    settings = ["--data", f"npz:{model}.data.npz", "--batch", "12", "--seed", "1"]
    if model in STACKS:
        with open(f"{model}.toml", "w") as file:
            file.write(STACKS[model])
        settings += ["-c", f"{model}.toml"]
    else:
        settings += ["--model", model]
    run("train", *settings, "--epochs", str(epochs), "--name", model, "--no-plots", "--no-tensorboard", "-q")
    for form in ["onnx", "safetensors", "npz"]:
        run("export", f"runs/{model}", "--format", form)

    graph = onnx.load(f"{model}.onnx")
    onnx.checker.check_model(graph, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(graph, strict_mode=True, data_prop=True)
    (output,) = inferred.graph.output
    dims = output.type.tensor_type.shape.dim
    assert (dims[0].dim_param, dims[1].dim_value) == ("batch", 3), dims
    (entry,) = graph.metadata_props
    about = json.loads(entry.value)
    assert entry.key == "cotangent" and about["model"] == ("layers" if model in STACKS else model) and len(about["classes"]) == 3, about

    session = onnxruntime.InferenceSession(f"{model}.onnx", providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    shape = [1, *x.shape[1:]] if x.ndim == 3 else list(x.shape[1:])
    assert given.shape == ["batch", *shape], given.shape
    numbers = x.reshape(len(x), *shape).astype(np.float32)
    (logits,) = session.run(["logits"], {"input": numbers})
    (alone,) = session.run(["logits"], {"input": numbers[:1]})
    assert logits.shape == (len(x), 3) and np.abs(alone - logits[:1]).max() < 1e-5
    np.save("x.npy", x)
    ours = probabilities(f"runs/{model}", "x.npy")
    theirs = logits.astype(np.float64)
    theirs -= np.log(np.exp(theirs - theirs.max(1, keepdims=True)).sum(1, keepdims=True)) + theirs.max(1, keepdims=True)
    # ln of a softmax is the logits but for a constant a row.
    off = np.abs(theirs - np.log(ours)).max()
    assert off < 1e-5, f"{model}: logits differ by {off}"
    assert np.std(theirs, axis=0).max() > 1e-3, f"{model}: the network says the same of everything"

    tensors = load_file(f"{model}.safetensors")
    arrays = np.load(f"{model}.npz")
    assert sorted(tensors) == sorted(arrays.files)
    assert all(np.array_equal(tensors[n], arrays[n]) and tensors[n].dtype == arrays[n].dtype for n in arrays.files)
    initialisers = {t.name: onnx.numpy_helper.to_array(t) for t in graph.graph.initializer}
    counters = {n for n in tensors if n.endswith("num_batches_tracked")}
    assert set(initialisers) == set(tensors) - counters, set(initialisers) ^ set(tensors)
    assert all(np.array_equal(initialisers[n], tensors[n]) for n in initialisers)

    # Other types, other orders of bytes, other forms of the same graph.
    save_file({n: t.astype(np.float64) if t.dtype == np.float32 else t for n, t in tensors.items()}, "wide.safetensors")
    np.savez_compressed("turned.npz", **{n: np.asfortranarray(arrays[n]) for n in arrays.files})
    for t in graph.graph.initializer:
        values = onnx.numpy_helper.to_array(t)
        t.CopyFrom(onnx.helper.make_tensor(t.name, onnx.TensorProto.FLOAT, values.shape, values.flatten().tolist()))
    onnx.save(graph, "listed.onnx")
    files = [f"{model}.safetensors", f"{model}.npz", f"{model}.onnx", "wide.safetensors", "turned.npz", "listed.onnx"]
    for file in files:
        run("import", file, "--like", f"runs/{model}", "-o", "again.safetensors", "--force")
        assert np.array_equal(probabilities("again.safetensors", "x.npy"), ours), (model, file)
    # The same examples are held out with the same seed, so the normalisation is the same.
    made = json.loads(run("import", f"{model}.npz", *settings[:2], *settings[6:], "--set", "seed=1", "--json"))
    assert np.array_equal(probabilities(made["run"], "x.npy"), ours), model
    if model in ("cnn", "mlp"):
        run("train", "--resume", made["run"], "--epochs", "1", "--no-plots", "--no-tensorboard", "-q")
        assert not np.array_equal(probabilities(made["run"], "x.npy"), ours)
    print(f"{model}: {len(graph.graph.node)} nodes, {len(tensors)} tensors, logits differ by at most {off:.1e}")
