"""wheel.py FOLDER VERSION GLIBC OUT: a wheel that holds the program of FOLDER; prints its path.

A wheel is a ZIP file (PEP 427): `NAME.data/scripts` is installed among the programs, `NAME.data/data` below the
environment, and RECORD lists every file with its hash.
"""

import base64
import hashlib
import sys
import zipfile
from pathlib import Path

folder, version, glibc, out = Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4])
tag = f"py3-none-manylinux_{glibc.replace('.', '_')}_x86_64"
name = f"cotangent-{version}"
readme = (folder / "README.md").read_text(encoding="utf-8")

metadata = f"""Metadata-Version: 2.4
Name: cotangent
Version: {version}
Summary: Deep learning from the chain rule up: the program
License-Expression: (MIT OR Apache-2.0) AND CC-BY-SA-3.0
Classifier: Operating System :: POSIX :: Linux
Classifier: Programming Language :: Rust
Description-Content-Type: text/markdown

{readme}"""
wheel = f"Wheel-Version: 1.0\nGenerator: cotangent\nRoot-Is-Purelib: false\nTag: {tag}\n"

files = {f"{name}.data/scripts/cotangent": ((folder / "cotangent").read_bytes(), 0o755)}
for page in sorted((folder / "man/man1").iterdir()):
    files[f"{name}.data/data/share/man/man1/{page.name}"] = (page.read_bytes(), 0o644)
for licence in sorted((folder / "licences").iterdir()):
    files[f"{name}.dist-info/licenses/{licence.name}"] = (licence.read_bytes(), 0o644)
files[f"{name}.dist-info/METADATA"] = (metadata.encode(), 0o644)
files[f"{name}.dist-info/WHEEL"] = (wheel.encode(), 0o644)


def digest(content):
    """As RECORD has it: URL-safe, without padding."""
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


record = f"{name}.dist-info/RECORD"
rows = [f"{path},sha256={digest(content)},{len(content)}" for path, (content, _) in files.items()]
files[record] = ("\n".join([*rows, f"{record},,", ""]).encode(), 0o644)

path = out / f"{name}-{tag}.whl"
with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
    for inside, (content, mode) in files.items():
        entry = zipfile.ZipInfo(inside, date_time=(1980, 1, 1, 0, 0, 0))
        entry.external_attr = (0o100000 | mode) << 16
        entry.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(entry, content)
print(path)
