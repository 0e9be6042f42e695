"""`wm certs`: a certificate authority for development, and a certificate per target."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from services.cli.failures import usage
from services.cli.options import options_of
from services.cli.output import print_json, print_line, print_rows
from services.processes.targets import Target, service_identity

if TYPE_CHECKING:
    from services.tls_authority.authority import DevelopmentAuthority, Issued, Wanted

app = typer.Typer(add_completion=False)

_EVERYWHERE = ("localhost", "127.0.0.1", "::1")
_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_FOLDER = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_NEXT = """
For development: ca.key signs for whoever can read it. Keep it off servers, and take
cert-manager or an authority of your own for production.

Next, for each process its own folder:
  WM_TLS_CERTIFICATE={folder}/TARGET/tls.crt  WM_TLS_KEY={folder}/TARGET/tls.key
  WM_PEER_CA={folder}/TARGET/ca.crt
  WM_TLS_CLIENT_CA={folder}/TARGET/ca.crt     (all but the gateway: people come there)
Clients trust {folder}/ca.crt. Run it again to renew; processes take new files as they run.
"""


@app.command()
def certs(
    ctx: typer.Context,
    folder: Path = typer.Argument(..., metavar="DIR", help="Made when it is not there."),
    name: list[str] = typer.Option(
        [], "--name", metavar="HOST", help="A host or address people reach the gateway at."
    ),
    dns: list[str] = typer.Option(
        [], "--dns", metavar="TARGET=HOST", help="A further name of a target, as in Kubernetes."
    ),
    process: list[str] = typer.Option(
        [], "--process", metavar="NAME=TARGET,TARGET",
        help="A certificate for a process that serves several targets.",
    ),
    trust_domain: str = typer.Option(
        "workspace", "--trust-domain", envvar="WM_PEER_TRUST_DOMAIN",
        help="Of the names of services: spiffe://<trust domain>/<target>.",
    ),
    days: int = typer.Option(90, "--days", min=1, max=825, help="How long certificates hold."),
    renew: bool = typer.Option(False, "--renew", help="All of them, not only what ends soon."),
) -> None:
    """Make certificates for a cluster on this machine: wm certs certs

    May be repeated: it keeps the authority and the names that certificates have, renews
    what is in the last third of its life, and never touches files it did not make.
    """
    from services.tls_authority.authority import DevelopmentAuthority, locked

    if not _DOMAIN.fullmatch(trust_domain):
        raise usage(f"{trust_domain!r} is no trust domain", remedy="take letters a-z, 0-9, . _ -")
    wanted = _wanted(_joined(process), [f"gateway={host}" for host in name] + dns, trust_domain)
    now = datetime.datetime.now(datetime.UTC)
    with locked(folder):
        authority = DevelopmentAuthority.open(folder, now=now)
        for other in authority.held():
            wanted.setdefault(other.name, _moved(other, trust_domain))
        issued = authority.provide(list(wanted.values()), days=days, renew=renew, now=now)
    if options_of(ctx).json:
        print_json(_as_json(authority, issued, trust_domain))
    else:
        _show(authority, issued)


def _joined(processes: Iterable[str]) -> dict[str, list[Target]]:
    """Targets by the name of the process; each target alone is there anyway."""
    found = {str(target): [target] for target in Target}
    for text in processes:
        name, _, targets = text.partition("=")
        words = [word.strip() for word in targets.split(",")]
        if not _FOLDER.fullmatch(name) or name in set(Target) or not set(words) <= set(Target):
            raise usage(
                f"--process {text!r} is no NAME=TARGET,TARGET",
                remedy=f"take a name of its own, a-z, 0-9, -; targets: {', '.join(Target)}",
            )
        found[name] = [Target(word) for word in words]
    return found


def _wanted(
    processes: Mapping[str, list[Target]], further: Iterable[str], trust_domain: str
) -> dict[str, Wanted]:
    from services.tls_authority.authority import Wanted
    from services.tls_authority.profile import host_name

    hosts = {name: {name, *targets, *_EVERYWHERE} for name, targets in processes.items()}
    for text in further:
        name, _, host = text.partition("=")
        if name not in hosts or not host:
            raise usage(
                f"--dns {text!r} is no TARGET=HOST", remedy=f"targets: {', '.join(hosts)}"
            )
        hosts[name].add(host)
    return {
        name: Wanted(
            name=name,
            uris=frozenset(service_identity(trust_domain, target) for target in targets),
            hosts=frozenset(map(host_name, hosts[name])),
        )
        for name, targets in processes.items()
    }


def _moved(held: Wanted, trust_domain: str) -> Wanted:
    """A certificate of an earlier run, in the trust domain of this one."""
    targets = {uri.rpartition("/")[2] for uri in held.uris} & set(Target)
    uris = frozenset(service_identity(trust_domain, Target(target)) for target in targets)
    return replace(held, uris=uris)


def _as_json(
    authority: DevelopmentAuthority, issued: list[Issued], trust_domain: str
) -> dict[str, object]:
    from services.rpc.certificate_files import shown_time

    return {
        "folder": str(authority.folder),
        "trust_domain": trust_domain,
        "authority": {
            "file": str(authority.folder / "ca.crt"),
            "state": "made" if authority.made else "kept",
            "expires_at": shown_time(authority.cert.not_valid_after_utc),
        },
        "certificates": [
            {
                "name": each.name,
                "state": each.state,
                "why": each.why,
                "names": list(each.names),
                "expires_at": shown_time(each.expires_at),
            }
            for each in issued
        ],
    }


def _show(authority: DevelopmentAuthority, issued: list[Issued]) -> None:
    made = "Made a" if authority.made else "Kept the"
    print_line(f"{made} certificate authority for development: {authority.folder / 'ca.crt'}")
    rows = [
        (each.name, f"{each.state} ({each.why})" if each.why else each.state,
         f"{each.expires_at:%Y-%m-%d}", ", ".join(each.names))
        for each in issued
    ]  # fmt: skip
    print_rows(("folder", "state", "ends", "names"), rows)
    for line in _NEXT.format(folder=authority.folder).splitlines():
        print_line(line)
