"""``mixline systemd install``: write a sandboxed unit that keeps a node running, reloads it and drains it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mixline.node import limits

UNIT = """\
[Unit]
Description=mixline serving node
After=network.target

[Service]
Type=notify
NotifyAccess=main
ExecStart={python} -c "from mixline.tools.cli import main; main()" serve --store {store}{config}
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=1
RestartPreventExitStatus=64 65 78
WatchdogSec=30
TimeoutStopSec={stop_s}
KillMode=mixed
DynamicUser=yes
RuntimeDirectory=mixline
LimitNOFILE=65536
LimitCORE=0
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
CapabilityBoundingSet=
SystemCallArchitectures=native
SystemCallFilter=@system-service
UMask=0077

[Install]
WantedBy=multi-user.target
"""


@click.group()
def systemd() -> None:
    """Run a node under systemd."""


@systemd.command()
@click.option("--store", required=True, type=click.Path(exists=True, file_okay=False), help="The store to serve.")
@click.option("--config", type=click.Path(exists=True, dir_okay=False), help="NODE.toml.")
@click.option("--unit-dir", default="/etc/systemd/system", type=click.Path(file_okay=False), help="Where units live.")
def install(store: str, config: str | None, unit_dir: str) -> None:
    """Write mixline.service; then `systemctl daemon-reload && systemctl enable --now mixline`."""
    path = Path(unit_dir) / "mixline.service"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = UNIT.format(
        python=sys.executable,
        store=quoted(str(Path(store).absolute())),
        config=f" --config {quoted(str(Path(config).absolute()))}" if config else "",
        stop_s=(limits.drain_ms + 2 * limits.leave_ms) // 1000 + 5,
    )
    path.write_text(text)
    click.echo(str(path))


def quoted(path: str) -> str:
    """A path as one word of ExecStart; % and $ are systemd's own."""
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if " " in path else escaped
