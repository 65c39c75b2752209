"""Builds the wheel, with the standard library alone:

    python3 python/build_wheel.py --stage target/dist/tenon-VERSION-TARGET --out target/dist

The stage is the tree that `cargo xtask dist` packs. Its library, plugins, manifests and models go into the package,
where libtenon finds them around itself, so that an installed wheel works as it is. The same stage gives the same bytes.

It is also the build backend of pyproject.toml: `pip install -e python/` links this folder, for work in a checkout.
"""

import argparse
import base64
import hashlib
import os
import re
import struct
import sys
import sysconfig
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = HERE / "src" / "tenon"

#: Where the stage and the package have the programs that the library starts.
PROGRAMS = "libexec/tenon"

#: What a wheel may link to on every Linux, as the manylinux policies list it.
EVERYWHERE = {
    "ld-linux-aarch64.so.1",
    "ld-linux-x86-64.so.2",
    "libc.so.6",
    "libdl.so.2",
    "libgcc_s.so.1",
    "libm.so.6",
    "libpthread.so.0",
    "librt.so.1",
    "libstdc++.so.6",
}
#: Versions of libstdc++ (3.4.N) and the first manylinux_2_N whose systems all have them.
STANDARD_LIBRARIES = ((19, 17), (22, 24), (29, 34), (30, 35), (32, 39), (33, 40))
#: Names of machines by their number in ELF.
MACHINES = {62: "x86_64", 183: "aarch64"}


class Elf:
    """What a shared library of 64 bits, little end first, needs."""

    def __init__(self, path):
        self.data = path.read_bytes()
        if self.data[:6] != b"\x7fELF\x02\x01":
            sys.exit(f"{path} is no library of 64 bits that a wheel is made for")
        self.machine = self.number("H", 18)
        self.sections = self.read_sections()
        self.needed = set()
        self.versions = set()
        self.read_dynamic()
        self.read_versions()

    def number(self, kind, at):
        return struct.unpack_from("<" + kind, self.data, at)[0]

    def read_sections(self):
        """The sections, as (type, offset, size, linked section, info)."""
        table, size, count = self.number("Q", 40), self.number("H", 58), self.number("H", 60)
        places = [table + index * size for index in range(count)]
        return [struct.unpack_from("<4xI16xQQII", self.data, place) for place in places]

    def text(self, strings, offset):
        start = self.sections[strings][1] + offset
        return self.data[start : self.data.index(b"\0", start)].decode()

    def read_dynamic(self):
        for kind, offset, size, strings, _ in self.sections:
            if kind == 6:
                for tag, value in struct.iter_unpack("<QQ", self.data[offset : offset + size]):
                    if tag == 1:
                        self.needed.add(self.text(strings, value))

    def read_versions(self):
        """The versions of symbols that it needs of others, such as GLIBC_2.34."""
        for kind, offset, _, strings, count in self.sections:
            if kind != 0x6FFFFFFE:
                continue
            for _ in range(count):
                entries, first, following = struct.unpack_from("<2xH4xII", self.data, offset)
                entry = offset + first
                for _ in range(entries):
                    name, ahead = struct.unpack_from("<8xII", self.data, entry)
                    self.versions.add(self.text(strings, name))
                    entry += ahead
                offset += following


def platform_tag(libraries):
    """The systems that the libraries run on, as wheels name them."""
    if sys.platform != "linux":
        return re.sub(r"\W", "_", sysconfig.get_platform())
    elves = [Elf(path) for path in libraries]
    machines = {elf.machine for elf in elves}
    if len(machines) != 1 or not machines <= set(MACHINES):
        sys.exit(f"the libraries are for other machines than wheels are made for: {sorted(machines)}")
    machine = MACHINES[machines.pop()]
    foreign = set().union(*(elf.needed for elf in elves)) - EVERYWHERE
    versions = set().union(*(elf.versions for elf in elves))
    glibc = max(numbers("GLIBC_2", versions), default=17)
    known = [
        first for version, first in STANDARD_LIBRARIES if version >= max(numbers("GLIBCXX_3.4", versions), default=0)
    ]
    if foreign or not known:
        reason = f"it needs {', '.join(sorted(foreign))}" if foreign else "its libstdc++ is newer than this script"
        print(f"build_wheel: no manylinux wheel, because {reason}", file=sys.stderr)
        return f"linux_{machine}"
    return f"manylinux_2_{max(glibc, known[0])}_{machine}"


def numbers(name, versions):
    """The numbers that follow a name and a point."""
    found = (re.match(re.escape(name) + r"\.(\d+)", version) for version in versions)
    return [int(match.group(1)) for match in found if match]


def version():
    """The version of the header that the package was made from."""
    text = (PACKAGE / "_abi.py").read_text(encoding="utf-8")
    found = re.search(r'^TENON_VERSION_STRING = "(\d+\.\d+\.\d+)"$', text, re.MULTILINE).group(1)
    return found


def shared_library(stage):
    """The library of a stage, under the name that the dynamic linker looks for."""
    major, minor = version().split(".")[:2]
    abi = f"0.{minor}" if major == "0" else major
    names = [f"lib/libtenon.so.{abi}", f"lib/libtenon.{abi}.dylib", "lib/tenon.dll"]
    for path in (stage / name for name in names):
        if path.is_file():
            return path
    sys.exit(f"{stage} has none of {', '.join(names)}: make it by `cargo xtask dist`")


def files_of(stage):
    """What the package holds: name in the wheel, and file."""
    library = shared_library(stage)
    yield f"tenon/lib/{library.name}", library
    for path in tree(PACKAGE):
        yield f"tenon/{path.relative_to(PACKAGE).as_posix()}", path
    for folder in (PROGRAMS, "lib/tenon/plugins", "share/tenon/manifests", "share/tenon/models"):
        if not any(tree(stage / folder)):
            sys.exit(f"{stage / folder} is empty: make it by `cargo xtask dist`")
        for path in tree(stage / folder):
            # The recordings are for demonstration, and larger than the rest of the package.
            if "recordings" not in path.relative_to(stage).parts:
                yield f"tenon/{path.relative_to(stage).as_posix()}", path


def licences_of(stage):
    """Texts of everything bundled: name under the folder of licences, and file."""
    folder = stage / "share/doc/tenon/licenses"
    bundled = [(path.relative_to(folder).as_posix(), path) for path in tree(folder)]
    own = [(name, HERE.parent / name) for name in ("LICENSE-APACHE", "LICENSE-MIT")]
    return sorted({**dict(bundled), **dict(own)}.items())


def tree(folder):
    """The files of a folder, in an order that does not depend on the disk."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def metadata(licences):
    lines = [
        "Metadata-Version: 2.4",
        "Name: tenon",
        f"Version: {version()}",
        "Summary: Speech and language models on the user's own machine",
        "License-Expression: MIT OR Apache-2.0",
        *(f"License-File: {name}" for name, _ in licences),
        "Requires-Python: >=3.9",
        "Classifier: Development Status :: 3 - Alpha",
        "Classifier: Intended Audience :: Developers",
        "Classifier: Programming Language :: Python :: 3",
        "Classifier: Topic :: Multimedia :: Sound/Audio :: Speech",
        "Classifier: Typing :: Typed",
        "Description-Content-Type: text/markdown",
        "",
        (HERE / "README.md").read_text(encoding="utf-8"),
    ]
    return "\n".join(lines)


class Wheel:
    """A wheel that is being written."""

    def __init__(self, folder, tag, compression=9):
        self.name = f"tenon-{version()}-{tag}.whl"
        self.tag = tag
        self.info = f"tenon-{version()}.dist-info"
        self.records = []
        self.archive = zipfile.ZipFile(Path(folder) / self.name, "w", zipfile.ZIP_DEFLATED, compresslevel=compression)

    def add(self, name, data):
        entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.create_system = 3
        runs = name.endswith((".so", ".dylib")) or ".so." in name or name.startswith(f"tenon/{PROGRAMS}/")
        entry.external_attr = (0o100755 if runs else 0o100644) << 16
        self.archive.writestr(entry, data)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        self.records.append(f"{name},sha256={digest},{len(data)}\n")

    def finish(self, licences, pure):
        for name, path in licences:
            self.add(f"{self.info}/licenses/{name}", path.read_bytes())
        about = f"Wheel-Version: 1.0\nGenerator: tenon-build-wheel\nRoot-Is-Purelib: {pure}\nTag: {self.tag}\n"
        self.add(f"{self.info}/METADATA", metadata(licences).encode())
        self.add(f"{self.info}/WHEEL", about.encode())
        self.records.append(f"{self.info}/RECORD,,\n")
        self.archive.writestr(zipfile.ZipInfo(f"{self.info}/RECORD", (1980, 1, 1, 0, 0, 0)), "".join(self.records))
        self.archive.close()
        return self.name


def pack(stage, folder, compression=9):
    """Writes the wheel of a stage into a folder. Gives its name."""
    stage = Path(stage)
    files = sorted(files_of(stage))
    native = ("tenon/lib/", f"tenon/{PROGRAMS}/")
    libraries = [path for name, path in files if name.startswith(native) and path.suffix != ".toml"]
    wheel = Wheel(folder, f"py3-none-{platform_tag(libraries)}", compression)
    for name, path in files:
        wheel.add(name, path.read_bytes())
    return wheel.finish(licences_of(stage), "false")


# ---------------------------------------- The build backend of pyproject.toml ----------------------------------------


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """A whole wheel, of the stage that TENON_STAGE names."""
    stage = os.environ.get("TENON_STAGE")
    if not stage:
        sys.exit("set TENON_STAGE to the folder that `cargo xtask dist` packs, target/dist/tenon-VERSION-TARGET")
    return pack(stage, wheel_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """A wheel that points to this checkout."""
    wheel = Wheel(wheel_directory, "py3-none-any")
    wheel.add("tenon.pth", f"{PACKAGE.parent}\n".encode())
    return wheel.finish([(name, HERE.parent / name) for name in ("LICENSE-APACHE", "LICENSE-MIT")], "true")


def main():
    parser = argparse.ArgumentParser(description="Builds the wheel of a stage.")
    parser.add_argument("--stage", type=Path, required=True, help="the tree that `cargo xtask dist` packs")
    parser.add_argument("--out", type=Path, required=True, help="the folder that the wheel is written to")
    parser.add_argument("--compression", type=int, choices=range(10), default=9, metavar="0-9", help="9 is smallest")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    print(arguments.out / pack(arguments.stage, arguments.out, arguments.compression))


if __name__ == "__main__":
    main()
