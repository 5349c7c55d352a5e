# The program that has the pool:
#
#   tclsh server.tcl LOG ?-option value ...?
#
# Says "ready PID" on standard output, as does the one that an upgrade starts. It notes in
# the log (see app.tcl) what it knows:
#   x PID REASON STATUS   a worker has ended
#   s STATS               the pool has stopped

set options [lassign $argv chaosLog]
lappend auto_path [file dirname [file dirname [file dirname [file normalize [info script]]]]]
package require socketserver

set log [open $chaosLog a]
chan configure $log -buffering line

proc ended {pool number pid reason status} {
    puts $::log [list x $pid $reason $status]
}

proc stopped {pool} {
    puts $::log [list s [dict remove [$pool stats] workers listeners]]
}

proc ready {pool} {
    puts "ready [pid]"
    flush stdout
}

socketserver::pool create chaos -name chaos -loglevel info -workerinit begin \
    -preload "[list set chaosLog $chaosLog]
        [list source [file join [file dirname [file normalize [info script]]] app.tcl]]" \
    -onready ready -onstop stopped -onworkerexit ended {*}$options
chaos run
