"""`scad fleet`: simulated devices, or recorded readings, against any MQTT broker."""

from __future__ import annotations

import json
import signal
import ssl
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from scad.settings import Settings

SIMULATION, RECORDINGS = "Simulated cohort", "Recorded readings"
DAYS_DEFAULT = 90
HISTORY_DAYS = 14
"""At the wall's pace a cohort begins a fortnight ago, so that there is something to see at once."""
DAY_MS = 86_400_000


def register(app: typer.Typer) -> None:
    app.command()(fleet)


def fleet(
    files: Annotated[list[Path] | None, typer.Argument(help="More recordings after --replay.")] = None,
    patients: Annotated[int, typer.Option(min=1, rich_help_panel=SIMULATION, help="How many.")] = 50,
    seed: Annotated[
        int, typer.Option(min=0, rich_help_panel=SIMULATION, help="Same seed, same readings.")
    ] = 1,
    days: Annotated[
        int | None, typer.Option(min=1, rich_help_panel=SIMULATION, help=f"Length; {DAYS_DEFAULT} days.")
    ] = None,
    history: Annotated[
        int | None,
        typer.Option(
            min=0,
            rich_help_panel=SIMULATION,
            help=f"Begin so many days ago; {HISTORY_DAYS}, and 0 when SCAD_CLOCK is set.",
        ),
    ] = None,
    profile: Annotated[
        str,
        typer.Option(rich_help_panel=SIMULATION, help="clinic, or demo (illness a dozen times as often)."),
    ] = "clinic",
    enrolment: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=SIMULATION, help="Write what `scad enrol` needs for this cohort, and exit."
        ),
    ] = None,
    accounts: Annotated[Path | None, typer.Option(help='JSON file {"device": "MQTT password"}.')] = None,
    password: Annotated[
        str | None,
        typer.Option(help="One MQTT password for all devices; safer in SCAD_FLEET_PASSWORD."),
    ] = None,
    certificates: Annotated[
        Path | None,
        typer.Option(help="Folder with DEVICE.crt and DEVICE.key: mutual TLS instead of passwords."),
    ] = None,
    replay: Annotated[
        list[Path] | None, typer.Option(rich_help_panel=RECORDINGS, help="Send the readings of this file.")
    ] = None,
    as_recorded: Annotated[
        bool, typer.Option("--as-recorded", rich_help_panel=RECORDINGS, help="Do not move times to end now.")
    ] = False,
    speed: Annotated[
        float | None,
        typer.Option(rich_help_panel=RECORDINGS, help="So many times real pace; as fast as receipts come."),
    ] = None,
    shifted_to: Annotated[
        Path | None, typer.Option(rich_help_panel=RECORDINGS, help="Keep what is sent, for `scad replay`.")
    ] = None,
    arrays: Annotated[
        int, typer.Option(min=1, max=500, rich_help_panel=RECORDINGS, help="Readings in one message.")
    ] = 1,
    shuffle: Annotated[
        int | None, typer.Option(rich_help_panel=RECORDINGS, help="Send in an order drawn with this seed.")
    ] = None,
    twice: Annotated[
        bool, typer.Option("--twice", rich_help_panel=RECORDINGS, help="Send everything a second time.")
    ] = False,
    enrol_to: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=RECORDINGS, help="Write what `scad enrol` needs for the files, and exit."
        ),
    ] = None,
) -> None:
    """Publish readings over MQTT: a simulated cohort's, or with --replay those of recorded files.

    The broker is SCAD_MQTT, by TLS with SCAD_MQTT_TLS; a device's user name is its serial. Every reading is
    kept until its receipt. A cohort's outboxes lie in SCAD_DATA_DIR/fleet, and a fleet that is started again
    goes on from there.
    With --replay the status is 1 when a reading was rejected.
    """
    password_of = _passwords(accounts, password or _settings().fleet_password or None)
    recordings = [*(replay or []), *(files or [])]
    if files and not replay:
        _wrong(f"{files[0]}: a recording is sent with --replay {files[0]}")
    if not recordings:
        _simulate(patients, seed, days, history, profile, enrolment, password_of, certificates)
    elif speed is not None and shuffle is not None:
        _wrong("--speed follows the recording's times, and --shuffle leaves them: give one of the two")
    elif speed is not None and speed <= 0:
        _wrong(f"--speed is {speed}: it must be above 0")
    else:
        _replay(
            recordings,
            as_recorded,
            speed,
            shifted_to,
            arrays,
            shuffle,
            twice,
            enrol_to,
            password_of,
            certificates,
        )


def _simulate(
    patients: int,
    seed: int,
    days: int | None,
    history: int | None,
    profile: str,
    enrolment: Path | None,
    password_of: Callable[[str], str | None],
    certificates: Path | None,
) -> None:
    from devices.driver import Driver
    from devices.fleet import CohortChoice, Fleet, FleetError, make_cohort, remember_choice
    from devices.outbox import OutboxStore
    from scad.log import configure_logs

    settings = _settings()
    clock = settings.make_clock()
    if history is None:
        history = HISTORY_DAYS if clock.rate == 1.0 else 0
    begin_ms = clock.now_ms() if clock.rate == 1.0 else clock.start_ms
    wanted = CohortChoice(seed, begin_ms - history * DAY_MS, days or DAYS_DEFAULT, profile)
    folder = Path(settings.data_dir) / "fleet" / f"{profile}-{seed}"
    try:
        make_cohort(wanted, 1)  # a wrong profile leaves no folder behind
        cohort = make_cohort(remember_choice(folder, wanted, days is not None), patients)
    except FleetError as error:
        _wrong(str(error))
    if enrolment is not None:
        _write_json(enrolment, cohort.enrolment())
        return
    configure_logs(settings.log_level, "fleet")
    host, port = _address(settings.mqtt)
    stop = _stop_signal()
    # simulated devices may forget in a power cut: the machine's disk is spared
    store = OutboxStore(folder, durable=False)
    with Driver(host, port) as driver:
        running = Fleet(
            cohort,
            driver,
            store,
            password_of,
            clock,
            stop=stop,
            report=_say,
            tls_of=_contexts(settings, certificates),
        )
        running.run()
    _say(f"stopped; {running.status().sentence}")
    store.close()


def _replay(
    files: list[Path],
    as_recorded: bool,
    speed: float | None,
    shifted_to: Path | None,
    arrays: int,
    shuffle: int | None,
    twice: bool,
    enrol_to: Path | None,
    password_of: Callable[[str], str | None],
    certificates: Path | None,
) -> None:
    from devices.driver import Driver
    from devices.outbox import OutboxStore
    from devices.recordings import RecordingError, enrolment, moved, read_recording
    from devices.replay import REASONS_SHOWN, Replay, shuffled, write_sent
    from scad.log import configure_logs

    settings = _settings()
    clock = settings.make_clock()
    try:
        recordings = [read_recording(path) for path in files]
    except RecordingError as error:
        _wrong(str(error))
    if not as_recorded:
        end_ms = clock.now_ms()
        recordings = [moved(recording, end_ms) for recording in recordings]
    lines = [line for recording in recordings for line in recording]
    if enrol_to is not None:
        _write_json(enrol_to, enrolment(lines))
        return
    if shuffle is not None:
        lines = shuffled(lines, shuffle)
    if shifted_to is not None:
        write_sent(shifted_to, lines)
    configure_logs(settings.log_level, "fleet")
    host, port = _address(settings.mqtt)
    stop = _stop_signal()
    with tempfile.TemporaryDirectory(prefix="scad-replay-") as folder:
        store = OutboxStore(Path(folder), durable=False)
        with Driver(host, port) as driver:
            player = Replay(
                lines,
                driver,
                store,
                password_of,
                arrays=arrays,
                stop=stop,
                report=_note,
                tls_of=_contexts(settings, certificates),
            )
            outcome = player.run(twice=twice, speed=speed)
        store.close()
    _say(outcome.sentence)
    for device, seq, reason in outcome.reasons[:REASONS_SHOWN]:
        _note(f"rejected: {device} seq {'unknown' if seq is None else seq}: {reason}")
    if not outcome.complete:
        raise typer.Exit(130)
    if outcome.reasons:
        raise typer.Exit(1)


def _settings() -> Settings:
    from scad.settings import SettingsError, load_settings

    try:
        return load_settings()
    except SettingsError as error:
        _wrong(str(error))


def _passwords(accounts: Path | None, password: str | None) -> Callable[[str], str | None]:
    """The MQTT password of a device: from the accounts file, else the one for all, else none."""
    if accounts is None:
        return lambda _: password
    try:
        known = json.loads(accounts.read_text())
    except (OSError, ValueError) as error:
        _wrong(f"--accounts {accounts}: {error}")
    if not isinstance(known, dict):
        _wrong(f'--accounts {accounts}: one JSON object {{"device": "password"}} is expected')

    def password_of(device: str) -> str | None:
        if device not in known and password is None:
            _wrong(f"--accounts {accounts} has no password for {device}; add it, or give --password")
        return str(known[device]) if device in known else password

    return password_of


def _contexts(settings: Settings, certificates: Path | None) -> Callable[[str], ssl.SSLContext | None]:
    """A device's TLS context: one for all, or one each with the device's own certificate."""
    from scad.tls import client_context, mqtt_context

    if certificates is None:
        context = mqtt_context(settings)
        return lambda _: context
    if not settings.mqtt_tls:
        _wrong("--certificates needs SCAD_MQTT_TLS=true")

    def context_of(device: str) -> ssl.SSLContext:
        try:
            certificate, key = ((certificates / f"{device}.{end}").read_text() for end in ("crt", "key"))
            return client_context(settings.mqtt_ca, certificate, key)
        except (OSError, ValueError) as error:
            _wrong(f"--certificates {certificates}: {device}: {error}")

    return context_of


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        _wrong(f"SCAD_MQTT={text!r} is not host:port")
    return host, int(port)


def _write_json(path: Path, document: dict[str, Any]) -> None:
    text = json.dumps(document, ensure_ascii=False, indent=1) + "\n"
    if str(path) == "-":
        typer.echo(text, nl=False)
        return
    path.write_text(text)
    _note(f"{path}: {len(document['patients'])} patients. Next: scad enrol {path}")


def _stop_signal() -> threading.Event:
    """Set by the first Ctrl-C or SIGTERM; the second one ends the process as usual."""
    stop = threading.Event()

    def on_signal(number: int, _frame: object) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGTERM, on_signal)
    return stop


def _say(text: str) -> None:
    typer.echo(text)


def _note(text: str) -> None:
    typer.echo(text, err=True)


def _wrong(text: str) -> NoReturn:
    """Wrong usage: status 2, as for every command."""
    typer.echo(text, err=True)
    raise typer.Exit(2)
