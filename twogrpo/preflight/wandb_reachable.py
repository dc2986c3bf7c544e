"""Whether W&B can be reached the way a run would reach it: through the environment's proxy."""

from __future__ import annotations

import os
import socket
from typing import Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

TIMEOUT_SECONDS = 2.0
WANDB = "https://api.wandb.ai"
PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


def look_up_wandb() -> tuple[Literal["ok", "warning"], str]:
    """The level and text of the finding; at most a warning, since a run goes on offline.

    Where HTTPS_PROXY (HTTP_PROXY, NO_PROXY) names a proxy, only the proxy is contacted.
    """
    name, value = "WANDB_BASE_URL", os.environ.get("WANDB_BASE_URL") or WANDB
    try:
        host, port, scheme = _address(value)
        address = f"{host}:{port}"
        proxy = None if proxy_bypass(host) else getproxies().get(scheme)
        if proxy:
            name, value = f"{scheme.upper()}_PROXY", proxy
            # A proxy may be written without its scheme.
            host, port, _ = _address(proxy if "://" in proxy else f"http://{proxy}")
            address = f"{host}:{port}, the proxy on the way to {address},"
    except ValueError as error:
        return "warning", f"{name}={value} is no address ({error}): give one as {WANDB}"
    try:
        socket.create_connection((host, port), timeout=TIMEOUT_SECONDS).close()
    except OSError as error:
        remedy = "the run would warn and go on offline; tracking=wandb_offline says so beforehand"
        return "warning", f"{address} cannot be reached ({error}): {remedy}"
    return "ok", f"{address} answers"


def _address(text: str) -> tuple[str, int, str]:
    """The host, port and scheme of an address.

    Raises:
        ValueError: one of them is missing or wrong.
    """
    url = urlsplit(text)
    if url.scheme not in PORTS or not url.hostname:
        raise ValueError("it begins with no http:// or https:// and a host")
    return url.hostname, url.port or PORTS[url.scheme], url.scheme
