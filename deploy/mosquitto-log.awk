# What mosquitto says with log_type debug, without what is in order: refusals, connections and their ends stay, and so
# do subscriptions to anything but a device's own receipts. (The broker grants those and delivers nothing.) A refused
# publication or subscription leaves a line; a reading leaves none.

function say(text) { print text; fflush() }

/^[0-9]+: \t/ { # "TOPIC (QoS 1)": a line of the SUBSCRIBE before it, else the topic of a last will
  if (subscriber == "" || $2 == "scad/v1/" subscriber "/receipts") next
  if (subscriber ~ /^scad-bridge-/ && $2 ~ /^\$share\/scad\/scad\/v1\/[+]\/(readings|status)$/) next
  say($1 " Subscription of " subscriber " to " $2)
  next
}
/^[0-9]+: Received SUBSCRIBE from / { subscriber = $5; next }
{ subscriber = "" }
/^[0-9]+: (Received|Sending) (PUBLISH|PUBACK|PUBREC|PUBREL|PUBCOMP|PINGREQ|PINGRESP|SUBACK|UNSUBSCRIBE|UNSUBACK|DISCONNECT|AUTH) / { next }
/^[0-9]+: Sending CONNACK to .* \([01], 0\)/ { next }
/^[0-9]+: (No will message specified|Will message specified)/ { next }
/ health-check[ .]/ || /New connection from (127\.0\.0\.1|::1):[0-9]+ on port 8885/ { next } # the container's own
{ say($0) }
