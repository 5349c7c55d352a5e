#!/usr/bin/env tclsh
# server.tcl: the pool that scenarios.tcl has loaded and attacked.
#
#   tclsh server.tcl ?-option value ...?
#
# The options are those of the pool. Prints "ready PORT PID ..." with the pids, the
# parent's first, answers each line on standard input with a dict, the pool's statistics
# and more, and ends at end of file there.

source [file join [file dirname [file dirname [file dirname [file normalize [info script]]]]] \
    bench servers common.tcl]

set handlers {
    # Answers one line, /MS/..., after so long.
    proc block {channel address port} {
        chan configure $channel -translation lf
        if {![catch {gets $channel line}] && [string match /* $line]} {
            after [lindex [split $line /] 1]
            puts $channel $line
        }
        catch {close $channel} ;# a client may have given up
    }

    # Such a line is the only one of its connection; others are echoed as they come.
    proc await {channel address port} {
        chan configure $channel -translation lf -blocking 0 -buffering line
        chan event $channel readable [list respond $channel]
    }
    proc respond {channel} {
        if {[catch {gets $channel line} length] || [eof $channel]} {
            close $channel
        } elseif {[string match /* $line]} {
            chan event $channel readable {}
            after [lindex [split $line /] 1] [list finish $channel $line]
        } elseif {$length >= 0} {
            catch {puts $channel $line}
        }
    }
    proc finish {channel line} {
        catch {puts $channel $line}
        close $channel
    }
}

# level -> how many messages
set logged [dict create]

# The first error says enough.
proc note {level message} {
    dict incr ::logged $level
    if {$level eq "error" && [dict get $::logged error] == 1} {
        puts stderr $message
    }
}

# How many addresses the pool remembers is its own affair, but their number is to be bounded.
proc tell {} {
    set acceptor [set [info object namespace ::server]::acceptor]
    set sources [set [info object namespace $acceptor]::sources]
    puts [string map {\n { }} [dict merge [server stats] \
        [dict create logged $::logged sources [dict size $sources]]]]
    flush stdout
}

startPool -preload $handlers -log note {*}$argv
awaitEnd tell
server stop -graceful 0
