"""Steps that are captured once and replayed, on an emulated device: they are the steps of the CPU, or are refused."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from emulated_device import DEVICE, emulated

from twotower.data import Batches, HistoryInput
from twotower.errors import ConfigError, TrainingError
from twotower.training import Checkpoints, StepDone, TrainingEvent
from twotower.training.captured import CAPTURES, WARM_UP

LAZY = {"optimizer": {"kind": "adamw", "sparse_kind": "lazy_adam"}}
ADAMW = {"optimizer": {"kind": "adamw", "epsilon": 0.01}}  # of gradients near 0, an epsilon near 0 makes noise


@pytest.mark.parametrize(
    "case",
    [
        {},
        {"update": "rows"},
        {"dropout": 0.2},
        {"learned_temperature": True},
        {"reduction": "sum"},
        {"loss_kind": "log-q"},
        {"loss_kind": "corrected"},
        {"loss_kind": "bsl"},
        {"queue_batches": 2},
        {"extra_negatives": 3},
        {"weights": torch.linspace(0.1, 1, 48)},
        {"options": {"clip_norm": 0.05}},
        {"update": "rows", "options": {"clip_norm": 0.05}},
        {"options": ADAMW | {"schedule": {"warmup_steps": 3, "decay": "cosine"}}},
        {"update": "rows", "options": ADAMW},
        {"update": "rows", "options": {"optimizer": {"kind": "adamw", "sparse_kind": "lazy_adam", "epsilon": 0.01}}},
        {"update": "rows", "options": {"optimizer": {"kind": "rowwise_adagrad"}}},
    ],
    ids=str,
)
@pytest.mark.parametrize("history", [False, True])
def test_a_captured_step_is_the_step(
    world: Callable[..., Any], case: dict[str, Any], history: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if history and "dropout" in case:
        pytest.skip("of lists that are filled up other values are dropped")
    options = {"epochs": 4, "batch_size": 5, "resident_data": "always", **case.get("options", {})}
    case = {**case, "history": history, "options": options}
    here = _in_batches_of_five(world(**case))
    expected = here.train()
    with emulated() as emulation:
        monkeypatch.setitem(CAPTURES, DEVICE.type, emulation.capture)
        there = _in_batches_of_five(world(**case))
        found = there.train({"cuda_graph": True}, device=DEVICE)
        states = {name: values.cpu() for name, values in there.state().items()}
    assert [record["loss"] for record in found.records] == pytest.approx(
        [record["loss"] for record in expected.records], rel=1e-5
    )
    for name, values in here.state().items():
        torch.testing.assert_close(states[name], values, rtol=1e-4, atol=1e-5)


def _in_batches_of_five(made: Any) -> Any:
    """48 rows in nine batches of five and one of three, without histories where the model reads none."""
    made.batches.batch_size = 5
    if "history" not in {entry.column for entry in made.model.spec.query.inputs}:
        made.batches.examples = replace(made.batches.examples, history_inputs=())
    return made


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ({"ordered": True}, "'mood' is read in order"),
        ({"update": "rows", "options": LAZY}, "ids of 'item' would be dropped"),
        ({"long": True}, "the 5 rows of a batch may have 3 values of 'history' each"),
        ({"loss_kind": "gbce", "extra_negatives": 3}, "the loss GBCE"),
        ({"loss_kind": "sketch"}, "sketch"),
        ({"propagation": (0.5, 0.5)}, "propagated tables"),
        ({"masks": True}, "known positives"),
        ({"options": {"resident_data": "never"}}, "the data must be on the device"),
        ({"options": {"resident_data": "auto"}}, "the data must be on the device"),
    ],
    ids=str,
)
def test_what_can_not_be_captured_is_refused_with_the_reason(
    world: Callable[..., Any], case: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks, ordered, long = (case.get(name, False) for name in ("masks", "ordered", "long"))
    options = {"resident_data": "always", **case.get("options", {})}
    case = {name: value for name, value in case.items() if name not in ("masks", "ordered", "long")}
    if long:
        monkeypatch.setattr("twotower.training.captured._MOST_VALUES", 14)
    with emulated() as emulation:
        monkeypatch.setitem(CAPTURES, DEVICE.type, emulation.capture)
        made = _in_batches_of_five(world(**{**case, "history": long, "options": options}))
        made.batches.mask_known_positives = masks
        if ordered or long:
            entry = HistoryInput("mood", None, 3, own_item="allow", in_order=True)
            entry = entry if ordered else HistoryInput("history", None, 3)
            made.batches.examples = replace(made.batches.examples, history_inputs=(entry,))
        if case.get("update"):  # lazy_adam, and ids of candidates that are dropped
            spec = made.model.spec
            (entry,) = spec.candidate.inputs
            candidate = spec.candidate.model_copy(update={"inputs": (entry.model_copy(update={"id_dropout": 0.1}),)})
            made.model.spec = spec.model_copy(update={"candidate": candidate})
        with pytest.raises(ConfigError, match=f"training.cuda_graph: .*{reason}"):
            made.train({"cuda_graph": True}, device=DEVICE)


def test_a_device_that_captures_nothing_is_refused(world: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match=r"training.cuda_graph: the step can't be captured: the device is cpu"):
        world().train({"cuda_graph": True})


def test_a_device_that_refuses_says_why(world: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
        try:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        finally:  # as the end of a capture that went wrong
            raise RuntimeError("operation failed due to a previous error during capture")

    with emulated():
        monkeypatch.setitem(CAPTURES, DEVICE.type, refuse)
        made = _in_batches_of_five(world(history=False, options={"resident_data": "always"}))
        with pytest.raises(
            TrainingError, match=r"\(operation not permitted when stream is capturing\): set training.cuda_graph"
        ):
            made.train({"cuda_graph": True}, device=DEVICE)


@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("resident", ["always", "never"])
@pytest.mark.parametrize("extra", [0, 3])
def test_the_host_waits_when_it_reads_and_not_for_each_step(
    world: Callable[..., Any], captured: bool, resident: str, extra: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if captured and resident == "never":
        pytest.skip("a step that is captured needs the data there")
    waits = []
    for batch_size in (16, 2):  # 3 batches, and 24: fewer than are read at once
        with emulated() as emulation:
            monkeypatch.setitem(CAPTURES, DEVICE.type, emulation.capture)
            made = world(
                history=False, update="rows", loss_kind="log-q", extra_negatives=extra, options={"resident_data": resident}
            )
            made = _in_batches_of_five(made)
            made.batches.batch_size = batch_size
            made.train({"epochs": 1, "cuda_graph": captured}, device=DEVICE)
            found = dict(emulation.waits)
            found.pop(
                "aten::_unique2", None
            )  # batches of any size are made by torch.unique, which waits; of one size they are not
            waits.append((found, emulation.sent))
    assert waits[0] == waits[1]


def test_a_step_is_captured_once_and_replayed_for_all_others(
    world: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with emulated() as emulation:
        monkeypatch.setitem(CAPTURES, DEVICE.type, emulation.capture)
        made = _in_batches_of_five(world(history=False, queue_batches=2, options={"resident_data": "always"}))
        made.train({"epochs": 3, "cuda_graph": True}, device=DEVICE)
        # of three times nine full batches, two have no whole queue yet, two come behind the odd one, which is in the queue
        # of two more in the second epoch and in the third
    assert (emulation.captured, emulation.repeated) == (1, 27 - 2 - 4 - WARM_UP)


def test_nothing_of_a_training_outlives_it(world: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[weakref.ref[Any]] = []
    on = Batches.on

    def remembered(self: Batches, device: torch.device) -> Batches:
        found = on(self, device)
        kept.append(weakref.ref(found))
        return found

    monkeypatch.setattr(Batches, "on", remembered)
    gc.disable()
    try:
        with emulated() as emulation:
            monkeypatch.setitem(CAPTURES, DEVICE.type, emulation.capture)
            made = _in_batches_of_five(world(history=False, options={"resident_data": "always"}))
            made.train({"cuda_graph": True}, device=DEVICE)
            assert [each() for each in kept] == [None]
    finally:
        gc.enable()


@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_loss_that_is_not_finite_is_told_of_its_own_step(
    world: Callable[..., Any], captured: bool, clip: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mood = torch.zeros(48, 1)
    options = {"resident_data": "always", "clip_norm": clip}
    told: list[TrainingEvent] = []
    with emulated() as emulation:
        monkeypatch.setitem(CAPTURES, DEVICE.type, emulation.capture)
        made = _in_batches_of_five(world(history=False, mood=mood, options=options))
        bad = int(made.batches.rows(1, 6)[2])
        context = {"mood": mood.clone()}
        made.batches.examples = replace(made.batches.examples, context=context)
        context["mood"][bad] = torch.nan
        first = next(index for index in range(10) if bad in made.batches.rows(0, index))
        with pytest.raises(TrainingError) as caught:
            made.train(
                {"cuda_graph": captured},
                device=DEVICE,
                listener=told.append,
                checkpoints=Checkpoints(tmp_path, "same"),
            )
    message = str(caught.value)
    assert f"the loss is not a finite number in epoch 1, batch {first + 1} (step {first + 1})" in message
    assert f"query feature 'mood' (rows {bad})" in message
    assert [event.step for event in told if isinstance(event, StepDone)] == list(range(1, first + 1))
    assert not (tmp_path / "last.safetensors").exists()


@pytest.mark.parametrize("captured", [False, True])
def test_a_gradient_that_is_not_finite_is_told(
    world: Callable[..., Any], captured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with emulated() as emulation:
        monkeypatch.setitem(CAPTURES, DEVICE.type, emulation.capture)
        options = {"resident_data": "always", "cuda_graph": captured, "clip_norm": 1.0}
        made = _in_batches_of_five(world(history=False, options=options))
        made.model.to(DEVICE)
        made.model.candidate.layers.layers[0].weight.register_hook(lambda gradient: gradient * float("inf"))
        with pytest.raises(TrainingError, match=r"a gradient is not a finite number in epoch 1, batch 1 \(step 1\)"):
            made.train(device=DEVICE)


@pytest.mark.parametrize("captured", [False, True])
def test_weights_that_are_all_zero_are_named(
    world: Callable[..., Any], captured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with emulated() as emulation:
        monkeypatch.setitem(CAPTURES, DEVICE.type, emulation.capture)
        options = {"resident_data": "always", "cuda_graph": captured}
        made = _in_batches_of_five(world(history=False, weights=torch.zeros(48), options=options))
        with pytest.raises(TrainingError, match="sample weights of the batch are 0"):
            made.train(device=DEVICE)


def _interrupt_in_the_middle(event: TrainingEvent) -> None:
    if isinstance(event, StepDone) and event.step == 14:  # of the second epoch the fourth
        raise InterruptedError


@pytest.mark.parametrize("case", [{"update": "rows"}, {"update": "rows", "options": ADAMW}, {"options": ADAMW}], ids=str)
@pytest.mark.parametrize("there_first", [False, True])
def test_a_training_goes_on_on_another_device(
    world: Callable[..., Any], case: dict[str, Any], there_first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"epochs": 4, **case.get("options", {})}
    case = {**case, "history": False, "options": options}
    undisturbed = _in_batches_of_five(world(**case))
    losses = [record["loss"] for record in undisturbed.train().records]
    there = {"resident_data": "always", "cuda_graph": True}
    with emulated() as emulation:
        monkeypatch.setitem(CAPTURES, DEVICE.type, emulation.capture)
        for part, on_device in enumerate((there_first, not there_first)):
            made = _in_batches_of_five(world(**case))
            given = {
                "config": {"checkpoint_every_s": 0, **(there if on_device else {})},
                "device": DEVICE if on_device else torch.device("cpu"),
                "checkpoints": Checkpoints(tmp_path, "same", resume=part == 1),
            }
            if part == 0:
                with pytest.raises(InterruptedError):
                    made.train(**given, listener=_interrupt_in_the_middle)
            else:
                found = made.train(**given)
                assert found.epochs_run == 4
                assert [record["loss"] for record in found.records] == pytest.approx(losses, rel=1e-5)
        states = {name: values.cpu() for name, values in made.state().items()}
    for name, values in undisturbed.state().items():
        torch.testing.assert_close(states[name], values, rtol=1e-4, atol=1e-5)
