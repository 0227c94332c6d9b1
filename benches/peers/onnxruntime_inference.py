"""LeNet-5 forward in ONNX Runtime: onnxruntime_inference.py FOLDER, where FOLDER is what `cotangent bench --agree`
wrote for an inference row."""
import argparse
import os

import measure

a = argparse.ArgumentParser()
a.add_argument("folder")
a.add_argument("--seconds", type=float, default=1)
a.add_argument("--threads", type=int, default=measure.threads())
a = a.parse_args()

import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

weights = load_file(os.path.join(a.folder, "weights.safetensors"))
given = load_file(os.path.join(a.folder, "batches.safetensors"))
name = "infer/lenet5/" + os.path.basename(os.path.normpath(a.folder))

nodes, last = [], "x"


def then(op, *weights_of, **attributes):
    global last
    y = f"y{len(nodes)}"
    nodes.append(helper.make_node(op, [last, *weights_of], [y], **attributes))
    last = y


for layer, pads in (("conv1", 2), ("conv2", 0)):
    then("Conv", f"{layer}.weight", f"{layer}.bias", pads=[pads] * 4)
    then("Relu")
    then("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
then("Flatten")
for layer in ("fc1", "fc2", "fc3"):
    then("Gemm", f"{layer}.weight", f"{layer}.bias", transB=1)
    if layer != "fc3":
        then("Relu")
graph = helper.make_graph(
    nodes, "LeNet-5", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 28, 28])],
    [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["n", 10])],
    [numpy_helper.from_array(v, k) for k, v in weights.items()])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = a.threads
session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
x = given["x"]
found = session.run(None, {"x": x})[0].flatten().tolist()
difference = measure.agreement(found, given["logits"].flatten().tolist(), name)
samples = measure.repeat(lambda: session.run(None, {"x": x}), a.seconds)
measure.emit(peer="ONNX Runtime", version=onnxruntime.__version__, name=name, variant="cpu", threads=a.threads,
             samples=samples, disagreement=difference)
