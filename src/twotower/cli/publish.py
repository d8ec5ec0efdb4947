"""``twotower publish``."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from twotower.bundle import activate as activate_version
from twotower.bundle import current_version, is_published, publish, roll_back, versions
from twotower.cli.output import print_json, print_lines
from twotower.errors import ConfigError
from twotower.recommender import Recommender, bundle_folder

__all__ = ["publish_command"]


def publish_command(
    run: Path | None, to: Path | None, *, activate: bool, version: str | None, rollback: bool, as_json: bool
) -> None:
    """Publish a version, or choose one, and say which one answers."""
    asked = [name for name, given in (("RUN", run), ("--version", version), ("--rollback", rollback)) if given]
    if to is None:
        raise ConfigError("name the folder of versions: --to DIR")
    if len(asked) != 1:
        raise ConfigError(f"give one of RUN, --version and --rollback; came {' and '.join(asked) or 'none'}")
    if run is None and not activate:
        raise ConfigError("--no-activate goes with RUN: to choose a version is to let it answer")
    if run is not None:
        Recommender.load(run)  # what can't be loaded is not published
        index = run / "index"
        version = publish(bundle_folder(run), to, index=index if index.is_dir() else None)
        if activate:
            activate_version(to, version)
    elif rollback:
        version = roll_back(to).version
    elif version is not None:
        activate_version(to, version)
    current = current_version(to).version if is_published(to) else None
    if as_json:
        print_json({"version": version, "current": current, "versions": versions(to)})
        return
    done = "published" if run is not None else "chosen"
    lines = [f"{version} is {done} in {to}"]
    lines.append(
        f"{current} answers"
        if current is not None
        else f"no version answers yet; choose one: twotower publish --to {quote(str(to))} --version {version}"
    )
    print_lines(*lines)
