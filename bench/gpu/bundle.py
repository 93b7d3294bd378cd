"""`make gpu-bundle`: a folder for a machine with an NVIDIA GPU, and no network and no compiler.

There, `bash bundle/run.sh SECONDS` runs `python -m bench.gpu`. It needs the Python that the extension was built for,
NumPy and CuPy; torch to be compared with. The folder can be copied anywhere:

    run.sh, start.py      the command
    tree.tar.gz           dlcore with its extension and the pack of kernels, the tests, the bench, and COMMIT
    wheels/               small packages that are unpacked where they are missing
    done/                 put results.jsonl of earlier runs here, under any names, and what went well is not done again
"""

import argparse
import gzip
import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.gpu.record import ROOT, SOURCES
from dlcore.bench.machine import describe

LARGEST = 64 << 20  # bytes of all
FOLDERS = (*SOURCES, "bench", "tests")
LEFT_OUT = {"__pycache__", "results", "attacks", "observed", "typing"}
WHEELS = (
    "ml_dtypes", "tyro", "typeguard", "docstring_parser", "shtab", "rich", "markdown-it-py", "mdurl", "pygments",
    "typing_extensions", "pytest", "pluggy", "iniconfig", "packaging",
)  # fmt: skip
ASK = """
import json, sys, sysconfig
print(json.dumps([sys.version_info[:2], sysconfig.get_config_var("EXT_SUFFIX")]))
"""


def files(suffix: str) -> Iterator[Path]:
    """What goes into the tree: sources, data, and the extension whose name ends with ``suffix``."""
    yield from (ROOT / name for name in ("pyproject.toml", "setup.py"))
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            parts = set(path.relative_to(ROOT).parts)
            other = path.suffix == ".so" and not path.name.endswith(suffix)
            packs = path.is_relative_to(ROOT / "dlcore" / "kernels" / "packs")  # those that were asked for come instead
            if path.is_file() and not parts & LEFT_OUT and not other and not packs and path.suffix != ".pyc":
                yield path


def pack_tree(path: Path, suffix: str, packs: Sequence[Path], driver: Path) -> None:
    """Writes the tree, the same for the same files."""

    def clean(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = ""
        entry.mode = 0o644
        return entry

    with (
        path.open("wb") as file,
        gzip.GzipFile("", "wb", 6, file, 0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tree,
    ):
        for source in files(suffix):
            tree.add(source, str(source.relative_to(ROOT)), filter=clean)
        for pack in packs:
            tree.add(pack, f"dlcore/kernels/packs/{pack.name}", filter=clean)
        tree.add(driver, "tests/fake_driver/libcuda.so.1", filter=clean)  # for a dry run where there is no gcc
        commit = str(describe()["commit"]).encode()
        entry = clean(tarfile.TarInfo("COMMIT"))
        entry.size = len(commit)
        tree.addfile(entry, io.BytesIO(commit))


def wheels(folder: Path, version: tuple[int, int]) -> None:
    """Fetches the small packages for that Python."""
    places = [f"--platform=manylinux_2_{n}_x86_64" for n in (17, 27, 28)]
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", str(folder)]
    options = [f"--python-version={version[0]}.{version[1]}", "--implementation=cp", *places]
    subprocess.run([*command, *options, "--platform=manylinux2014_x86_64", *WHEELS], check=True)


def main() -> int:
    """Makes the folder."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu.bundle", description="Make a bundle for a GPU machine.")
    parser.add_argument("--python", default=sys.executable, help="the Python that the extension was built for")
    parser.add_argument("--packs", type=Path, default=ROOT / "dlcore" / "kernels" / "packs", help="folder of packs")
    parser.add_argument("--out", type=Path, default=ROOT / "bundle", help="folder of the bundle (bundle)")
    parser.add_argument("--no-wheels", action="store_true", help="take no packages along")
    parser.add_argument("--no-kernels", action="store_true", help="take no packs along: for a dry run")
    options = parser.parse_args()
    asked = subprocess.run([options.python, "-c", ASK], capture_output=True, text=True, check=True).stdout
    version, suffix = json.loads(asked)
    if not (ROOT / "dlcore" / f"_C{suffix}").exists():
        raise SystemExit(f"there is no dlcore/_C{suffix}: build it with {options.python} setup.py build_ext --inplace")
    packs = [] if options.no_kernels else sorted(options.packs.glob("*.pack"))
    if not packs and not options.no_kernels:
        raise SystemExit(f"there is no pack of kernels in {options.packs}: make packs")
    sys.path.insert(0, str(ROOT / "tests"))
    from fake_driver import library

    for name in ("run.sh", "start.py", "tree.tar.gz", "bundle.json", "wheels"):
        old = options.out / name
        shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
    (options.out / "done").mkdir(parents=True, exist_ok=True)
    (options.out / "wheels").mkdir()
    for name in ("run.sh", "start.py"):
        shutil.copy(Path(__file__).parent / name, options.out)
    pack_tree(options.out / "tree.tar.gz", suffix, packs, Path(library()))
    (options.out / "bundle.json").write_text(json.dumps({"python": version, "suffix": suffix}))
    if not options.no_wheels:
        wheels(options.out / "wheels", version)
    size = sum(p.stat().st_size for p in options.out.rglob("*") if p.is_file())
    for path in (options.out / "tree.tar.gz", options.out / "wheels"):
        own = sum(p.stat().st_size for p in (path.rglob("*") if path.is_dir() else [path]))
        print(f"{path}: {own / 1e6:.1f} MB")
    print(f"{options.out}: {size / 1e6:.1f} MB in all; there: bash {options.out.name}/run.sh SECONDS")
    return 1 if size > LARGEST else 0


if __name__ == "__main__":
    sys.exit(main())
