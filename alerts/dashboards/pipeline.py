"""The way of a reading, stage by stage: rates, lag, times, errors; all from Prometheus."""

from __future__ import annotations

from alerts.dashboards.parts import Board, Panel, Prom, Steps

UID = "scad-pipeline"


def _quantile(share: float, metric: str, by: str = "") -> str:
    labels = ", ".join(["le", by]) if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket[5m])))"


def _runbook(name: str) -> str:
    return f"docs/runbooks.md, *{name}*"


LIMIT_60: Steps = ((None, "green"), (60, "orange"), (120, "red"))


def board() -> Board:
    return Board(
        uid=UID,
        title="Pipeline",
        says="From MQTT to the database, stage by stage. What wakes somebody stands in deploy/prometheus/rules.",
        since="now-6h",
        refresh="15s",
        rows=[
            (
                "Does the whole path work?",
                [
                    Panel(
                        "Since the last synthetic reading",
                        "stat",
                        "Age of the last synthetic reading that reached the database; one is sent every minute.",
                        f"readings do not arrive: follow {_runbook('ScadNoSyntheticReading')}.",
                        "s",
                        [Prom("min(scad_synthetic_age_seconds)", "age", instant=True)],
                        ((None, "green"), (120, "orange"), (180, "red")),
                        width=6,
                    ),
                    Panel(
                        "Round trip of the synthetic reading",
                        "timeseries",
                        "From the synthetic device to the database, by the wall's clock.",
                        f"readings arrive late: see below which stage is slow; {_runbook('ScadPathSlow')}.",
                        "s",
                        [Prom("max(scad_synthetic_round_trip_seconds)", "round trip")],
                        ((None, "green"), (10, "orange"), (30, "red")),
                        width=9,
                        least=0,
                    ),
                    Panel(
                        "Processes that answer",
                        "timeseries",
                        "How many processes of each kind Prometheus could ask for their metrics.",
                        f"none of a kind is left: {_runbook('ScadProcessDown')}.",
                        "short",
                        [Prom('sum by (job) (up{job=~"bridge|worker|feed|escalation"})', "{{job}}")],
                        ((None, "red"), (1, "green")),
                        width=9,
                        least=0,
                    ),
                ],
            ),
            (
                "Rates",
                [
                    Panel(
                        "Messages from MQTT to Kafka",
                        "timeseries",
                        "Messages a second that the bridges have brought to Kafka, by kind.",
                        f"no message for minutes though devices are online: {_runbook('ScadStreamStalled')}.",
                        "reqps",
                        [Prom("sum by (kind) (rate(scad_bridge_messages_total[5m]))", "{{kind}}")],
                        ((None, "red"), (0.001, "green")),
                        width=8,
                        least=0,
                    ),
                    Panel(
                        "Readings by what became of them",
                        "timeseries",
                        "Readings a second that the intake has decided on.",
                        "nothing here turns red. Refused ones rise: see the next panel.",
                        "reqps",
                        [Prom("sum by (outcome) (rate(scad_readings_total[5m]))", "{{outcome}}")],
                        width=8,
                        least=0,
                    ),
                    Panel(
                        "Refusals by reason",
                        "timeseries",
                        "Refused readings a second.",
                        f"a reason jumps: {_runbook('ScadQuarantineRate')}.",
                        "reqps",
                        [Prom("sum by (reason) (rate(scad_refusals_total[5m]))", "{{reason}}")],
                        ((None, "green"), (1, "red")),
                        width=8,
                        least=0,
                    ),
                    Panel(
                        "Alert signals",
                        "timeseries",
                        "Signals an hour by protocol and state.",
                        "nothing here turns red; a protocol that raises ten times as much has a new version or "
                        "new limits (dashboard Protocol quality).",
                        "short",
                        [
                            Prom(
                                "sum by (protocol, state) (increase(scad_signals_total[1h]))",
                                "{{protocol}} {{state}}",
                            )
                        ],
                        width=8,
                        least=0,
                    ),
                    Panel(
                        "Backlog lane",
                        "timeseries",
                        "Readings a second that devices had kept while offline, taken apart from live ones.",
                        "nothing here turns red: how long they wait is in the panel *Waiting*.",
                        "reqps",
                        [Prom("sum(rate(scad_worker_backlog_readings_total[5m]))", "readings")],
                        width=8,
                        least=0,
                    ),
                    Panel(
                        "Records written",
                        "timeseries",
                        "Records a second that the writers have brought into the database, by topic and result.",
                        "nothing here turns red: a quiet night writes nothing. Nothing is written though readings "
                        f"come: {_runbook('ScadDatabaseBehind')}.",
                        "reqps",
                        [
                            Prom(
                                "sum by (topic, result) (rate(scad_writer_records_total[5m]))",
                                "{{topic}} {{result}}",
                            )
                        ],
                        width=8,
                        least=0,
                    ),
                ],
            ),
            (
                "Lag and time",
                [
                    Panel(
                        "Records behind, by partition",
                        "timeseries",
                        "Records of each partition that the workers have not worked on yet.",
                        f"one partition grows: its worker is stuck, {_runbook('ScadWorkerLag')}; all grow: add workers "
                        "(docs/operation.md, *Scaling*).",
                        "short",
                        [
                            Prom(
                                "sum by (topic, partition) (scad_worker_lag_records)",
                                "{{topic}} {{partition}}",
                            )
                        ],
                        ((None, "green"), (5000, "orange"), (50_000, "red")),
                        least=0,
                    ),
                    Panel(
                        "Waiting",
                        "timeseries",
                        "How long the oldest record waits: in the worker for its commit, before the database, and in "
                        "the backlog lane.",
                        f"worker: {_runbook('ScadWorkerStuck')}; database: {_runbook('ScadDatabaseBehind')}; "
                        "the backlog's may be an hour after an outage (docs/backlog.md).",
                        "s",
                        [
                            Prom("max(scad_worker_commit_age_seconds)", "worker", "A"),
                            Prom("max(scad_writer_lag_seconds)", "database", "B"),
                            Prom("max(scad_worker_backlog_age_seconds)", "backlog lane", "C"),
                        ],
                        LIMIT_60,
                        least=0,
                    ),
                    Panel(
                        "Time of a batch, by stage",
                        "timeseries",
                        "19 of 20 batches took no longer: each agent of the worker, and the writer's transaction.",
                        "the writer's: the database is slow (disk? another query?); an agent's: batches are large or "
                        "the processor is busy (dashboard Footprint).",
                        "s",
                        [
                            Prom(_quantile(0.95, "scad_worker_batch_seconds", "agent"), "{{agent}}", "A"),
                            Prom(_quantile(0.95, "scad_writer_batch_seconds"), "writer", "B"),
                        ],
                        ((None, "green"), (5, "orange"), (15, "red")),
                        least=0,
                    ),
                    Panel(
                        "Age of a reading, by stage",
                        "timeseries",
                        "Since the bridge received it: in Kafka (received), decided by the intake (accepted), through "
                        "the rules (evaluated), in the database (stored). 19 of 20 batches; the first reading of each "
                        "stands for it.",
                        "the first stage that is slow holds up those behind it. Received: Kafka. Accepted, evaluated: "
                        f"{_runbook('ScadWorkerLag')}. Stored: {_runbook('ScadDatabaseBehind')}. After an outage the "
                        "backlog raises the last two.",
                        "s",
                        [Prom(_quantile(0.95, "scad_stage_seconds", "stage"), "{{stage}}")],
                        ((None, "green"), (10, "orange"), (30, "red")),
                        least=0,
                    ),
                    Panel(
                        "Time of the last takeover",
                        "timeseries",
                        "How long partitions stood still while a worker took them over and read their patients' state; "
                        "the slowest worker.",
                        "alerts of those patients came as late. Each worker holds too many patients: add one "
                        f"(docs/capacity.md); it happens again and again: {_runbook('ScadRebalances')}.",
                        "s",
                        [Prom("max(scad_worker_recovery_seconds)", "takeover")],
                        LIMIT_60,
                        least=0,
                    ),
                    Panel(
                        "How late readings come",
                        "timeseries",
                        "From measured to received: half of the readings, and 19 of 20, came within this time.",
                        "half of them come late: the broker was away or many devices were offline; nothing is lost.",
                        "s",
                        [
                            Prom(_quantile(0.5, "scad_reading_lateness_seconds"), "half", "A"),
                            Prom(_quantile(0.95, "scad_reading_lateness_seconds"), "19 of 20", "B"),
                        ],
                        ((None, "green"), (3600, "orange"), (86_400, "red")),
                        least=0,
                    ),
                    Panel(
                        "Batch sizes",
                        "timeseries",
                        "Mean records in a batch, by agent: near one when all is quiet, large in a backlog.",
                        "nothing here turns red; large for hours means that workers do not keep up.",
                        "short",
                        [
                            Prom(
                                "sum by (agent) (rate(scad_worker_batch_records_sum[5m]))"
                                " / sum by (agent) (rate(scad_worker_batch_records_count[5m]))",
                                "{{agent}}",
                            )
                        ],
                        least=0,
                    ),
                    Panel(
                        "Answers of the page",
                        "timeseries",
                        "19 of 20 requests were answered within this time, by route.",
                        "the page feels slow: the database is busy, or the queue is very long.",
                        "s",
                        [Prom(_quantile(0.95, "scad_feed_request_seconds", "route"), "{{route}}")],
                        ((None, "green"), (0.5, "orange"), (2, "red")),
                        least=0,
                    ),
                ],
            ),
            (
                "Trouble",
                [
                    Panel(
                        "Rebalances and recovery",
                        "timeseries",
                        "Times an hour that a worker took partitions over, and patients whose state each kind holds.",
                        "six an hour or more: workers start again and again; see their logs and "
                        f"{_runbook('ScadRebalances')}.",
                        "short",
                        [
                            Prom("sum(increase(scad_worker_takeovers_total[1h]))", "takeovers an hour", "A"),
                            Prom("sum(scad_worker_patients)", "patients held", "B"),
                        ],
                        ((None, "green"), (6, "red")),
                        width=8,
                        least=0,
                        overrides={
                            "patients held": {
                                "custom.axisPlacement": "right",
                                "custom.thresholdsStyle": {"mode": "off"},
                                "thresholds": {
                                    "mode": "absolute",
                                    "steps": [{"value": None, "color": "green"}],
                                },
                            }
                        },
                    ),
                    Panel(
                        "Errors",
                        "timeseries",
                        "An hour's records that could not be worked on, repeated batches, skipped signal numbers, "
                        "messages too large.",
                        f"any of them: {_runbook('ScadPoisonRecords')}, {_runbook('ScadWriterGaps')}, "
                        f"{_runbook('ScadDatabaseBehind')}.",
                        "short",
                        [
                            Prom("sum(increase(scad_poison_records_total[1h]))", "poison records", "A"),
                            Prom("sum(increase(scad_writer_failures_total[1h]))", "batches repeated", "B"),
                            Prom("sum(increase(scad_writer_signal_gaps_total[1h]))", "signals skipped", "C"),
                            Prom("sum(increase(scad_bridge_cut_messages_total[1h]))", "messages cut", "D"),
                        ],
                        ((None, "green"), (1, "red")),
                        width=8,
                        least=0,
                    ),
                    Panel(
                        "Broker, database, certificate",
                        "stat",
                        "Bridges that have no MQTT connection, writers that wait for the database, and days until the "
                        "broker's certificate expires.",
                        f"{_runbook('ScadBridgeDisconnected')}, {_runbook('ScadDatabaseAway')}, "
                        f"{_runbook('ScadCertificateExpiring')}.",
                        "short",
                        [
                            Prom(
                                "count(scad_bridge_mqtt_connected == 0) or vector(0)",
                                "bridges away",
                                "A",
                                True,
                            ),
                            Prom("sum(scad_writer_waiting)", "writers waiting", "B", True),
                            Prom(
                                "(min(scad_bridge_certificate_expiry_timestamp_seconds > 0) - time()) / 86400",
                                "days of certificate",
                                "C",
                                True,
                            ),
                        ],
                        ((None, "green"), (1, "red")),
                        width=8,
                        overrides={
                            "days of certificate": {
                                "unit": "d",
                                "thresholds": {
                                    "mode": "absolute",
                                    "steps": [
                                        {"value": None, "color": "red"},
                                        {"value": 14, "color": "orange"},
                                        {"value": 30, "color": "green"},
                                    ],
                                },
                            }
                        },
                    ),
                    Panel(
                        "Messages to people",
                        "timeseries",
                        "An hour's attempts to tell somebody of an unanswered alert, by outcome; alerts past due; "
                        "messages that wait.",
                        "messages fail or wait: nobody is told. See docs/escalation.md and "
                        f"{_runbook('ScadEscalationStalled')}.",
                        "short",
                        [
                            Prom(
                                "sum by (outcome) (increase(scad_notifications_total[1h]))",
                                "{{outcome}}",
                                "A",
                            ),
                            Prom("max(scad_escalation_overdue_alerts)", "past due", "B"),
                            Prom("max(scad_escalation_waiting_notifications)", "waiting", "C"),
                        ],
                        ((None, "green"), (50, "red")),
                        width=24,
                        least=0,
                    ),
                ],
            ),
        ],
    )
