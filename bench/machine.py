"""This machine, in words and as a folder name."""

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"


def _processor() -> dict[str, str]:
    lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def folder() -> Path:
    """bench/results/<processor>: model name, family and model number (virtual machines shorten the name)."""
    cpu = _processor()
    name = f"{cpu.get('model name', platform.machine())} {cpu.get('cpu family', '')} {cpu.get('model', '')}"
    return RESULTS / re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def describe() -> dict[str, str | int]:
    """Processor, instruction sets that matter here, Python, commit and date."""
    cpu = _processor()
    flags = cpu.get("flags", "").split()
    git = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(git, cwd=RESULTS.parent, capture_output=True, text=True)
    return {
        "processor": cpu.get("model name", platform.machine()),
        "family": f"{cpu.get('cpu family', '?')}/{cpu.get('model', '?')}",
        "cores": len(os.sched_getaffinity(0)),
        "vectors": "AVX-512" if "avx512vl" in flags else "AVX2" if "avx2" in flags else "baseline",
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
        "date": datetime.date.today().isoformat(),
    }
