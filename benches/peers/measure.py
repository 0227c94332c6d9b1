"""What every peer's script shares: MNIST from the repository, repetition, one JSON line for each result."""
import glob
import gzip
import json
import os
import time

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, "..", "..", "mnist", "data")
MEAN, STD = 0.1307, 0.3081


def threads():
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def mnist(part):
    """Pixels [n, 1, 28, 28] and labels [n] of "train" or "test", as bytes."""
    import numpy as np

    def read(kind):
        members = sorted(glob.glob(os.path.join(DATA, f"{part}-{kind}-*.gz")))
        out = bytearray()
        for member in members:
            with gzip.open(member) as f:
                out += f.read()
        return np.frombuffer(out, np.uint8)

    return read("images").reshape(-1, 1, 28, 28), read("labels")


def normalised(pixels):
    """(pixel/255 − μ)/σ as float32, in torchvision's order of rounding."""
    import numpy as np
    x = pixels.astype(np.float32)
    x /= np.float32(255)
    x -= np.float32(MEAN)
    x /= np.float32(STD)
    return x


def agreement(found, expected, what):
    """The largest difference between what was found and what cotangent found; more than 1e-4 ends the process."""
    difference = max(abs(a - b) for a, b in zip(found, expected, strict=True))
    if not difference <= 1e-4:
        raise SystemExit(f"{what}: found {found}, expected {expected}: they differ by {difference:.2e}")
    return difference


def repeat(f, seconds, least=7):
    """Seconds of each call of f, after a warm-up; calls shorter than 20 µs are taken together."""
    once = float("inf")
    for _ in range(3):
        t = time.perf_counter()
        f()
        once = min(once, time.perf_counter() - t)
    calls = max(1, int(20e-6 / max(once, 1e-9)) + 1)
    if once < 1e-3:
        for _ in range(20 * calls):
            f()
    least = 3 if once >= 1 else least
    samples, end = [], time.perf_counter() + seconds
    while len(samples) < least or time.perf_counter() < end:
        t = time.perf_counter()
        for _ in range(calls):
            f()
        samples.append((time.perf_counter() - t) / calls)
    return samples


def median(samples):
    s = sorted(samples)
    return (s[(len(s) - 1) // 2] + s[len(s) // 2]) / 2


def emit(**line):
    print(json.dumps(line), flush=True)
