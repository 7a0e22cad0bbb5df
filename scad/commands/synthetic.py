"""`scad synthetic`: a reading every minute that travels the whole path, so that the page knows it works."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    @app.command()
    def synthetic(
        every: Annotated[float, typer.Option(min=1, help="Seconds between two readings.")] = 60.0,
        password: Annotated[
            str | None, typer.Option(help="The device's MQTT password; safer in SCAD_SYNTHETIC_PASSWORD.")
        ] = None,
        accounts: Annotated[
            Path | None, typer.Option(help='JSON file {"device": "MQTT password"}, as of `scad fleet`.')
        ] = None,
    ) -> None:
        """Publish a synthetic reading every minute, until Ctrl-C or SIGTERM. Run one of it.

        It enrols its device `synthetic-1` with a patient of its own at the first start, and needs an MQTT
        account of that name. The feed's header tells when the last reading arrived, and warns when none does.
        """
        import asyncio
        import json

        from alerts import synthetic as reading
        from alerts.enrol import enrol
        from alerts.enrolment import EnrolmentError
        from alerts.outbox import publish_outbox
        from devices.driver import Driver
        from devices.firmware import Firmware
        from devices.outbox import OutboxStore
        from scad.database import opened_database
        from scad.log import configure_logs
        from scad.tls import mqtt_context
        from streams.kafka import ensure_topics, make_producer

        if accounts is not None:
            try:
                password = json.loads(accounts.read_text()).get(reading.DEVICE, password)
            except (OSError, ValueError, AttributeError) as error:
                raise typer.BadParameter(f"--accounts {accounts}: {error}") from None
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        with opened_database(EnrolmentError) as (settings, conn):
            clock = settings.make_clock()
            password = password or settings.synthetic_password or None
            configure_logs(settings.log_level, "synthetic")
            known = conn.execute(
                "select 1 from scad.assignment where device = %s", (reading.DEVICE,)
            ).fetchone()
            if known is None:
                enrol(conn, reading.enrolment(clock.now_ms()), clock.now_ms())

            async def announce() -> None:
                await ensure_topics(settings)
                producer = await make_producer(settings, "scad-synthetic")
                try:
                    await publish_outbox(conn, producer)
                finally:
                    await producer.stop()

            if conn.execute("select 1 from scad.outbox limit 1").fetchone():
                asyncio.run(announce())
        host, _, port = settings.mqtt.rpartition(":")
        store = OutboxStore(Path(settings.data_dir) / "synthetic", durable=False)
        with Driver(host, int(port)) as driver:
            outbox = store.open(reading.DEVICE)
            device = Firmware(reading.DEVICE, outbox, password=password, tls=mqtt_context(settings))
            driver.add(device)
            reading.publish(device, clock, stop, every, report=lambda text: typer.echo(text, err=True))
        store.close()
