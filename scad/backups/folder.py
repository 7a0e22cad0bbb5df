"""What lies in a folder of backups, and the programs that work on it."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict

PROGRAMS = Path("/usr/lib/postgresql/17/bin")  # Debian's place, which is not on a person's PATH
SEGMENT = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})")
SEGMENT_BYTES = 16 * 1024 * 1024  # initdb's default; a server made with another is refused
SEGMENTS_A_LOG = 0x1_0000_0000 // SEGMENT_BYTES
CONNECT_SECONDS = 5

FOLDER_MODE = 0o750
"""The group sees what there is, so that `scad check` can say how old it is; a base backup is its owner's alone."""
NOTE_MODE = 0o640

ENVIRONMENT = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
}
"""How PostgreSQL's programs are told where the server is: arguments can be read by everyone on the machine."""


class BackupError(RuntimeError):
    """What could not be done, and the remedy."""


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """A base backup. `first_wal`: the segment from which recovery begins; `bytes` on disk."""

    name: str
    ended_at: datetime
    """The earliest instant that it can be restored to."""
    first_wal: str
    bytes: int
    server: str
    """The server's version, as it says it."""


class Folder:
    """A folder of backups. Raises BackupError where it cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @property
    def base(self) -> Path:
        return self.path / "base"

    @property
    def wal(self) -> Path:
        return self.path / "wal"

    def make(self) -> None:
        with self._readable():
            for folder in (self.path, self.base, self.wal):
                make_folder(folder, parents=folder is self.path)

    def belongs_to(self, system: str) -> None:
        """Bind the folder to one server, which a restored one still is. Raises BackupError for another's."""
        mark = self.path / "system"
        with self._readable():
            if not mark.exists():
                mark.write_text(system)
            known = mark.read_text().strip()
        if known != system:
            raise BackupError(
                f"{self.path} holds backups of server {known}, and this one is {system}: a new database needs a "
                "folder of its own"
            )

    def backups(self) -> list[Backup]:
        """Those that are whole, the oldest first."""
        found = []
        with self._readable():
            for path in entries(self.base):
                # a name with a dot is being written
                if path.suffix == ".json" and not path.name.startswith("."):
                    found.append(_noted(path))
        return sorted(found, key=lambda backup: backup.ended_at)

    def note(self, backup: Backup) -> None:
        new = self.base / f".{backup.name}.json"
        with self._readable():
            new.write_bytes(msgspec.json.encode(backup))
            new.chmod(NOTE_MODE)
            new.rename(self.base / f"{backup.name}.json")

    def _log(self) -> list[Path]:
        with self._readable():
            return [path for timeline in entries(self.wal) if timeline.is_dir() for path in entries(timeline)]

    def segments(self) -> dict[str, Path]:
        """Every segment of write-ahead log by its name; one that was not finished counts where no whole one is."""
        found: dict[str, Path] = {}
        for path in sorted(self._log(), key=lambda path: path.suffix != ".partial"):
            if SEGMENT.fullmatch(path.name.removesuffix(".partial")):
                found[path.name.removesuffix(".partial")] = path  # whole ones come last
        return dict(sorted(found.items()))

    def histories(self) -> list[Path]:
        return sorted(path for path in self._log() if path.suffix == ".history")

    def last_written_at(self) -> datetime | None:
        """When the newest segment was last written to: how far back a loss of the server would throw."""
        with self._readable():
            times = [path.stat().st_mtime for path in self.segments().values()]
        return datetime.fromtimestamp(max(times), UTC) if times else None

    def prune(self, keep: int) -> list[str]:
        """Delete all but the newest `keep` base backups, and the log before the oldest that stays. Raises BackupError
        before a base backup is touched that cannot be deleted whole."""
        known = self.backups()
        old, stay = known[:-keep], known[-keep:]
        with self._readable():
            for backup in old:
                entries(self.base / backup.name)  # another user's: found before it is forgotten
                (self.base / f"{backup.name}.json").unlink()
                shutil.rmtree(self.base / backup.name)
            if stay:
                first = min(position(backup.first_wal) for backup in stay)
                for name, path in self.segments().items():
                    # one that is not finished is open: its writer would find its name gone
                    if position(name) < first and path.suffix != ".partial":
                        path.unlink()
        return [backup.name for backup in old]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until nobody else takes a base backup into this folder. Two at the same time could not know of each
        other, and the one that ends first would delete the log that the other begins with."""
        with self._readable():
            lock = os.open(self.path / ".taking", os.O_RDWR | os.O_CREAT, NOTE_MODE)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel lets go of it when its holder dies
            yield
        finally:
            os.close(lock)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """What the system refuses inside, as a BackupError that names the file and the user whose it should be."""
        try:
            yield
        except OSError as error:
            raise BackupError(
                f"{error.filename or self.path} cannot be used ({error.strerror}): work as the user to whom the "
                f"folder belongs, and give that user what somebody else has put there: "
                f"chown -R {owner(self.path)}: {self.path}"
            ) from None


def make_folder(folder: Path, *, parents: bool = False) -> None:
    """Make a folder if it is not there, whatever the umask: for its owner, and for the group's eyes."""
    if not folder.is_dir():
        folder.mkdir(parents=parents, exist_ok=True)
        folder.chmod(FOLDER_MODE)


def entries(folder: Path) -> list[Path]:
    """What lies in a folder; nothing where there is none. Unlike Path.glob it raises what the system refuses."""
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def owner(folder: Path) -> str:
    """The user to whom a folder belongs; who runs PostgreSQL where that cannot be known."""
    try:
        return folder.owner()
    except (OSError, KeyError):
        return "postgres"


def _noted(path: Path) -> Backup:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Backup)
    except msgspec.DecodeError as error:
        raise BackupError(f"{path} is no note of a backup ({error}): move it away") from None


def position(segment: str) -> int:
    """A segment's place in the log, whatever its timeline."""
    _, log, number = segment_parts(segment)
    return log * SEGMENTS_A_LOG + number


def segment_parts(segment: str) -> tuple[int, int, int]:
    """Timeline, log and number of a segment's name. Raises BackupError."""
    if not (match := SEGMENT.fullmatch(segment)):
        raise BackupError(f"{segment!r} is no name of a segment of write-ahead log")
    timeline, log, number = (int(part, 16) for part in match.groups())
    return timeline, log, number


def program(name: str) -> str:
    """Path of one of PostgreSQL's programs. Raises BackupError."""
    places = [*os.environ.get("PATH", os.defpath).split(os.pathsep), str(PROGRAMS)]
    if found := shutil.which(name, path=os.pathsep.join(places)):
        return found
    raise BackupError(
        f"{name} is not on this machine: install PostgreSQL 17's programs (Debian: postgresql-client-17 and "
        "postgresql-17), or name their folder in PATH"
    )


def environment(address: str) -> Mapping[str, str]:
    """For PostgreSQL's programs: where the server is and who we are. Raises BackupError for a bad address."""
    try:
        given = conninfo_to_dict(address)
    except psycopg.Error as error:
        raise BackupError(f"SCAD_DATABASE: {str(error).strip()}") from None
    named = {ENVIRONMENT[key]: str(value) for key, value in given.items() if key in ENVIRONMENT}
    return {**os.environ, **named, "LC_ALL": "C", "PGCONNECT_TIMEOUT": str(CONNECT_SECONDS)}


def run(words: Sequence[str | Path], remedy: str, env: Mapping[str, str] | None = None) -> str:
    """Standard output. Raises BackupError with what the program said, and the remedy."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, env=env)
    if done.returncode:
        said = "; ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise BackupError(f"{Path(words[0]).name} failed: {said}\n{remedy}")
    return done.stdout


def identify(address: str) -> tuple[str, int, str]:
    """(identity, timeline, version) of the server, as one who may copy it. Raises BackupError."""
    try:
        with psycopg.connect(
            address, autocommit=True, connect_timeout=CONNECT_SECONDS, replication="true"
        ) as conn:
            system, timeline = map(_text, (conn.execute("IDENTIFY_SYSTEM").fetchone() or ("", ""))[:2])
            size = _text((conn.execute("SHOW wal_segment_size").fetchone() or ("",))[0])
            version = conn.info.parameter_status("server_version") or ""
    except psycopg.Error as error:
        raise BackupError(
            f"the server cannot be copied: {str(error).strip()}\nSCAD_DATABASE has to name a log-in with the "
            "attribute replication, and pg_hba.conf to let it in for `replication` (docs/backup.md)"
        ) from None
    if size != "16MB":
        raise BackupError(f"the server's wal_segment_size is {size}; only 16MB is known here")
    return system, int(timeline), version.split(" ")[0]


def _text(value: object) -> str:
    """A connection for replication has no encoding, so its texts come as bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)
