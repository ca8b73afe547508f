"""What a wheel contains that is not ours: licences, and a list that programs read (CycloneDX)."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import time
import uuid
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import toolchain
from targets import CUDA, Target


@dataclass(frozen=True)
class Part:
    """Something that is linked into the native module."""

    name: str
    version: str
    licence: str
    """As SPDX writes it."""
    text: str
    origin: str
    """Package URL of what it was taken from."""


def parts(target: Target) -> list[Part]:
    """What is linked into the module for a system, with the texts of the licences."""
    nanobind = Path(str(metadata.distribution("nanobind").locate_file("nanobind")))
    robin = nanobind / "ext" / "robin_map" / "include" / "tsl" / "robin_map.h"
    binder = metadata.version("nanobind")
    of_nanobind = f"pkg:pypi/nanobind@{binder}"
    found = [
        Part("nanobind", binder, "BSD-3-Clause", _licence_of("nanobind"), of_nanobind),
        Part("robin-map", binder, "MIT", _head(robin), of_nanobind),
    ]
    return [*found, *(_of_nvcc() if target is CUDA else _of_zig(target))]


def _of_nvcc() -> list[Part]:
    """What the CUDA toolkit adds: its runtime, and CUB's sorts and sums."""

    def said(*words: str) -> str:
        done = subprocess.run(["nvcc", *words], capture_output=True, text=True)
        return done.stdout + done.stderr

    (version,) = re.findall(r"V(\d[\d.]+)", said("--version"))
    # What is on PATH may be a script.
    (programs,) = re.findall(r"_HERE_=(.+)", said("--dryrun", "-c", "none.cu"))
    toolkit = Path(programs).parent
    texts = sorted(toolkit.glob("EULA*")) + sorted(
        toolkit.glob("dist-info/nvidia_cuda_runtime-*.dist-info/licenses/*")
    )
    if not texts:
        raise SystemExit(f"{toolkit} has no EULA.txt; expected the licence of CUDA's runtime there")
    sorts = next(toolkit.glob("include/**/cub/device/device_radix_sort.cuh"))
    terms, origin = _read(texts[0]), f"pkg:generic/cuda-toolkit@{version}"
    return [
        Part("CUDA runtime", version, "LicenseRef-NVIDIA-CUDA-EULA", terms, origin),
        Part("CUB", version, "BSD-3-Clause", _head(sorts), origin),
    ]


def _of_zig(target: Target) -> list[Part]:
    """What Zig's compiler adds."""
    compiler = metadata.version("ziglang")
    library, of_zig = toolchain.zig().parent / "lib", f"pkg:pypi/ziglang@{compiler}"
    llvm = "Apache-2.0 WITH LLVM-exception"
    text = _read(library.parent / "LICENSE")
    found = [Part("compiler-rt (Zig)", compiler, "MIT", text, of_zig)]
    if target.system != "Darwin":  # where libc++ is a library of the system
        for name in ("libcxx", "libcxxabi", "libunwind"):
            found.append(Part(name, compiler, llvm, _read(library / name / "LICENSE.TXT"), of_zig))
    if target.system == "Windows":
        text = _read(library / "libc" / "mingw" / "COPYING")
        found.append(Part("mingw-w64 runtime", compiler, "ZPL-2.1", text, of_zig))
    return found


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _licence_of(distribution: str) -> str:
    files = metadata.distribution(distribution).files or []
    (file,) = (each for each in files if each.name == "LICENSE" and "licenses" in each.parts)
    return _read(Path(str(file.locate())))


def _head(header: Path) -> str:
    """The licence at the beginning of a header."""
    text = _read(header)
    begins = text.index("/**")
    rows = text[begins : text.index("*/", begins)].splitlines()[1:]
    lines = [row.removeprefix(" *").removeprefix(" ") for row in rows]
    return "\n".join(line for line in lines if not line.startswith("**")).strip() + "\n"


def completed(built: Path, out: Path, target: Target, epoch: int) -> Path:
    """The wheel for `target` in `out`, with licences and a list of parts, written byte for byte
    the same whenever it is written."""
    with zipfile.ZipFile(built) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if name[-1] != "/"}
    _check_modules(built, files, target)
    (record,) = (name for name in files if name.endswith(".dist-info/RECORD"))
    info = record.rpartition("/")[0]
    linked = parts(target)
    named = []
    for part in linked:
        name = re.sub(r"[^\w.-]+", "-", part.name).strip("-") + ".txt"
        named.append(f"third-party/{name}")
        files[f"{info}/licenses/third-party/{name}"] = part.text.encode()
    files[f"{info}/METADATA"] = _with_licences(files[f"{info}/METADATA"], named)
    files[f"{info}/sboms/splat-toolkit.cdx.json"] = _bill(files, info, linked, target, epoch)
    files[f"{info}/WHEEL"] = _tagged(files[f"{info}/WHEEL"], target)
    del files[record]
    files[record] = _record(files, record)
    place = out / f"{built.stem.rpartition('-')[0]}-{target.platform}.whl"
    draft = place.with_suffix(".part")
    with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files, key=lambda name: (name.startswith(info), name)):
            entry = zipfile.ZipInfo(name, time.gmtime(max(epoch, 315532800))[:6])
            entry.external_attr = (0o755 if name.endswith((".so", ".pyd")) else 0o644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, files[name])
    draft.replace(place)
    return place


def _check_modules(built: Path, files: Iterable[str], target: Target) -> None:
    """Refuse modules that are named as those of another system, which no Python would find."""
    python, abi = built.stem.split("-")[2:4]
    ending = target.ending(int(python.removeprefix("cp3")), abi == "abi3")
    modules = [name for name in files if re.fullmatch(r"splat/_\w+\..*(so|pyd)", name)]
    odd = [name for name in modules if name != f"{name.partition('.')[0]}{ending}"]
    if odd or not modules:
        raise SystemExit(f"{built.name} holds {', '.join(odd) or 'no module'}; expected *{ending}")


def _with_licences(text: bytes, named: list[str]) -> bytes:
    """METADATA that names the files of licences, too (PEP 639)."""
    lines = "".join(f"License-File: {name}\n" for name in named).encode()
    found = re.search(rb"^License-File: .*\n", text, re.MULTILINE)
    if found is None:
        raise SystemExit("METADATA names no License-File; expected that of pyproject.toml")
    return text[: found.end()] + lines + text[found.end() :]


def _tagged(text: bytes, target: Target) -> bytes:
    """WHEEL with the tag of the oldest system that the module runs on, in place of this one's."""
    return re.sub(
        rb"^(Tag: \S+-)[^-\s]+$", rb"\1" + target.platform.encode(), text, flags=re.MULTILINE
    )


def _record(files: dict[str, bytes], record: str) -> bytes:
    rows = []
    for name in sorted(files):
        digest = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest()).rstrip(b"=")
        rows.append(f"{name},sha256={digest.decode()},{len(files[name])}")
    return "\n".join([*rows, f"{record},,", ""]).encode()


def _bill(
    files: dict[str, bytes], info: str, linked: list[Part], target: Target, epoch: int
) -> bytes:
    """The bill of materials: CycloneDX 1.6, as JSON."""
    version = info.rpartition("/")[2].removesuffix(".dist-info").rpartition("-")[2]
    whole = f"pkg:pypi/splat-toolkit@{version}"
    (module,) = (name for name in files if re.fullmatch(r"splat/_cpu\..*(so|pyd)", name))
    digest = hashlib.sha256(files[module]).hexdigest()
    components = [
        {
            "type": "library",
            "bom-ref": f"part:{part.name}",
            "name": part.name,
            "version": part.version,
            "licenses": [{"expression": part.licence}]
            if " " in part.licence or part.licence.startswith("LicenseRef-")
            else [{"license": {"id": part.licence}}],
            "properties": [
                {"name": "splat:taken-from", "value": part.origin},
                {"name": "splat:linked-into", "value": module},
            ],
        }
        for part in linked
    ]
    bill = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{whole}/{module}/{digest}')}",
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch)),
            "component": {
                "type": "library",
                "bom-ref": whole,
                "name": "splat-toolkit",
                "version": version,
                "purl": whole,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
                "properties": [{"name": "splat:platform", "value": target.platform}],
                "hashes": [],
            },
        },
        "components": [
            {
                "type": "file",
                "bom-ref": module,
                "name": module,
                "hashes": [{"alg": "SHA-256", "content": digest}],
            },
            *components,
        ],
        "dependencies": [
            {"ref": whole, "dependsOn": [module]},
            {"ref": module, "dependsOn": [f"part:{part.name}" for part in linked]},
        ],
    }
    return (json.dumps(bill, indent=1) + "\n").encode()


if __name__ == "__main__":
    completed(Path(sys.argv[1]), Path(sys.argv[2]), CUDA, int(os.environ["SOURCE_DATE_EPOCH"]))
