"""FAISS is imported when it is needed, and changes nothing outside of a block."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from twotower.errors import MissingExtraError
from twotower.index import HNSWIndex, IVFPQIndex
from twotower.index.faiss_library import faiss_library, faiss_threads


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    for count in (0, 3, 2000):
        for build in (HNSWIndex.build, IVFPQIndex.build):
            with pytest.raises(MissingExtraError, match=r"pip install 'twotower\[ann\]'"):
                build(torch.zeros(count, 2))


def test_the_room_does_not_import_it() -> None:
    code = "import sys, twotower.index; sys.exit('faiss' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_to_load_it_changes_no_setting_and_warns_of_nothing() -> None:
    code = (
        "import torch, twotower.index.faiss_library as f; before = torch.get_num_threads(); f.faiss_library(); "
        "assert torch.get_num_threads() == before"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_threads_are_as_before_after_a_block() -> None:
    faiss = faiss_library()
    before, of_torch = faiss.omp_get_max_threads(), torch.get_num_threads()
    with faiss_threads(faiss, before + 1):
        assert faiss.omp_get_max_threads() == before + 1
    assert (faiss.omp_get_max_threads(), torch.get_num_threads()) == (before, of_torch)
    with pytest.raises(RuntimeError, match="as it was"), faiss_threads(faiss, before + 2):
        raise RuntimeError("as it was")
    assert faiss.omp_get_max_threads() == before


def test_threads_are_positive() -> None:
    with pytest.raises(ValueError, match=r"num_threads must be positive \(came: 0\)"), faiss_threads(faiss_library(), 0):
        pass
