"""The devices: who is online, whose battery ends, which firmware, whose clock is wrong, what was refused."""

# ruff: noqa: S608 - the names in braces are parts of queries; what a person chooses is quoted by Grafana

from __future__ import annotations

from alerts.dashboards.care_team import EVERY_DAY, TEXT
from alerts.dashboards.parts import FROM, TEAM, TO, ZONE, Board, Panel, Prom, Sql, team_variable

UID = "scad-fleet"
OURS = f"assigned and care_team in ({TEAM})"
RECENT_DAYS = 7
"""Clock errors are looked for in the range's last week: an older one was mended or is seen again."""

STATES = f"""
select coalesce(state, 'never heard of') as "state", count(*) as "devices"
  from scad.panel_device
 where {OURS}
 group by 1
 order by 1
"""

SILENT = f"""
select device, model, coalesce(state, 'never heard of') as "state", status_at as "last status", battery, firmware
  from scad.panel_device
 where {OURS} and coalesce(state <> 'online' and status_at < {TO} - interval '48 hours', true)
 order by status_at nulls first, device
 limit 100
"""

BATTERY = f"""
select case when battery < 10 then '1: under 10 %' when battery < 25 then '2: 10 to 24 %'
            when battery < 50 then '3: 25 to 49 %' else '4: 50 % and more' end as "battery",
       count(*) as "devices"
  from scad.panel_device
 where {OURS} and battery is not null
 group by 1
 order by 1
"""

FIRMWARE = f"""
select model, firmware, count(*) as "devices"
  from scad.panel_device
 where {OURS}
 group by model, firmware
 order by model, firmware
"""

# A delay has two parts: the way, which is never negative, and the clock's error. Of a device that was online at
# least once, the least delay is its clock's error but for seconds: below zero it is fast, far above zero slow.
CLOCKS = f"""
with wrong as (
    select device, count(*) as n, extract(epoch from min(received_at - measured_at))::float8 as delay
      from scad.reading
     where measured_at between {TO} - interval '{RECENT_DAYS} days' and {TO} + interval '10 minutes'
     group by device
    having min(received_at - measured_at) not between interval '-60 seconds' and interval '60 seconds')
select w.device, d.model, w.n as "readings", w.delay as "least delay"
  from wrong w join scad.panel_device d on d.device = w.device and d.{OURS}
 order by abs(w.delay) desc, w.device
 limit 50
"""

REFUSED = f"""
with counted as (
    select date_trunc('day', received_at, {ZONE}) as day, reason, count(*) as n
      from scad.quarantine
     where $__timeFilter(received_at)
     group by 1, 2)
select d.day as time, s.reason as metric, coalesce(c.n, 0) as value
  from ({EVERY_DAY}) d
 cross join (select distinct reason from counted) s
  left join counted c on c.day = d.day and c.reason = s.reason
 order by 1, 2
"""

OPEN_REFUSALS = f"""
select reason, count(*) as "open", count(distinct device) as "devices", min(received_at) as "since"
  from scad.quarantine
 where state = 'open' and received_at <= {TO} and received_at >= {FROM} - interval '1 year'
 group by reason
 order by "open" desc, reason
"""

REPORT = (
    "`scad quarantine list --reason REASON` names the devices; mend the cause, then `scad quarantine replay`"
)


def board() -> Board:
    return Board(
        uid=UID,
        title="Fleet",
        says="Devices by serial, never with a patient: who is online, battery, firmware, clock, what was refused.",
        since="now-7d",
        variables=[team_variable()],
        rows=[
            (
                "Devices",
                [
                    Panel(
                        "Devices by state",
                        "bargauge",
                        "Devices that a patient has, by the last that they (or their last will) said.",
                        "nothing here turns red. Most devices are offline at once: look at the broker before the "
                        "devices (dashboard Pipeline).",
                        "short",
                        [Sql(STATES)],
                        width=6,
                        least=0,
                    ),
                    Panel(
                        "Battery",
                        "bargauge",
                        "Devices that a patient has, by the battery they last reported.",
                        "nothing here turns red. Devices under 10 % fall silent within days: have the batteries "
                        "changed at the next call.",
                        "short",
                        [Sql(BATTERY)],
                        width=6,
                        least=0,
                    ),
                    Panel(
                        "Firmware",
                        "table",
                        "Devices by model and firmware.",
                        "nothing here turns red; a version that should be gone is a matter for its maker.",
                        "short",
                        [Sql(FIRMWARE)],
                    ),
                    Panel(
                        "Silent devices",
                        "table",
                        "Devices offline for more than 48 hours, or that never said anything; at most 100.",
                        "a battery under 10 % explains the silence; else call, and look whether the account is there "
                        "(docs/operation.md, *a device cannot connect*).",
                        "none",
                        [Sql(SILENT)],
                        ((None, "red"), (10, "orange"), (25, "green")),
                        units={"battery": "percent", "last status": "dateTimeAsLocal"},
                        overrides={"battery": TEXT},
                    ),
                    Panel(
                        "Clocks that are wrong",
                        "table",
                        "Devices whose least delay of the last 7 days is more than a minute: negative, their clock is "
                        "fast; positive, it is slow or the device was never online when it measured. At most 50.",
                        "a clock more than 10 minutes fast: its readings are refused. Have the device set its clock "
                        "(docs/firmware.md), then replay the quarantine.",
                        "short",
                        [Sql(CLOCKS)],
                        ((None, "red"), (-600, "orange"), (-60, "green"), (3600, "orange"), (86_400, "red")),
                        units={"least delay": "s"},
                        overrides={"least delay": TEXT},
                    ),
                ],
            ),
            (
                "Refused and outstanding",
                [
                    Panel(
                        "Refused by reason",
                        "timeseries",
                        "Readings that went to quarantine each day.",
                        f"a hundred a day for one reason: {REPORT}.",
                        "short",
                        [Sql(REFUSED, "time_series")],
                        ((None, "green"), (100, "red")),
                        least=0,
                    ),
                    Panel(
                        "Open in quarantine",
                        "table",
                        "What was refused and is neither replayed nor resolved.",
                        f"nothing is lost, but nobody has looked: {REPORT}.",
                        "short",
                        [Sql(OPEN_REFUSALS)],
                        ((None, "green"), (10, "orange"), (100, "red")),
                        units={"since": "dateTimeAsLocal"},
                        overrides={"open": TEXT},
                    ),
                    Panel(
                        "Receipts outstanding",
                        "timeseries",
                        "Receipts that the MQTT broker has not acknowledged, and messages that Kafka has not.",
                        "near 500 and staying there: Kafka or the broker is slow or away; devices keep their readings "
                        "meanwhile. See docs/runbooks.md, *ScadBridgeFull*.",
                        "short",
                        [
                            Prom("sum(scad_bridge_receipts_waiting)", "receipts", "A"),
                            Prom("sum(scad_bridge_in_flight)", "messages to Kafka", "B"),
                        ],
                        ((None, "green"), (400, "red")),
                        least=0,
                    ),
                    Panel(
                        "Messages held back by the rate limit",
                        "timeseries",
                        "Messages a second of devices that sent more than their share.",
                        "a device sends in a loop or is not what it says: `docker compose logs bridge` names it; "
                        "docs/runbooks.md, *ScadDevicesRateLimited*.",
                        "reqps",
                        [
                            Prom(
                                "sum(rate(scad_bridge_rate_limited_messages_total[5m]))",
                                "messages a second",
                                "A",
                            ),
                            Prom("sum(scad_bridge_flooding_devices)", "devices", "B"),
                        ],
                        ((None, "green"), (1, "red")),
                        least=0,
                        units={"devices": "short"},
                    ),
                ],
            ),
        ],
    )
