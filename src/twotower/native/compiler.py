"""From C to a shared library that only this machine's processor need understand."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

__all__ = ["NotCompiledError", "compile_library", "find_compiler", "library_name"]

_SOURCES = Path(__file__).resolve().parent
_COMPILERS = ("cc", "gcc", "clang")
_FLAGS = ("-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-shared", "-fPIC")
# what compilers call "the processor that you run on", the last being any of its kind; and threads, where they know OpenMP
_PROCESSORS, _THREADS = (("-march=native",), ("-mcpu=native",), ()), (("-fopenmp",), ())
_TARGETS = tuple((*processor, *threads) for processor in _PROCESSORS for threads in _THREADS)
_SECONDS = 120


class NotCompiledError(Exception):
    """There is no library, and why."""


def find_compiler() -> list[str] | None:
    """How a C compiler is called: ``$CC``, else the first of cc, gcc and clang that is there; None where none is."""
    chosen = os.environ.get("CC", "").strip()
    for command in [shlex.split(chosen)] if chosen else [[name] for name in _COMPILERS]:
        program = shutil.which(command[0])
        if program is not None:
            return [program, *command[1:]]
    return None


def library_name(name: str) -> str:
    """The file name of a compiled library: it changes with the sources, the flags and the processor.

    Args:
        name: Of the source, ``<name>.c`` in this folder.
    """
    known = hashlib.sha256()
    for path in (_SOURCES / f"{name}.c", *sorted(_SOURCES.glob("*.h"))):
        known.update(path.read_bytes())
    known.update(repr((_FLAGS, _TARGETS, platform.system(), platform.machine(), _abilities())).encode())
    return f"{name}-{known.hexdigest()[:24]}.so"


def compile_library(name: str, target: Path) -> None:
    """Compile a source; the library is there whole or not at all, also when two processes compile it at once.

    Args:
        name: Of the source.
        target: The file to write; its folder is made where it is missing.

    Raises:
        NotCompiledError: If there is no compiler, it fails, or the file can't be written.
    """
    compiler = find_compiler()
    if compiler is None:
        raise NotCompiledError("no C compiler was found (cc, gcc or clang, or what CC names)")
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".compiling-") as folder:
            made = Path(folder) / target.name
            said = ""
            for flags in _TARGETS:
                command = [*compiler, *_FLAGS, *flags, "-o", str(made), str(_SOURCES / f"{name}.c"), "-lm"]
                done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False)
                if done.returncode == 0 and made.exists():
                    made.chmod(0o700)  # linkers go by the umask, and what a group may write is not loaded
                    made.replace(target)
                    return
                said = said or (done.stderr.strip().splitlines() or ["it says nothing"])[0]
    except (OSError, subprocess.SubprocessError) as fault:
        raise NotCompiledError(f"{compiler[0]} could not make {target}: {fault}") from fault
    raise NotCompiledError(f"{compiler[0]} refused {name}.c: {said}")


def _abilities() -> str:
    """What the processor can do, as Linux lists it; elsewhere its name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    named = (line for line in lines if line.startswith(("flags", "Features")))
    return next(named, "") or platform.processor()
