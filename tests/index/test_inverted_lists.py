"""Lists of codes in the form of FAISS: what is not them is refused."""

from __future__ import annotations

import pytest
import torch

from twotower.errors import CorruptBundleError
from twotower.index.faiss_library import faiss_library
from twotower.index.inverted_lists import build_lists, lists_tensor, read_lists

VECTORS = torch.randn(2000, 6, generator=torch.Generator().manual_seed(0)).numpy()


def made() -> dict[str, torch.Tensor]:
    return lists_tensor(build_lists(VECTORS, 20, 2, seed=0, num_threads=1))


def test_they_are_read_as_they_were_written() -> None:
    lists = build_lists(VECTORS, 20, 2, seed=0, num_threads=1)
    again = read_lists(lists_tensor(lists), 2000, 3, 2)
    assert (again.search(VECTORS[:9], 5)[1] == lists.search(VECTORS[:9], 5)[1]).all()
    assert again.nlist == 20


def test_building_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    build_lists(VECTORS, 50, 1, seed=0, num_threads=1)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("found", [None, torch.zeros(9), torch.zeros(3, 3, dtype=torch.uint8)])
def test_they_are_bytes(found: torch.Tensor | None) -> None:
    with pytest.raises(CorruptBundleError, match=r"lists of the index must be uint8 of one dimension \(came: "):
        read_lists({} if found is None else {"lists": found}, 2000, 3, 2)


@pytest.mark.parametrize("length", [0, 3, 100, 20_000])
def test_what_was_cut_off_is_refused(length: int) -> None:
    with pytest.raises(CorruptBundleError, match="lists of the index can't be read"):
        read_lists({"lists": made()["lists"][:length]}, 2000, 3, 2)


def test_another_index_is_refused() -> None:
    faiss = faiss_library()
    flat = faiss.IndexFlatIP(6)
    flat.add(VECTORS)
    with pytest.raises(CorruptBundleError, match=r"must be an IndexIVFPQFastScan \(came: IndexFlatIP\)"):
        read_lists({"lists": torch.from_numpy(faiss.serialize_index(flat))}, 2000, 3, 2)


@pytest.mark.parametrize(("num_vectors", "num_codes", "entries"), [(1999, 3, 2), (2000, 6, 1), (2000, 3, 3)])
def test_those_of_other_vectors_are_refused(num_vectors: int, num_codes: int, entries: int) -> None:
    with pytest.raises(CorruptBundleError, match=r"lists must hold .* \(came: \(2000, 6, 3, 4, 0\)\)"):
        read_lists(made(), num_vectors, num_codes, entries)


def test_every_row_is_in_them_once() -> None:
    faiss = faiss_library()
    lists = build_lists(VECTORS, 20, 2, seed=0, num_threads=1)
    fullest = max(range(20), key=lists.invlists.list_size)
    ids = faiss.rev_swig_ptr(lists.invlists.get_ids(fullest), lists.invlists.list_size(fullest))
    ids[0] = ids[1]
    with pytest.raises(CorruptBundleError, match="must hold each of 2,000 rows once"):
        read_lists(lists_tensor(lists), 2000, 3, 2)
