"""Invitations: one secret per labeller, of which the run keeps only the hash."""

import fcntl
import hmac
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from prefrl.files import Unreadable, read_json, reading
from prefrl.web.models import named

FILE = "tokens.json"
ADMIN = "admin"
"""The invitation that may see how everybody labels."""


def change(run: Path, invite: Iterable[str] = (), revoke: Iterable[str] = ()) -> dict[str, str]:
    """New tokens of those who are invited, told once; the ones they had stop working, as of those who are revoked.

    At once, on a running server too; all of it, or nothing where a name is wrong.
    """
    invited = {named(name): secrets.token_urlsafe(32) for name in invite}
    revoked = {named(name) for name in revoke}
    if not invited and not revoked:
        return {}
    with _changing(Path(run)) as known:
        if unknown := sorted(revoked - known.keys()):
            raise ValueError(f"{unknown[0]} has no invitation; invited are: {', '.join(sorted(known)) or 'nobody'}")
        for name in revoked:
            del known[name]
        known |= {name: _hash(token) for name, token in invited.items()}
    return invited


def invite(run: Path, name: str) -> str:
    [token] = change(run, invite=[name]).values()
    return token


def revoke(run: Path, name: str) -> None:
    change(run, revoke=[name])


class Tokens:
    """Whose token is whose, as the file says now."""

    def __init__(self, run: Path) -> None:
        self.path = Path(run) / FILE
        self._seen: tuple[int, int, int] | None = None
        self._known: dict[str, str] = {}

    def names(self) -> set[str]:
        self._reread()
        return set(self._known)

    def labeller(self, token: str) -> str | None:
        """Whose token this is; how long that takes says nothing about the secrets."""
        self._reread()
        given, found = _hash(token), None
        for name, kept in self._known.items():
            if hmac.compare_digest(given, kept):
                found = name
        return found

    def _reread(self) -> None:
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            self._seen, self._known = None, {}
            return
        if (now := (stat.st_mtime_ns, stat.st_size, stat.st_ino)) != self._seen:
            try:
                self._known = _read(self.path)
            except Unreadable:
                self._known = {}  # nobody comes in before it is mended
            self._seen = now


def _hash(token: str) -> str:
    return sha256(token.encode(errors="replace")).hexdigest()


def _read(path: Path) -> dict[str, str]:
    with reading(path):
        found = read_json(path) if path.exists() else {}
        return {named(name): bytes.fromhex(kept).hex() for name, kept in found.items()}


@contextmanager
def _changing(run: Path) -> Iterator[dict[str, str]]:
    """What the file says, to be changed: by one process at a time, whole or not at all."""
    path = run / FILE
    with (run / f".{FILE}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = _read(path)
        yield known
        draft = path.with_name(f".{FILE}.half")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            json.dump(known, file, indent=1)
        draft.replace(path)
