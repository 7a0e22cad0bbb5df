"""The clinicians' HTTP service: the live queue, a patient's page, the same as JSON, and who may see it.

`alerts.feed.app.create_app` makes the application, `alerts.feed.accounts.create_account` a person who may
log in. The database is the truth of an alert's life; this service keeps nothing that a restart would lose.
"""
