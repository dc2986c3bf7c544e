"""W&B, looked up without a network: what is asked, and what is made of the answer."""

import socket
from collections.abc import Callable

import pytest

from twogrpo.preflight.wandb_reachable import look_up_wandb


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[[OSError | None], list]:
    """`connect(error)`: what happens to those who ask, and the addresses that they asked for."""

    def set_up(error: OSError | None) -> list:
        asked = []

        def create_connection(address, timeout):
            asked.append((*address, timeout))
            if error:
                raise error
            return socket.socket()

        monkeypatch.setattr(socket, "create_connection", create_connection)
        return asked

    return set_up


def test_wandb_that_cannot_be_reached_is_a_warning(connect):
    asked = connect(OSError("no route"))
    level, text = look_up_wandb()
    assert level == "warning"
    assert "no route" in text
    assert "tracking=wandb_offline" in text
    assert asked == [("api.wandb.ai", 443, 2.0)]


def test_wandb_of_one_s_own(connect, monkeypatch: pytest.MonkeyPatch):
    asked = connect(None)
    monkeypatch.setenv("WANDB_BASE_URL", "http://wandb.example")
    assert look_up_wandb() == ("ok", "wandb.example:80 answers")
    assert asked == [("wandb.example", 80, 2.0)]


def test_a_proxy_is_asked_in_its_place(connect, monkeypatch: pytest.MonkeyPatch):
    asked = connect(None)
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    assert "proxy on the way to api.wandb.ai:443" in look_up_wandb()[1]
    monkeypatch.setenv("NO_PROXY", ".wandb.ai")
    assert look_up_wandb()[1] == "api.wandb.ai:443 answers"
    assert [address[:2] for address in asked] == [("proxy.example", 3128), ("api.wandb.ai", 443)]


@pytest.mark.parametrize("name", ["WANDB_BASE_URL", "HTTPS_PROXY"])
@pytest.mark.parametrize("value", ["http://h:abc", "http://", "http://[h", "ftp://h"])
def test_an_address_that_is_none_is_named(name, value, connect, monkeypatch: pytest.MonkeyPatch):
    asked = connect(None)
    monkeypatch.setenv(name, value)
    level, text = look_up_wandb()
    assert level == "warning"
    assert text.startswith(f"{name}={value} is no address")
    assert "give one as https://" in text
    assert asked == []
