"""Writes size and SHA-256 of newly made model files into the manifests that name them.

    python3 manifests.py MANIFESTS MODEL…
"""

import glob
import hashlib
import os
import re
import sys


def recorded(manifest, name, size, digest):
    """The manifest's text with the file of this name described anew, and how many such files it has."""
    table = re.compile(rf'(name = "{re.escape(name)}"\nsha256 = ")[0-9a-f]{{64}}("\nsize = )\d+')
    return table.subn(rf"\g<1>{digest}\g<2>{size}", manifest)


def record(manifests, model):
    with open(model, "rb") as file:
        content = file.read()
    name, digest, found = os.path.basename(model), hashlib.sha256(content).hexdigest(), 0
    for path in sorted(glob.glob(os.path.join(manifests, "*.toml"))):
        with open(path, encoding="utf-8") as file:
            before = file.read()
        after, count = recorded(before, name, len(content), digest)
        found += count
        if after != before:
            with open(path, "w", encoding="utf-8") as file:
                file.write(after)
    if not found:
        sys.exit(f"manifests.py: no manifest in {manifests} names {name}")


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__.strip())
    for model in sys.argv[2:]:
        record(sys.argv[1], model)


if __name__ == "__main__":
    main()
