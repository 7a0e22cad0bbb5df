-- Whose a device was, whatever the team, is told to the feed and to the platform itself, to nobody else.
revoke execute on function scad.device_intervals(text) from public;
grant execute on function scad.device_intervals(text) to scad_feed, scad_service;
