"""A service over a small trained world, as an ASGI application."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.recommender.conftest import World, world_of

from twotower.serving.app import create_app
from twotower.serving.config import Limits, ServiceConfig

TOKEN = "a-token-of-many-signs"

collect_ignore = [] if find_spec("schemathesis") else ["schemathesis_hooks.py"]  # it imports what is not there


@pytest.fixture(scope="session")
def world() -> World:
    return world_of()


@pytest.fixture(scope="session")
def bundle(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "bundle"
    world.recommender.save(folder)
    return folder


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def make_client(bundle: Path, tmp_path: Path, token_file: Path) -> Iterator[Any]:
    """Clients of services; they close with the test."""
    opened: list[TestClient] = []

    def make(*, token: bool = True, limits: Limits | None = None, model: Path | None = None, **config: Any) -> TestClient:
        app = create_app(
            ServiceConfig(
                model=model or bundle,
                store=config.pop("store", tmp_path / "live.sqlite"),
                token_file=token_file if token else None,
                limits=limits or Limits(),
                poll_seconds=0.02,
                **config,
            )
        )
        client = TestClient(app, raise_server_exceptions=True)
        client.__enter__()
        opened.append(client)
        return client

    yield make
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(make_client: Any) -> TestClient:
    found: TestClient = make_client()
    return found


@pytest.fixture
def writing() -> dict[str, str]:
    """The header that writes need."""
    return {"Authorization": f"Bearer {TOKEN}"}
