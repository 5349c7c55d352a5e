#!/usr/bin/env tclsh
# chat.tcl --
#
#   A chat over several event-driven workers. Who writes a line is heard by all, whatever
#   worker serves them: each worker has a connection to a hub in the parent, which
#   sends on what comes from one to all.
#
#     tclsh examples/chat.tcl ?PORT? ?WORKERS?      then: nc localhost 8888

lappend auto_path [file dirname [file dirname [file normalize [info script]]]]
package require socketserver

if {$argc > 2 || [lindex $argv 0] in {--help -help -?}} {
    puts "usage: chat.tcl ?PORT? ?WORKERS?"
    exit [expr {$argc > 2 ? 2 : 0}]
}
lassign [list {*}$argv {*}[lrange {8888 4} $argc end]] port workers

# ---- the hub, in the parent --------------------------------------------------------

set members {}

proc admit {channel} {
    chan configure $channel -blocking 0 -encoding utf-8
    chan event $channel readable [list sendOn $channel]
    lappend ::members $channel
}

proc sendOn {channel} {
    while {[gets $channel line] >= 0} {
        foreach member $::members {
            puts $member $line
            flush $member
        }
    }
    if {[eof $channel]} {
        set ::members [lsearch -all -inline -not -exact $::members $channel]
        close $channel
    }
}

# ---- the chat, in the workers ------------------------------------------------------

set application {
    set clients [dict create]

    proc joinHub {path worker} {
        set ::hub [unix_sockets::connect $path]
        chan configure $::hub -blocking 0 -buffering line -encoding utf-8
        chan event $::hub readable hear
    }

    proc hear {} {
        while {[gets $::hub line] >= 0} {
            foreach client [dict keys $::clients] {
                catch {puts $client $line}
            }
        }
        if {[eof $::hub]} {
            close $::hub ;# the parent has ended, and this worker will
        }
    }

    # Who does not read what is said to him is not waited for.
    proc welcome {client address port} {
        chan configure $client -blocking 0 -buffering line -encoding utf-8
        chan event $client readable [list listen $client "$address:$port"]
        puts $client "welcome; worker [socketserver::worker id] serves you"
        dict set ::clients $client 1
    }

    proc listen {client name} {
        set tooMuch [expr {[chan pending output $client] > 100000}]
        if {[gets $client line] >= 0 && !$tooMuch} {
            puts $::hub "$name: $line"
        } elseif {[eof $client] || [chan pending input $client] > 10000 || $tooMuch} {
            dict unset ::clients $client
            close $client
        }
    }
}

set path @chat-[pid]
if {[catch {unix_sockets::listen $path admit}]} {
    set path [file join /tmp chat-[pid].hub] ;# no abstract names here
    unix_sockets::listen $path admit
}
chan configure stdout -buffering line
socketserver::pool create chat -listen $port -workers $workers -concurrency 1000 \
    -preload $application -workerinit [list joinHub $path] -handler welcome \
    -onready {apply {pool {
        puts "chat on port [lindex [dict get [lindex [$pool listeners] 0] address] 2]"
    }}}
chat run
