"""A real SMTP server in a process of its own: `python mail_server.py FOLDER [CERTIFICATE KEY]`.

It prints its port and keeps each message as a file in FOLDER. What it does depends on the recipient: `later@`
gets 451, `never@` 550, `silent@` no answer; `twice@` is taken and answered with 421, as a server does that dies
between the storing and the answer. With a certificate it wants STARTTLS; with the word `implicit`
after them TLS from the first byte; with `login` the user scad and the password right.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult

HOST = "127.0.0.1"


class Mailbox:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        if address.startswith("later@"):
            return "451 4.7.1 greylisted, try again"
        if address.startswith("never@"):
            return "550 5.1.1 no such mailbox"
        if address.startswith("silent@"):
            await asyncio.Event().wait()
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        number = len(list(self.folder.iterdir()))
        (self.folder / f"{number}.eml").write_bytes(envelope.content)
        return "421 4.3.2 going down" if envelope.rcpt_tos[0].startswith("twice@") else "250 OK"


def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    return AuthResult(success=(data.login, data.password) == (b"scad", b"right"), handled=False)


async def main(folder: str, certificate: str = "", key: str = "", *words: str) -> None:
    context = None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
    implicit = "implicit" in words

    def session() -> SMTP:
        return SMTP(
            Mailbox(Path(folder)),
            hostname="localhost",
            tls_context=None if implicit else context,
            require_starttls=context is not None and not implicit,
            authenticator=authenticate if "login" in words else None,
            auth_required="login" in words,
            auth_require_tls=not implicit,
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(session, HOST, 0, ssl=context if implicit else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
