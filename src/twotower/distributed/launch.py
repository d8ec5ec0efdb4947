"""How processes become ranks: started by ``torchrun`` or by ourselves, which is the same underneath."""

from __future__ import annotations

import logging
import os
import platform
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, _set_pg_timeout
from torch.distributed.rendezvous import rendezvous

from twotower.distributed.meeting import meet
from twotower.distributed.ranks import ALONE, PATIENCE, Ranks
from twotower.errors import ConfigError, NotMetError, RankLostError

__all__ = [
    "INTERRUPTED",
    "LOST",
    "TOLD",
    "Launch",
    "end_with_launcher",
    "launch",
    "launched_here",
    "opened_ranks",
    "process_name",
]

_MEETING = timedelta(minutes=30)  # how long ranks wait for those that have not come yet

LOST = 75
"""The exit status of a rank that has lost the others (``EX_TEMPFAIL``), where the agent that started it says so."""

INTERRUPTED = 130
"""The exit status of a rank that was interrupted (Ctrl-C), where the agent that started it says so."""

TOLD = 76
"""The exit status of a rank that has said what is wrong, where the agent that started it makes 1 of it."""

_AGENT = "TWOTOWER_AGENT"

_AGAIN = "train again with --resume to go on from the last checkpoint"

_NAMES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

_RESTARTS = "TWOTOWER_RESTARTS"


@dataclass(frozen=True)
class Launch:
    """What the environment says of how this process was started.

    Attributes:
        rank: In ``[0, size)``.
        size: How many processes there are.
        restart: How often all of them were started again, after one had died; 0 the first time.
        most_restarts: How often they may be; None: nobody said.
    """

    rank: int
    size: int
    restart: int = 0
    most_restarts: int | None = None

    @staticmethod
    def of(environment: Mapping[str, str]) -> Launch | None:
        """As ``torchrun`` and other launchers tell it; None: nobody started this process as a rank.

        Args:
            environment: For instance ``os.environ``.

        Raises:
            ConfigError: If some of the variables are there and others are not, or they are not the numbers they should be.

        Example:
            >>> Launch.of({"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"})
            Launch(rank=1, size=2, restart=0, most_restarts=None)
        """
        given = [name for name in _NAMES if name in environment]
        if "RANK" not in given and "WORLD_SIZE" not in given:
            return None
        missing = [name for name in _NAMES if name not in given]
        if missing:
            raise ConfigError(
                f"the environment has {', '.join(given)} and lacks {', '.join(missing)}: start ranks with torchrun, or with "
                "twotower train --ranks N, which set all of them; or unset them to train in one process",
                source="environment",
            )
        rank, size = (_number(environment, name) for name in ("RANK", "WORLD_SIZE"))
        if not 0 <= rank < size:
            raise ConfigError(f"RANK must be below WORLD_SIZE; came {rank} of {size}", source="environment")
        ours = environment.get(_RESTARTS)
        if ours is not None:
            restart, most = map(int, ours.split())
            return Launch(rank, size, restart, most)
        counted = [
            _number(environment, name) if name in environment else None
            for name in ("TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_MAX_RESTARTS")
        ]
        return Launch(rank, size, counted[0] or 0, counted[1])


def _number(environment: Mapping[str, str], name: str) -> int:
    try:
        found = int(environment[name])
    except ValueError:
        found = -1
    if found < 0:
        raise ConfigError(f"{name} must be a whole number, at least 0; came {environment[name]!r}", source="environment")
    return found


@contextmanager
def opened_ranks(launched: Launch | None, device: torch.device) -> Iterator[Ranks]:
    """The process group of the ranks that were started together, for as long as the block lasts.

    Args:
        launched: What the environment says; None, or one rank alone: there is nothing to open.
        device: Where tensors are: ``cuda`` speaks NCCL, and gloo for what is on the CPU; anything else gloo.

    Raises:
        NotMetError: If not all have come within half an hour, or can't reach each other, or one dies while they meet.
    """
    if launched is None or launched.size == 1:
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        store, rank, size = next(iter(rendezvous("env://", timeout=_MEETING)))
        while isinstance(store, PrefixStore):  # older agents count in it how often they started ranks again
            store = store.underlying_store
        # several trainings may have one store
        ours = PrefixStore(f"/twotower/{os.environ.get('TORCHELASTIC_RUN_ID', '')}", store)
        met = meet(ours, rank, size, _MEETING)
        dist.init_process_group(backend, store=met, rank=rank, world_size=size, timeout=_MEETING)
    except (RuntimeError, OSError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise NotMetError(
            f"rank {launched.rank} of {launched.size} has not met the others at {where} (MASTER_ADDR, MASTER_PORT): "
            f"{str(error).splitlines()[0][:300]}; start all of them, where they reach that address and each other"
        ) from error
    _set_pg_timeout(PATIENCE)
    ranks = Ranks.of()
    told = ranks.collect((launched.restart, process_name(os.getppid())))
    # of several agents one may have started its ranks again because another had to
    restarts, agents = max(restart for restart, _ in told), dict.fromkeys(agent for _, agent in told)
    ranks = replace(ranks, restarts=restarts, agents=tuple(agents))
    yield ranks
    # only where all went well: who leaves with an error must not wait for the others
    ranks.wait()
    dist.destroy_process_group()


def launch(arguments: Sequence[str], *, ranks: int, restarts: int = 0) -> int:
    """Run ``python ARGUMENTS`` as so many ranks on this machine, and wait for them.

    They are started by the agent of torch that ``torchrun`` is; if one dies the others are stopped, and all are started again
    where they may be.

    Args:
        arguments: Of the interpreter, for instance ``["-m", "twotower", "train", "recipe.toml"]``.
        ranks: How many processes.
        restarts: How often all may be started again.

    Returns:
        The exit status: 0, or that of the rank which failed first, which has said why.

    Raises:
        RankLostError: If a rank was killed, or ranks have lost each other, and they may not be started again; or if this
            process was told to end (SIGTERM).
        KeyboardInterrupt: If it was interrupted, or a rank was. Ranks have ended in any case.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,  # the agent would start again who has said what is wrong, too
        monitor_interval=0.2,
        local_addr="localhost",
    )
    with _told_to_ranks(ranks):
        try:
            for restart in range(restarts + 1):
                os.environ[_RESTARTS] = f"{restart} {restarts}"
                try:
                    elastic_launch(replace(config, run_id=uuid.uuid4().hex), sys.executable)(*arguments)
                    break
                except ChildFailedError as error:
                    ended = {rank: int(failure.exitcode) for rank, failure in sorted(error.failures.items())}
                    if restart == restarts or not _may_start_again(ended):
                        return _status_of(ended, ranks)
        except SignalException as error:
            if error.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            raise RankLostError(f"the {ranks} ranks were ended ({error.sigval.name}); {_AGAIN}") from None
    return 0


def process_name(process: int) -> str:
    """What no other process is called: its machine, its number, and when it began.

    Args:
        process: Its number.
    """
    try:
        began = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):  # not Linux, or gone
        began = ""
    return f"{platform.node()}:{process}:{began}"


@contextmanager
def _told_to_ranks(ranks: int) -> Iterator[None]:
    """What ranks inherit, and quiet of the agent's: ranks say themselves what is wrong. All is put back."""
    before, logged = dict(os.environ), logging.root.manager.disable
    here = threading.current_thread() is threading.main_thread()
    handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)}
    os.environ[_AGENT] = str(os.getpid())
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _cores() // ranks)))
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(logged)
        for name in (_AGENT, _RESTARTS, "OMP_NUM_THREADS"):
            if name not in before:
                os.environ.pop(name, None)
        for each, handler in handlers.items() if here else ():
            signal.signal(each, handler)


def _may_start_again(ended: Mapping[int, int]) -> bool:
    """Whether ranks died, or lost each other, and none has said what is wrong: that would be wrong again."""
    return not {INTERRUPTED, TOLD, 2} & set(ended.values())


def _status_of(ended: Mapping[int, int], ranks: int) -> int:
    """The exit status to end with, of those of the ranks that failed; or the error, where no rank has said what is wrong."""
    if INTERRUPTED in ended.values():
        raise KeyboardInterrupt
    # the agent ends those that are left by SIGTERM, and they may have lost the others before: both say nothing of the cause
    told = [status for status in ended.values() if status > 0 and status != LOST]
    killed = [rank for rank, status in ended.items() if status < 0]
    by_others = [rank for rank in killed if ended[rank] != -signal.SIGTERM]
    if not {TOLD, 2} & set(told) and (by_others or (killed and not told)):
        rank = (by_others or killed)[0]
        raise RankLostError(f"rank {rank} of {ranks} died ({_signal(-ended[rank])}), and the others were ended; {_AGAIN}")
    if not told:
        raise RankLostError(f"the {ranks} ranks have lost each other, and were ended; {_AGAIN}")
    return 1 if told[0] == TOLD else told[0]


def launched_here() -> bool:
    """Whether this process was started by `launch`, which says what became of its ranks."""
    return _AGENT in os.environ


def end_with_launcher() -> None:
    """Let this rank end when the process that called `launch` is gone, which could not end it: it was killed.

    Otherwise ranks would train on with nobody to watch them, in a folder that they hold.
    """
    if not launched_here():
        return
    launcher, parent = int(os.environ[_AGENT]), os.getppid()  # which need not be one: Python may be started by something else

    def watch() -> None:
        while os.getppid() == parent and _is_there(launcher):
            time.sleep(1)
        if os.environ.get("RANK") == "0":
            sys.stderr.write(
                "twotower: the process that had started the ranks is gone, and they end too; train again with --resume to go "
                "on from the last checkpoint\n"
            )
            sys.stderr.flush()
        os._exit(LOST)

    threading.Thread(target=watch, name="ends with the launcher", daemon=True).start()


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
