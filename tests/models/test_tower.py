from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from twotower.models import Tower, build
from twotower.spec import GRUEncoderSpec, InputSpec, ModelSpec, TableSpec, TowerSpec
from twotower.types import Column, Prefixes, Ragged

TABLES = (TableSpec(name="id", vocabulary_size=9, embedding_dim=3), TableSpec(name="word", vocabulary_size=20, embedding_dim=3))
INPUTS = (
    InputSpec(column="id", width=3, table="id"),
    InputSpec(column="price", width=2),
    InputSpec(column="words", width=3, table="word", pooling="mean"),
)


def tower(**options: Any) -> Tower:
    spec = TowerSpec(**{"inputs": INPUTS, "layer_sizes": (6, 3), **options})
    other = spec.model_copy(update={"skip": ()})
    return build(ModelSpec(tables=TABLES, query=spec, candidate=other), seed=5).query


def features() -> dict[str, Column]:
    return {
        "id": torch.tensor([4, 0, 8, 4]),
        "price": torch.tensor([[0.1, 2.0], [-1.0, 0.5], [3.0, 0.0], [0.3, 0.3]]),
        "words": Ragged(torch.tensor([1, 5, 5, 19]), torch.tensor([0, 2, 2, 3, 4])),
    }


def test_inputs_stand_side_by_side_in_their_order() -> None:
    found = tower(layer_sizes=())
    words = found.embeddings.table("word")
    expected = torch.cat(
        [
            found.embeddings.table("id")[[4, 0, 8, 4]],
            torch.tensor([[0.1, 2.0], [-1.0, 0.5], [3.0, 0.0], [0.3, 0.3]]),
            torch.stack([(words[1] + words[5]) / 2, torch.zeros(3), words[5], words[19]]),
        ],
        dim=1,
    )
    torch.testing.assert_close(found(features()), expected)


def test_layers_follow_the_inputs() -> None:
    found = tower()
    torch.testing.assert_close(found(features()), found.layers(tower(layer_sizes=())(features())))
    assert found(features()).shape == (4, 3)


def test_a_single_input_needs_no_concatenation() -> None:
    found = tower(inputs=INPUTS[:1], layer_sizes=())
    assert torch.equal(found(features()), found.embeddings.table("id")[[4, 0, 8, 4]])


def test_vectors_of_length_one() -> None:
    plain, unit = tower()(features()), tower(l2_normalise=True)(features())
    torch.testing.assert_close(unit, plain / plain.norm(dim=1, keepdim=True))
    assert not torch.allclose(unit, plain)


def test_skipped_inputs_are_added_to_the_output_before_it_is_normalised() -> None:
    plain = tower()
    embedded = plain.embeddings.table("id")[[4, 0, 8, 4]]
    torch.testing.assert_close(tower(skip=("id",))(features()), plain(features()) + embedded)
    both = tower(skip=("id", "words"))(features()) - tower(skip=("id",))(features())
    torch.testing.assert_close(both, plain.embeddings({"words": features()["words"]}, [INPUTS[2]])["words"])
    normalised = tower(skip=("id",), l2_normalise=True)(features())
    torch.testing.assert_close(normalised, F.normalize(plain(features()) + embedded, dim=1))


@pytest.mark.parametrize(
    "options",
    [
        {"activation": "gelu"},
        {"activation": "silu"},
        {"activation": "tanh"},
        {"init": "he_uniform"},
        {"layer_norm": True},
        {"l2_normalise": True},
        {"skip": ("id",)},
        {"layer_sizes": (7, 3)},
    ],
)
def test_every_option_changes_the_vectors(options: dict[str, Any]) -> None:
    assert not torch.allclose(tower(**options)(features()), tower()(features()))


@pytest.mark.parametrize(
    "options",
    [
        {"input_dropout": 0.5},
        {"hidden_dropout": 0.5},
        {"inputs": (INPUTS[0].model_copy(update={"id_dropout": 0.5}), *INPUTS[1:])},
        {"inputs": (*INPUTS[:2], INPUTS[2].model_copy(update={"value_dropout": 0.5}))},
    ],
)
def test_dropouts_change_the_vectors_in_training_alone(options: dict[str, Any]) -> None:
    found = tower(**options)
    assert torch.equal(found.eval()(features()), tower().eval()(features()))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first, second = found.train()(features()), found(features())
        torch.manual_seed(1)
        assert torch.equal(found(features()), first)
    assert not torch.equal(first, second)


def test_input_dropout_keeps_the_expectation_and_reaches_what_is_skipped() -> None:
    found = tower(inputs=INPUTS[:1], layer_sizes=(), input_dropout=0.5, skip=("id",)).train()
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        vectors = found({"id": torch.full((20_000,), 4)})
    own = found.embeddings.table("id")[4].detach()
    torch.testing.assert_close(vectors.mean(0), 2 * own, atol=0.002, rtol=0)
    # each of the two is 0 or doubled
    multiples = {round(float(value), 3) for value in (vectors / own).flatten()[:500]}
    assert multiples == {0.0, 2.0, 4.0}


def test_floats_must_be_floats() -> None:
    wrong = {**features(), "price": features()["words"]}
    with pytest.raises(TypeError, match="'price' must hold floats"):
        tower()(wrong)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"l2_normalise": True},
        {"layer_sizes": (3,), "activation": "tanh"},
        {"activation": "gelu"},
        {"layer_norm": True},
        {"hidden_dropout": 0.5},
        {"input_dropout": 0.5},
        {"skip": ("id",)},
        {"inputs": (INPUTS[0].model_copy(update={"id_dropout": 0.4}), *INPUTS[1:])},
        {"inputs": (*INPUTS[:2], INPUTS[2].model_copy(update={"value_dropout": 0.4, "pooling": "sum"}))},
    ],
)
def test_with_and_without_the_kernel(options: dict[str, Any], training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for native in ("1", "0"):
        monkeypatch.setenv("TWOTOWER_NATIVE", native)
        made = tower(**options).train(training)
        torch.manual_seed(3)
        vectors = made(features())
        vectors.square().sum().backward()
        found.append({"vectors": vectors, **{name: parameter.grad for name, parameter in made.named_parameters()}})
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("options", [{"input_dropout": 0.5}, {"hidden_dropout": 0.5}])
def test_dropout_that_is_switched_on_by_itself(options: dict[str, Any]) -> None:
    found = tower(**options).eval()
    for module in found.modules():
        if isinstance(module, torch.nn.Dropout):
            module.train()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        assert not torch.equal(found(features()), found(features()))
        found.train()
        for module in found.modules():
            if isinstance(module, torch.nn.Dropout):
                module.eval()
        assert torch.equal(found(features()), found(features()))


def test_hooks_of_all_modules_see_what_goes_through_the_layers() -> None:
    made, seen = tower(), []
    handle = torch.nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(type(module).__name__))
    try:
        made(features())
    finally:
        handle.remove()
    assert {"MLP", "ReLU", "Dropout", "Tower"} <= set(seen)


@pytest.mark.parametrize("place", ["dropout", "layers", "layers.layers", "layers.layers.0"])
def test_hooks_see_what_goes_through_the_layers(place: str) -> None:
    made, seen = tower(), []
    made.get_submodule(place).register_forward_hook(lambda *_: seen.append(place))
    made(features())
    assert seen == [place]


def test_a_table_whose_rows_are_updated(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for native in ("1", "0"):
        monkeypatch.setenv("TWOTOWER_NATIVE", native)
        tables = tuple(table.model_copy(update={"update": "rows"}) for table in TABLES)
        spec = TowerSpec(inputs=INPUTS, layer_sizes=(6, 3))
        made = build(ModelSpec(tables=tables, query=spec, candidate=spec), seed=5).query
        made(features()).square().sum().backward()
        gradient = made.embeddings.table("word").grad
        assert gradient is not None
        assert gradient.is_sparse
        found.append(gradient.to_dense())
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("options", [{}, {"skip": ("words",)}])
def test_beginnings_of_sequences_are_pooled_as_rows_of_their_own(options: dict[str, Any]) -> None:
    found = tower(**options)
    sequences = Ragged(torch.tensor([1, 5, 19, 7, 2]), torch.tensor([0, 3, 5]))
    words = Prefixes(sequences, torch.tensor([0, 1, 0, 0]), torch.tensor([1, 2, 3, 0]))
    alone = Ragged(torch.tensor([1, 7, 2, 1, 5, 19]), torch.tensor([0, 1, 3, 6, 6]))
    torch.testing.assert_close(found({**features(), "words": words}), found({**features(), "words": alone}))


def test_names_of_columns_are_told_apart_whatever_signs_are_in_them() -> None:
    names = ("a.b", "a%2Eb", "a%b", "items")  # the last is a method of nn.ModuleDict
    inputs = tuple(
        InputSpec(column=name, width=3, table="word", encoder=GRUEncoderSpec(layers=layers), max_length=4)
        for layers, name in enumerate(names, start=1)
    )
    found = tower(inputs=inputs)
    assert [found.encoder(name).layers for name in names] == [1, 2, 3, 4]
    assert len(set(map(id, (found.encoder(name) for name in names)))) == len(names)
    for wrong in ("a", "words", "a%2Eb%"):
        with pytest.raises(KeyError):
            found.encoder(wrong)
