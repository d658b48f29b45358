#!/usr/bin/env python3
"""Keeps the inputs of a fuzz target in one zip: many small files, which a repository and its readers would feel.

usage: scripts/fuzz_corpus.py unpack fuzz/corpus/TARGET.zip FOLDER
       scripts/fuzz_corpus.py pack FOLDER fuzz/corpus/TARGET.zip [BYTES]

`pack` takes the smallest inputs first, until the zip has about BYTES (default 200000). The same inputs give the same zip.
"""

import hashlib
import sys
import zipfile
import zlib
from pathlib import Path


def main():
    match sys.argv[1:]:
        case ["unpack", archive, folder]:
            Path(folder).mkdir(parents=True, exist_ok=True)
            if Path(archive).exists():
                with zipfile.ZipFile(archive) as opened:
                    for name in opened.namelist():
                        (Path(folder) / Path(name).name).write_bytes(opened.read(name))
        case ["pack", folder, archive, *rest]:
            budget = int(rest[0]) if rest else 200_000
            inputs = {hashlib.sha1(content).hexdigest(): content for content in (p.read_bytes() for p in Path(folder).iterdir())}
            Path(archive).parent.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(archive, "w") as out:
                for name, content in sorted(inputs.items(), key=lambda item: (len(item[1]), item[0])):
                    # Names stand in the zip twice.
                    budget -= len(zlib.compress(content, 9)) + 140
                    if budget < 0:
                        break
                    entry = zipfile.ZipInfo(name)
                    entry.compress_type = zipfile.ZIP_DEFLATED
                    out.writestr(entry, content, compresslevel=9)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
