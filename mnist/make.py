#!/usr/bin/env python3
"""Make the compressed chunks in data/ from the four IDX files of the MNIST database.

    pip install zopfli
    python3 make.py FOLDER            write data/*.gz from FOLDER/*-ubyte or FOLDER/*-ubyte.gz
    python3 make.py --check           only check that data/*.gz hold the published files

The chunks hold no IDX headers. Each is a gzip member of its own, without name or time stamp, so that chunks
inflate in parallel, each guarded by its CRC-32, and the same input always gives the same bytes.
"""

import argparse
import concurrent.futures
import gzip
import hashlib
import pathlib
import struct
import sys

DATA = pathlib.Path(__file__).resolve().parent / "data"
ITERATIONS = 15

# (IDX file, header, chunk name, chunks, published SHA-256 of the uncompressed IDX file)
FILES = [
    ("train-images-idx3-ubyte", struct.pack(">4I", 0x803, 60_000, 28, 28), "train-images", 16,
     "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    ("train-labels-idx1-ubyte", struct.pack(">2I", 0x801, 60_000), "train-labels", 1,
     "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    ("t10k-images-idx3-ubyte", struct.pack(">4I", 0x803, 10_000, 28, 28), "test-images", 4,
     "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    ("t10k-labels-idx1-ubyte", struct.pack(">2I", 0x801, 10_000), "test-labels", 1,
     "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
]


def chunk_paths(name, chunks):
    return [DATA / f"{name}-{k:02}.gz" for k in range(chunks)]


def check_sum(what, content, published):
    found = hashlib.sha256(content).hexdigest()
    if found != published:
        sys.exit(f"{what}: SHA-256 is {found}, published is {published}")


def read_idx(folder, name):
    plain, packed = folder / name, folder / f"{name}.gz"
    if plain.exists():
        return plain.read_bytes()
    if packed.exists():
        return gzip.decompress(packed.read_bytes())
    sys.exit(f"neither {plain} nor {packed} exists")


def write_chunk(path, content):
    import zopfli.gzip

    path.write_bytes(zopfli.gzip.compress(content, numiterations=ITERATIONS))


def make(folder):
    DATA.mkdir(exist_ok=True)
    jobs = []
    for file, header, name, chunks, published in FILES:
        idx = read_idx(folder, file)
        check_sum(file, idx, published)
        body = idx[len(header):]
        size = len(body) // chunks
        for k, path in enumerate(chunk_paths(name, chunks)):
            jobs.append((path, body[k * size:(k + 1) * size]))
    with concurrent.futures.ProcessPoolExecutor() as pool:
        list(pool.map(write_chunk, *zip(*jobs)))


def check():
    total = 0
    for file, header, name, chunks, published in FILES:
        packed = [path.read_bytes() for path in chunk_paths(name, chunks)]
        check_sum(f"{file} rebuilt from data/", header + b"".join(map(gzip.decompress, packed)), published)
        total += sum(map(len, packed))
    print(f"data/ holds the published files, in {total:,} bytes")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", nargs="?", type=pathlib.Path, help="where the IDX files are")
    arguments.add_argument("--check", action="store_true", help="check data/ only")
    given = arguments.parse_args()
    if given.folder is None and not given.check:
        arguments.error("name the folder with the IDX files, or --check")
    if given.folder is not None:
        make(given.folder)
    check()
