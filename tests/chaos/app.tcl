# The application of the pool that has to bear it: answers a line with its own name and the
# line. It notes what it does in the log that all processes of the run append to; chaosLog
# is its path.
#
#   t WORKER ADDRESS PORT PARENT   a connection was taken
#   d WORKER ADDRESS PORT          it was answered to its end
#
# WORKER is the process: PID:START, of which there is never another one. PARENT is the
# process that has the pool.

set log [open $chaosLog a]
chan configure $log -buffering line

# A line goes in one piece, so what is noted is whole although its writer is killed.
proc note {args} {
    puts $::log $args
}

# What /proc tells of this process, from its state on.
proc ownStat {} {
    set file [open /proc/self/stat]
    set stat [read $file]
    close $file
    return [regsub {^.*\) } $stat {}]
}

# The fork server's.
set parent [lindex [ownStat] 1]

proc begin {number} {
    set ::worker [pid]:[lindex [ownStat] 19]
}

proc answer {channel address port} {
    note t $::worker $address $port $::parent
    chan configure $channel -translation lf
    if {[gets $channel line] >= 0} {
        puts $channel "$::worker $line"
    }
    close $channel
    note d $::worker $address $port
}

# The same with events, for -concurrency.
proc answerLater {channel address port} {
    note t $::worker $address $port $::parent
    chan configure $channel -translation lf -blocking 0
    chan event $channel readable [list AnswerNow $channel $address $port]
}

proc AnswerNow {channel address port} {
    if {[gets $channel line] < 0 && ![eof $channel]} {
        return
    }
    # Whatever is written is sent when it is closed.
    chan configure $channel -blocking 1
    if {$line ne ""} {
        puts $channel "$::worker $line"
    }
    close $channel
    note d $::worker $address $port
}
