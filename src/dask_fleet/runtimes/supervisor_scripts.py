"""What runs on a host beside supervisord: programs as text, for its runtime."""

from __future__ import annotations

__all__ = ["ASK", "LOG", "UPDATE"]

# supervisorctl spends most of its time on imports. This asks the same question over the same
# socket with next to none, and a second `up` with nothing to do is as fast as its look. It may be
# told for how many seconds to try, for a supervisord that is just starting.
ASK = """\
import socket, sys, time
body = b"<methodCall><methodName>supervisor.getAllProcessInfo</methodName></methodCall>"
head = b"POST /RPC2 HTTP/1.0\\r\\nContent-Type: text/xml\\r\\nContent-Length: %d\\r\\n\\r\\n"
end = time.monotonic() + float(sys.argv[2])
while True:
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(5)
        try:
            link.connect(sys.argv[1])
        except OSError:
            if time.monotonic() < end:
                time.sleep(0.005)
                continue
            raise
        link.sendall(head % len(body) + body)
        for part in iter(lambda: link.recv(65536), b""):
            sys.stdout.buffer.write(part)
        break
"""

UPDATE = """\
python=$1 configuration=$2
shift 2
control() { "$python" -m supervisor.supervisorctl -c "$configuration" "$@" </dev/null; }
status=0
said=$(control update "$@") || status=$?
printf '%s\\n' "$said"
[ "$status" -eq 0 ] || exit "$status"
left=
for unit in "$@"; do
  printf '%s\\n' "$said" | grep -qxF -e "$unit: updated process group" \\
    -e "$unit: added process group" -e "$unit: removed process group" || left="$left $unit"
done
[ -z "$left" ] || control restart $left
"""


# A unit that has not been started yet has no log; that is not a failure. Whoever follows may be
# killed while nothing is logged; then `tail` ends with its parent, for sed would not notice.
LOG = """\
how=$1 lines=$2 logs=$3
shift 3
tab=$(printf '\\t')
for unit in "$@"; do
  log=$logs/$unit.log
  if [ "$how" = follow ]; then
    tail -q -n "$lines" -F --pid="$PPID" "$log" 2>&1 | sed -u "s/^/$unit$tab/" &
  elif [ -f "$log" ]; then
    tail -q -n "$lines" "$log" | awk -v unit="$unit" '{ print unit "\\t" $0 }'
  fi
done
wait
"""
