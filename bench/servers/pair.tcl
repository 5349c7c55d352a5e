# pair.tcl --
#
#   A measurement between two processes, and what they say of it, as in programs/pair.h.

source [file join [file dirname [file normalize [info script]]] common.tcl]
package require unix_sockets
package require unix_process

proc now {} {
    return [expr {[clock microseconds] / 1e6}]
}

# Seconds on a processor, over all threads.
proc cpu {} {
    set sum 0
    foreach path [glob /proc/[pid]/task/*/schedstat] {
        set file [open $path]
        incr sum [lindex [read $file] 0]
        close $file
    }
    return [expr {$sum / 1e9}]
}

# Forks: the child's end of two connected channels is given to a command, ours is
# returned. What the command returns is how much has arrived.
proc withChild {ends command} {
    lassign $ends ours theirs
    if {[unix_process::fork] == 0} {
        close $ours
        chan configure $theirs -translation binary
        puts $theirs "[{*}$command $theirs] [cpu]"
        close $theirs
        unix_process::exit
    }
    close $theirs
    chan configure $ours -translation binary
    return $ours
}

# The child's processor time, once nothing more comes from here.
proc ask {channel sent} {
    close $channel write
    lassign [gets $channel] received cpu
    if {$received != $sent} {
        error "$received of $sent have arrived"
    }
    return $cpu
}
