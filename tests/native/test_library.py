"""Kernels are compiled once, kept, and done without where they can't be."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from twotower.native import compiler, kernel_names, library, native_library, native_status
from twotower.native.compiler import NotCompiledError, compile_library, find_compiler, library_name

needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="there is no C compiler")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOTOWER_CACHE", str(tmp_path))
    monkeypatch.delenv("TWOTOWER_NATIVE", raising=False)


def compiler_that(does: str, folder: Path) -> str:
    program = folder / "compiler"
    program.write_text(f"#!{sys.executable}\nimport sys\n{does}\n")
    program.chmod(0o755)
    return str(program)


def anew(name: str = "ragged") -> library.NativeStatus:
    library._opened_once.cache_clear()
    return native_status(name)


@needs_compiler
def test_a_kernel_is_compiled_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = native_library("ragged")
    assert found is not None
    assert hasattr(found, "ragged_gather")
    assert native_library("ragged") is found
    file = tmp_path / "native" / library_name("ragged")
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert stat.S_IMODE(file.parent.stat().st_mode) & 0o077 == 0
    monkeypatch.setattr(library, "compile_library", pytest.fail)
    assert anew() == library.NativeStatus(True, str(file))


@needs_compiler
@pytest.mark.parametrize("name", kernel_names())
@pytest.mark.parametrize("flags", [("-march=native", "-fopenmp"), ()])
def test_every_kernel_compiles_without_a_warning(
    name: str, flags: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "_TARGETS", (("-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", *flags),))
    compile_library(name, tmp_path / "library.so")
    assert (tmp_path / "library.so").exists()


def test_without_a_compiler_a_warning_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.warns(
        RuntimeWarning, match=r"without its kernel 'ragged'.*no C compiler was found.*Install.*TWOTOWER_NATIVE=0"
    ):
        assert native_library("ragged") is None
    assert native_library("ragged") is None  # says it once
    assert anew() == library.NativeStatus(False, "no C compiler was found (cc, gcc or clang, or what CC names)")


def test_one_can_do_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOTOWER_NATIVE", "0")
    assert native_library("ragged") is None
    assert native_status("ragged") == library.NativeStatus(False, "TWOTOWER_NATIVE=0")


def test_a_compiler_that_fails_says_its_first_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", compiler_that("sys.exit('what is an __attribute__?\\nstopped')", tmp_path))
    with pytest.raises(NotCompiledError, match=r"compiler refused ragged\.c: what is an __attribute__\?$"):
        compile_library("ragged", tmp_path / "native" / "library.so")
    assert list((tmp_path / "native").iterdir()) == []


def test_the_first_flags_that_the_compiler_knows_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = "open(sys.argv[sys.argv.index('-o') + 1], 'w').write(' '.join(sys.argv))"
    refuse = "'-march=native' in sys.argv and sys.exit('unknown')"
    monkeypatch.setenv("CC", compiler_that(f"{refuse}\n{tried}", tmp_path))
    compile_library("ragged", tmp_path / "library.so")
    assert "-mcpu=native -fopenmp" in (tmp_path / "library.so").read_text()


@needs_compiler
def test_a_file_that_is_no_library_is_compiled_anew(tmp_path: Path) -> None:
    file = tmp_path / "native" / library_name("ragged")
    file.parent.mkdir(mode=0o700)
    file.write_bytes(b"no library")
    assert anew().available


def test_what_a_compiler_makes_and_is_no_library_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", compiler_that("open(sys.argv[sys.argv.index('-o') + 1], 'w').write('no library')", tmp_path))
    status = anew()
    assert not status.available
    assert library_name("ragged") in status.detail


def test_a_user_without_a_home_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("TWOTOWER_CACHE")
    monkeypatch.setattr(Path, "home", nowhere)
    assert anew() == library.NativeStatus(False, "Could not determine home directory.")


@needs_compiler
@pytest.mark.skipif(os.name != "posix", reason="umasks are those of POSIX")
def test_a_group_that_may_write_by_default_is_kept_out() -> None:
    before = os.umask(0o002)
    try:
        assert anew().available
    finally:
        os.umask(before)


def test_a_compiler_may_be_called_with_words_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = compiler_that("open(sys.argv[sys.argv.index('-o') + 1], 'w').write(sys.argv[1])", tmp_path)
    monkeypatch.setenv("CC", f"{program} gcc")
    compile_library("ragged", tmp_path / "library.so")
    assert (tmp_path / "library.so").read_text() == "gcc"


@needs_compiler
@pytest.mark.skipif(os.name != "posix", reason="owners and modes are those of POSIX")
@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_others_may_write_is_not_loaded(what: str, tmp_path: Path) -> None:
    assert anew().available
    file = tmp_path / "native" / library_name("ragged")
    (file if what == "file" else file.parent).chmod(0o777)
    assert "can be written by, another user" in anew().detail


def test_a_folder_that_can_not_be_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "native").write_text("a file")
    monkeypatch.setenv("CC", compiler_that("pass", tmp_path))
    assert "could not make" in anew().detail


def test_the_name_changes_with_what_the_library_depends_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {library_name("ragged"), library_name("count")}
    monkeypatch.setattr(compiler, "_abilities", lambda: "another processor")
    names.add(library_name("ragged"))
    monkeypatch.setattr(compiler, "_FLAGS", ("-O2",))
    names.add(library_name("ragged"))
    monkeypatch.setattr(compiler, "_SOURCES", tmp_path)
    (tmp_path / "ragged.c").write_text("int one;")
    names.add(library_name("ragged"))
    (tmp_path / "vector.h").write_text("int two;")
    names.add(library_name("ragged"))
    assert len(names) == 6
