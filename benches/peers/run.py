#!/usr/bin/env python3
"""PyTorch, libtorch through tch, ONNX Runtime, Burn and Candle beside cotangent: alternating in one run, ratios as
Markdown and JSON.

    benches/peers/run.py                      everything, about two hours
    benches/peers/run.py train infer          only these sections
    benches/peers/run.py train --rows train/lenet5/batch-64 --rounds 3

Sections: train, infer, ops, overhead, memory, start-up, default-run. See README.md.
"""
import argparse
import glob
import gzip
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
WORK = os.path.join(ROOT, "target", "peers")
SECTIONS = ("train", "infer", "ops", "overhead", "memory", "start-up", "default-run")
TRAINING = ["train/lenet5/batch-32", "train/lenet5/batch-64", "train/lenet5/batch-256", "train/lenet5/batch-1024",
            "train/lenet1998/batch-64", "train/mlp/batch-64", "step/conv-32-64-128/batch-64",
            "step/depthwise-separable/batch-64", "step/resnet18/batch-64"]
INFERENCE = [f"infer/lenet5/batch-{n}" for n in (1, 64, 1024)]
MODES = ("eager", "fused", "channels_last", "compile", "compile_last", "compile_cpp", "compile_all")
# glibc keeps large blocks instead of giving them back to the system after each use.
KEEP = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "1073741824"}
RUST = "-C target-cpu=native"
TCH_TORCH = "2.13.0"  # what tch 0.26 is generated from
SHORT = 50e-6  # seconds of an operation below which a call from Python counts

a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
a.add_argument("sections", nargs="*", metavar="SECTION", help="which sections; all without any")
a.add_argument("--rows", action="append", default=[], metavar="TEXT", help="only rows whose name contains this")
a.add_argument("--rounds", type=int, default=5, help="how often both sides are run, in turn (default 5)")
a.add_argument("--epochs", type=int, default=1, help="epochs of a training row in each round (default 1)")
a.add_argument("--seconds", type=float, default=0.3, help="seconds of every other row in each round (default 0.3)")
a.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="worker threads (default: every core)")
a.add_argument("--python", help="an interpreter that has torch, onnxruntime, onnx, numpy and safetensors; nothing is installed")
a.add_argument("--tch-python", help=f"the same for tch, with torch {TCH_TORCH}")
a.add_argument("--torch-index", help="where pip finds torch, such as https://download.pytorch.org/whl/cpu")
a.add_argument("--cotangent", help="a built program; without it the repository's is built")
a.add_argument("--skip", action="append", default=[], choices=("pytorch", "tch", "onnxruntime", "burn", "candle"))
a.add_argument("--modes", default=",".join(MODES), help="PyTorch's modes of training")
a.add_argument("--seeds", type=int, default=20, help="runs of the default training (default 20)")
a.add_argument("--json", metavar="FILE", help="where the JSON goes (default: target/peers/results.json)")
a = a.parse_args()
unknown = [s for s in a.sections if s not in SECTIONS]
if unknown:
    sys.exit(f"unknown section {unknown[0]}; sections are {', '.join(SECTIONS)}")
if a.rounds < 1 or a.epochs < 1 or a.threads < 1:
    sys.exit("--rounds, --epochs and --threads must be at least 1")
sections = a.sections or SECTIONS


def note(text):
    print(text, file=sys.stderr, flush=True)


# PyTorch, oneDNN and MKL without AVX-512, where cotangent is.
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}


def environment(extra=None):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("OPENBLAS_", "MALLOC_", "OMP_", "MKL_"))}
    if env.get("COTANGENT_ISA") == "avx2":
        env.update(AVX2)
    # What has no flag for threads reads these.
    env.update(RAYON_NUM_THREADS=str(a.threads), OMP_NUM_THREADS=str(a.threads), **(extra or {}))
    return env


def call(command, extra=None, cwd=None):
    """The JSON lines that a command prints; ends the run when it fails."""
    done = subprocess.run(command, env=environment(extra), cwd=cwd, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(f"`{' '.join(command)}` ended with {done.returncode}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def virtual_environment(name, *installs):
    """The interpreter of a virtual environment in target/peers, in which pip has done all `installs`."""
    venv = os.path.join(WORK, name)
    python = os.path.join(venv, "bin", "python")
    if not os.path.exists(os.path.join(venv, "ready")):
        note(f"installing {', '.join(x for packages in installs for x in packages if x[0] != '-')} into target/peers/{name}")
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        for packages in installs:
            subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        open(os.path.join(venv, "ready"), "w").close()
    return python


def prepare_python():
    index = [f"--index-url={a.torch_index}"] if a.torch_index else []
    return a.python or virtual_environment("venv", ["numpy", "safetensors", "onnx", "onnxruntime"], [*index, "torch"])


def prepare_rust(name, program, **more):
    note(f"building {name}")
    target = os.path.join(WORK, name)
    subprocess.run(["cargo", "build", "--release", "--locked", "--quiet"], check=True, cwd=os.path.join(HERE, name),
                   env={**os.environ, "RUSTFLAGS": RUST, "CARGO_TARGET_DIR": target, **more})
    return os.path.join(target, "release", program)


def prepare_tch():
    """Linked to the libtorch that a wheel of PyTorch brings; tch is generated from, and compiles with, one version of it."""
    python = a.tch_python or virtual_environment("tch-venv", [f"torch=={TCH_TORCH}", "numpy", "setuptools"])
    folder = subprocess.run([python, "-c", "import torch; print(torch.__path__[0])"], check=True, capture_output=True, text=True)
    path = os.path.dirname(os.path.abspath(python)) + os.pathsep + os.environ["PATH"]
    program = prepare_rust("tch", "tch-operations", PATH=path, LIBTORCH_USE_PYTORCH="1")
    return program, {"LD_LIBRARY_PATH": os.path.join(folder.stdout.strip(), "lib")}


def prepare_mnist():
    """The training pixels and labels as raw bytes, for peers without a reader of gzip."""
    for kind in ("images", "labels"):
        members = sorted(glob.glob(os.path.join(ROOT, "mnist", "data", f"train-{kind}-*.gz")))
        with open(os.path.join(WORK, f"train-{kind}"), "wb") as out:
            for member in members:
                with gzip.open(member) as f:
                    shutil.copyfileobj(f, out)


def prepare_cotangent():
    if a.cotangent:
        return os.path.abspath(a.cotangent)
    note("building cotangent")
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
    subprocess.run(["cargo", "build", "--release", "--locked", "--quiet", "-p", "cotangent-cli"], check=True, cwd=ROOT)
    return os.path.join(target, "release", "cotangent")


os.makedirs(WORK, exist_ok=True)
cotangent = prepare_cotangent()
needs_python = {"train", "infer", "ops", "overhead", "memory", "start-up"} & set(sections)
python = prepare_python() if needs_python and not {"pytorch", "onnxruntime"} <= set(a.skip) else None
prepare_mnist()
rust = {name: prepare_rust(name, f"{name}-lenet")
        for name in ("burn", "candle") if name not in a.skip and {"train", "infer"} & set(sections)}
tch = prepare_tch() if not {"pytorch", "tch"} & set(a.skip) and {"ops", "overhead"} & set(sections) else None


def ours(*arguments):
    return call([cotangent, "bench", "--json", "--threads", str(a.threads), *arguments])


def script(name, *arguments, extra=None):
    return call([python, os.path.join(HERE, name), "--threads", str(a.threads), *arguments], extra)


def median(samples):
    return statistics.median(samples)


def chosen(rows):
    return [r for r in rows if not a.rows or any(text in r for text in a.rows)]


def comparison(name, peer, variant, our, their, **more):
    """Rounds stand side by side: a ratio is taken within a round, and the median of the ratios counts."""
    ratios = [t / o for t, o in zip(their, our)]
    return {"name": name, "peer": peer, "variant": variant, "cotangent_s": median(our), "peer_s": median(their),
            "ratio": median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios), "rounds": len(ratios),
            "cotangent_rounds": our, "peer_rounds": their, **more}


def agree(row):
    folder = tempfile.mkdtemp(dir=WORK)
    call([cotangent, "bench", "--filter", row, "--agree", folder, "--json", "--threads", str(a.threads)])
    return folder, os.path.join(folder, row)


def rounds(name, run_ours, peers):
    """All sides in turn. A peer is (name, {variant: its run}, further variants of a variant): its variants are tried
    once, then what the two fastest can be varied to; of all these the two fastest go through every round."""
    found, tried = [], {}
    for peer, variants, further in peers:
        times = {}

        def attempt(variants):
            for variant, run in variants.items():
                try:
                    line = run()
                except RuntimeError as error:
                    note(f"  {peer} {variant}: {error}")
                    continue
                times[variant] = (median(line["samples"]), line)
                note(f"  {name}: {peer} {variant}: {times[variant][0]:.4g} s, losses or logits differ by {line['disagreement']:.1e}")
            return sorted(times, key=lambda v: times[v][0])[:2]

        more = {key: run for variant in attempt(variants) for key, run in further(variant).items()}
        for variant in attempt(more):
            tried[peer, variant] = ((variants | more)[variant], times[variant][1])
    our, their = [], {key: [] for key in tried}
    for _ in range(a.rounds):
        our.append(run_ours())
        for key, (run, _) in tried.items():
            their[key].append(median(run()["samples"]))
    best = {}
    for (peer, variant), times in their.items():
        if peer not in best or median(times) < median(best[peer][1]):
            best[peer] = (variant, times)
    for peer, (variant, times) in best.items():
        line = tried[peer, variant][1]
        # A peer of one variant says by itself what it is.
        said = variant if peer == "PyTorch" else line["variant"]
        found.append(comparison(name, peer, said, our, times, disagreement=line["disagreement"], version=line["version"]))
        note(f"  {name}: {peer} {variant} ÷ cotangent = {found[-1]['ratio']:.2f}")
    return found


def no_more(variant):
    return {}


def our_median(row, *arguments):
    return lambda: next(line["median"] for line in ours("--filter", row, *arguments) if line["name"] == row)


def train():
    found = []
    for row in chosen(TRAINING):
        note(row)
        folder, data = agree(row)
        arguments = ["--epochs", str(a.epochs), "--seconds", str(a.seconds)]

        def pytorch(mode, extra):
            return lambda: script("pytorch_training.py", data, "--mode", mode, *arguments, extra=extra)[0]

        peers = []
        if "pytorch" not in a.skip:
            variants = {mode: pytorch(mode, None) for mode in a.modes.split(",")}
            peers.append(("PyTorch", variants, lambda mode: {f"{mode}, malloc keeps": pytorch(mode, KEEP)}))
        for name, program in rust.items():
            if row.startswith("train/lenet5/"):
                command = [program, "train", data, WORK, str(a.epochs)]
                peers.append((name.capitalize(), {"cpu": lambda command=command: call(command)[0]}, no_more))
        found += rounds(row, our_median(row, *arguments), peers)
        shutil.rmtree(folder)
    return found


def infer():
    found = []
    for row in chosen(INFERENCE):
        note(row)
        folder, data = agree(row)
        arguments = ["--seconds", str(a.seconds)]
        peers = []
        if "onnxruntime" not in a.skip:
            peers.append(("ONNX Runtime", {"cpu": lambda: script("onnxruntime_inference.py", data, *arguments)[0]}, no_more))
        if "pytorch" not in a.skip:
            def pytorch(mode):
                return lambda: script("pytorch_inference.py", data, "--modes", mode, *arguments, extra=KEEP)[0]
            modes = ("eager", "channels_last", "jit", "compile", "compile_cpp")
            peers.append(("PyTorch", {m: pytorch(m) for m in modes}, no_more))
        for name, program in rust.items():
            command = [program, "infer", data, str(a.seconds)]
            peers.append((name.capitalize(), {"cpu": lambda command=command: call(command)[0]}, no_more))
        found += rounds(row, our_median(row, *arguments), peers)
        shutil.rmtree(folder)
    return found


def variants(prefixes, *filters):
    """Our rows of one round: name without prefix → variant → median."""
    rows = {}
    for line in ours(*[x for f in filters for x in ("--filter", f)], "--seconds", str(a.seconds)):
        for prefix, variant in prefixes.items():
            if line["name"].startswith(prefix):
                rows.setdefault(line["name"].removeprefix(prefix), {})[variant] = line["median"]
    return rows


def fastest(variants):
    return min(variants.items(), key=lambda v: median(v[1]))


def operations(prefixes, keep, text):
    """Each row with the best variant on either side; PyTorch's over layouts, ways to call, threads and malloc. Ours runs
    anew before each setting of these, and ratios are taken within such a turn: memory is not always equally fast."""
    turns = [(t, m) for t in sorted({1, a.threads}) for m in ("", "malloc keeps")]
    our, their, without_python, version = {}, {}, {}, None
    filters = [f"{p}{r}" for p in prefixes for r in a.rows] if a.rows else list(prefixes)
    only = a.rows or [keep]
    for i, turn in ((i, turn) for i in range(a.rounds) for turn in turns):
        threads, malloc = turn
        note(f"{text}, round {i + 1} of {a.rounds}, {threads} threads {malloc}")
        extra = KEEP if malloc else {}

        def collect(rows, lines):
            for line in lines:
                rows.setdefault(line["name"], {}).setdefault((turn, line["variant"]), []).append(median(line["samples"]))
            return lines

        for name, by_variant in variants(prefixes, *filters).items():
            for variant, time_ in by_variant.items():
                our.setdefault(name, {}).setdefault(turn, {}).setdefault(variant, []).append(time_)
        command = [python, os.path.join(HERE, "pytorch_operations.py"), *(x for text in only for x in ("--filter", text))]
        command += ["--threads", str(threads), "--seconds", str(a.seconds)]
        version = next((line["version"] for line in collect(their, call(command, extra))), version)
        if tch:
            program, libraries = tch
            collect(without_python, call([program, only[0] if len(only) == 1 else keep, str(threads), str(a.seconds)], libraries | extra))
    found = []
    for name in our:
        key = name if name in their else f"{keep}{name}"

        def beside(peer, rows, version):
            """The variant that is fastest beside ours of the same turn."""
            each = []
            for (turn, variant), times in rows.items():
                (threads, malloc), (mine, own) = turn, fastest(our[name][turn])
                variant = ", ".join(x for x in (variant, f"{threads} thread{'s' * (threads > 1)}", malloc) if x)
                each.append(comparison(key, peer, variant, own, times, version=version, cotangent_variant=mine,
                                       cotangent_variants={k: median(v) for k, v in our[name][turn].items()}))
            return min(each, key=lambda r: r["ratio"])

        if key in their:
            found.append(beside("PyTorch", their[key], version))
            # Where the call from Python counts, libtorch stands beside it without one.
            if key in without_python and (keep or found[-1]["peer_s"] < SHORT):
                found.append(beside("tch", without_python[key], f"0.26, torch {TCH_TORCH}"))
    return found


def ops():
    return operations({"op/": "eager", "op-recorded/": "recorded"}, "", "operations")


def overhead():
    return operations({"overhead/": "eager"}, "overhead/", "overhead")


def process(command, extra=None):
    """Wall time, peak memory and output of a whole process."""
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+", dir=WORK) as out:
        child = subprocess.Popen(command, env=environment(extra), stdout=out, stderr=subprocess.DEVNULL, cwd=WORK)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise RuntimeError(f"`{' '.join(command)}` ended with {child.returncode}")
        out.seek(0)
        return seconds, usage.ru_maxrss * 1024, out.read()


def train_command(*arguments):
    folder = tempfile.mkdtemp(dir=WORK)
    return [cotangent, "train", "--json", "--threads", str(a.threads), "--out", folder, *arguments], folder


def memory():
    our, their = [], []
    for i in range(a.rounds):
        note(f"memory, round {i + 1} of {a.rounds}")
        command, folder = train_command("--epochs", "1", "--batch", "64")
        our.append(process(command)[1])
        shutil.rmtree(folder)
        their.append(process([python, os.path.join(HERE, "pytorch_memory.py")])[1])
    found = comparison("memory/lenet5/batch-64", "PyTorch", "bytes, eager, default malloc", their, our)
    # Ours ÷ theirs: less is better.
    found.update(cotangent_bytes=median(our), peer_bytes=median(their))
    for key in ("cotangent_s", "peer_s", "cotangent_rounds", "peer_rounds"):
        del found[key]
    return [found]


def start_up():
    our, their = [], []
    for _ in range(max(a.rounds, 20)):
        our.append(process([cotangent, "--version"])[0])
    for _ in range(a.rounds):
        their.append(process([python, "-c", "import torch"])[0])
    return [{"name": "start-up/version", "cotangent_s": median(our), "min": min(our), "max": max(our), "rounds": len(our),
             "import_torch_s": median(their)}]


def default_run():
    runs = []
    first = int.from_bytes(os.urandom(4), "little")
    for seed in range(first, first + a.seeds):
        command, folder = train_command("--seed", str(seed))
        seconds, _, out = process(command)
        shutil.rmtree(folder)
        end = json.loads(out.strip().splitlines()[-1])
        runs.append({"seed": seed, "seconds": seconds, "test_accuracy": end["test_acc"]})
        note(f"default run, seed {seed}: {seconds:.2f} s, {100 * end['test_acc']:.2f} %")
    times, right = [r["seconds"] for r in runs], sum(r["test_accuracy"] >= 0.99 for r in runs)
    return [{"name": "default-run", "seconds": median(times), "seconds_min": min(times), "seconds_max": max(times),
             "runs": runs, "reached_99": right, "of": len(runs)}]


def seconds(x):
    for scale, unit in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if x >= scale or unit == "µs":
            return f"{x / scale:.3g} {unit}"


def table(lines, found):
    lines += ["| row | peer, variant | peer | cotangent | peer ÷ cotangent | least to most |", "| --- | --- | --- | --- | --- | --- |"]
    for r in found:
        mine = seconds(r["cotangent_s"]) + (f" ({r['cotangent_variant']})" if "cotangent_variant" in r else "")
        lines.append(f"| {r['name']} | {r['peer']} {r.get('version', '')}, {r['variant']} | {seconds(r['peer_s'])} | {mine} "
                     f"| **{r['ratio']:.2f}** | {r['ratio_min']:.2f} to {r['ratio_max']:.2f} |")


def geometric_mean(found):
    return math.exp(statistics.fmean(math.log(r["ratio"]) for r in found))


def markdown(result):
    m, lines = result["machine"], ["# cotangent and its peers", ""]
    lines += [f"{m['cpu']}, {m['cores']} cores, {m['threads']} threads, {m['system']}; {m['cotangent']}; "
              f"{result['rounds']} rounds; load before: {m['load']}.", ""]
    for section in SECTIONS:
        found = result["sections"].get(section)
        if not found:
            continue
        lines += [f"## {section}", ""]
        if section == "ops":
            short = [r for r in found if r["peer"] == "tch" or r["peer_s"] < SHORT]
            long = [r for r in found if r not in short]
            if long:
                table(lines, long)
                worst = min(long, key=lambda r: r["ratio"])
                lines += ["", f"Geometric mean of {len(long)} rows: **{geometric_mean(long):.2f}**; least: {worst['ratio']:.2f} ({worst['name']}).", ""]
            if short:
                lines += ["### Under 50 µs: Python call included", ""]
                table(lines, short)
                of_pytorch = [r for r in short if r["peer"] == "PyTorch"]
                lines += ["", f"Geometric mean of {len(of_pytorch)} rows of PyTorch: **{geometric_mean(of_pytorch):.2f}**.", ""]
        elif section == "overhead":
            lines += ["Python call included with PyTorch, not with tch.", ""]
            table(lines, found)
        elif section == "memory":
            for r in found:
                lines.append(f"{r['name']}: cotangent {r['cotangent_bytes'] / 2**20:.0f} MiB, PyTorch {r['peer_bytes'] / 2**20:.0f} MiB; "
                             f"cotangent ÷ PyTorch **{r['ratio']:.3f}** ({r['ratio_min']:.3f} to {r['ratio_max']:.3f}).")
        elif section == "start-up":
            for r in found:
                lines.append(f"`cotangent --version`: **{seconds(r['cotangent_s'])}** ({seconds(r['min'])} to {seconds(r['max'])}); "
                             f"`import torch`: {seconds(r['import_torch_s'])}.")
        elif section == "default-run":
            for r in found:
                lines.append(f"`cotangent train`, process start to exit: **{seconds(r['seconds'])}** ({seconds(r['seconds_min'])} to "
                             f"{seconds(r['seconds_max'])}); at least 99.0 % on {r['reached_99']} of {r['of']} fresh seeds.")
        else:
            table(lines, found)
        lines.append("")
    return "\n".join(lines)


def cpu():
    with open("/proc/cpuinfo") as f:
        return next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), platform.machine())


version = subprocess.run([cotangent, "--version"], capture_output=True, text=True, check=True).stdout.strip()
result = {"machine": {"cpu": cpu(), "cores": os.cpu_count(), "threads": a.threads, "system": platform.platform(),
                      "cotangent": version, "isa": os.environ.get("COTANGENT_ISA", "best"), "load": os.getloadavg()[0]},
          "rounds": a.rounds, "command": sys.argv, "rust_flags": RUST, "malloc": KEEP, "sections": {}}
work = {"train": train, "infer": infer, "ops": ops, "overhead": overhead, "memory": memory, "start-up": start_up, "default-run": default_run}
path = a.json or os.path.join(WORK, "results.json")
for section in SECTIONS:
    if section in sections:
        result["sections"][section] = work[section]()
        # What is found is kept, whatever comes after it.
        with open(path, "w") as f:
            json.dump(result, f, indent=1, ensure_ascii=False)
print(markdown(result))
note(f"JSON: {path}")
