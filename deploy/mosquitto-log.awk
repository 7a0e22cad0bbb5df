# What mosquitto says with log_type debug, without what is in order: refusals, connections and their ends stay, and so
# do subscriptions to anything but a device's own receipts and last wills on anything but its own topics. (The broker
# takes those and delivers nothing.) A refused publication, subscription or will leaves a line; a reading leaves none.
# The name of a share is left out: that of the bridges is their secret.

function say(text) { print text; fflush() }

/^[0-9]+: \t/ { # "TOPIC (QoS 1)": a line of the SUBSCRIBE before it; else the topic of a last will, or of an UNSUBSCRIBE
  topic = $0
  sub(/^[0-9]+: \t/, "", topic)
  if (subscriber != "") {
    sub(/ \(QoS [0-2]\)$/, "", topic)
    if (topic == "scad/v1/" subscriber "/receipts") next
    if (subscriber ~ /^scad-bridge-/ && topic ~ /^\$share\/[^\/]+\/scad\/v1\/[+]\/(readings|status)$/) next
    sub(/^\$share\/[^\/]+\//, "$share/.../", topic)
    say($1 " Subscription of " subscriber " to " topic)
  } else if (willing && topic != "scad/v1/" connected "/status" && topic != "scad/v1/" connected "/readings")
    say($1 " Last will of " connected " on " topic)
  next
}
/^[0-9]+: Received SUBSCRIBE from / { subscriber = $5; next }
{ subscriber = ""; willing = / Will message specified / }
/^[0-9]+: New client connected from / { connected = $8 }
/^[0-9]+: (Received|Sending) (PUBLISH|PUBACK|PUBREC|PUBREL|PUBCOMP|PINGREQ|PINGRESP|SUBACK|UNSUBSCRIBE|UNSUBACK|DISCONNECT|AUTH) / { next }
/^[0-9]+: Sending CONNACK to .* \([01], 0\)/ { next }
/^[0-9]+: (No will message specified|Will message specified)/ { next }
/ health-check[ .]/ || /New connection from (127\.0\.0\.1|::1):[0-9]+ on port 8885/ { next } # the container's own
{ say($0) }
