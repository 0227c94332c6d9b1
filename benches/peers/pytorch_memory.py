"""The leanest training of LeNet-5 in PyTorch: one epoch at batch 64 and an evaluation, with the pixels kept as bytes and
nothing imported that is not needed. Its parent reads the peak of its memory."""
import measure
import torch
import torch.nn.functional as F
from networks import LeNet5

torch.set_num_threads(measure.threads())
torch.manual_seed(0)
net = LeNet5()
optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9, foreach=False)


def inputs(pixels, labels):
    return (pixels.float().div_(255).sub_(measure.MEAN)).div_(measure.STD), labels.long()


x, y = (torch.from_numpy(v) for v in measure.mnist("train"))
order = torch.randperm(len(x))
for i in range(0, len(x), 64):
    at = order[i:i + 64]
    optimizer.zero_grad(set_to_none=True)
    images, labels = inputs(x[at], y[at])
    F.cross_entropy(net(images), labels).backward()
    optimizer.step()
x, y = (torch.from_numpy(v) for v in measure.mnist("test"))
with torch.no_grad():
    right = 0
    for i in range(0, len(x), 1000):
        images, labels = inputs(x[i:i + 1000], y[i:i + 1000])
        right += (net(images).argmax(1) == labels).sum().item()
measure.emit(peer="PyTorch", version=torch.__version__, name="memory/lenet5/batch-64", test_accuracy=right / len(x))
