# Runs a program in a pseudo terminal, and does something to it once it shows a text:
#
#   terminal.py ROWS COLUMNS TEXT COUNT ACTION PROGRAM [ARGUMENT ...]
#
# After TEXT was shown COUNT times, ACTION is done: "key:CHARACTERS" types them,
# "signal:NUMBER" sends a signal, "rename:FROM:TO" renames a file; several are
# separated by commas, and each waits for TEXT again. "shown:WORDS" does nothing, and
# waits for WORDS instead. Prints what the program wrote;
# the last line is its exit status, and whether the terminal's settings are then as
# they were before.

import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import termios

rows, columns, text, count, actions = sys.argv[1:6]
text = text.encode()
actions = actions.split(",") if actions else []
master, slave = os.openpty()
fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", int(rows), int(columns), 0, 0))
before = termios.tcgetattr(slave)
process = subprocess.Popen(
    sys.argv[6:], stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
    preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
signal.alarm(30)

shown = b""
since = 0
while process.poll() is None or select.select([master], [], [], 0)[0]:
    if not select.select([master], [], [], 0.05)[0]:
        continue
    shown += os.read(master, 65536)
    if not actions:
        continue
    kind, _, what = actions[0].partition(":")
    if kind == "shown":
        reached = what.encode() in shown[since:]
    else:
        reached = shown.count(text, since) >= int(count)
    if reached:
        since = len(shown)
        actions.pop(0)
        if kind == "key":
            os.write(master, what.encode().decode("unicode_escape").encode())
        elif kind == "signal":
            process.send_signal(int(what))
        elif kind == "rename":
            os.rename(*what.split(":"))
sys.stdout.buffer.write(shown)
print("\n%d %s" % (process.returncode, termios.tcgetattr(slave) == before))
