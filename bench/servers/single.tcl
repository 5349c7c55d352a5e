#!/usr/bin/env tclsh
# single.tcl: bench/connections.tcl's job in one process, with Tcl's own `socket`.
#
# Prints "ready PORT PID" as pool.tcl does.

proc accept {channel address port} {
    chan configure $channel -translation lf -blocking 0
    chan event $channel readable [list answer $channel]
}

proc answer {channel} {
    if {[gets $channel line] >= 0} {
        puts $channel $line
        close $channel
    } elseif {[eof $channel]} {
        close $channel
    }
}

set listener [socket -server accept -myaddr 127.0.0.1 0]
puts "ready [lindex [chan configure $listener -sockname] 2] [pid]"
flush stdout
chan event stdin readable {set ended 1}
vwait ended
