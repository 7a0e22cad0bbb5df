"""What a device says and how: the reading message, units, codes, Bluetooth payloads, the firmware
client and simulated patients. Nothing here knows Kafka, a database or a clinician."""
