"""What happens to an alert that nobody answers: who is told, over which channel, and what came of it.

`tick` decides (who is to be told of what: rows in the database), `deliver` tells them. Both may run in several
processes at once, at any time again, and after any crash.
"""

from alerts.escalation.channels import Channels, Counts, Message, Outcome, Sent
from alerts.escalation.delivery import deliver
from alerts.escalation.tick import Ticked, tick

__all__ = ["Channels", "Counts", "Message", "Outcome", "Sent", "Ticked", "deliver", "tick"]
