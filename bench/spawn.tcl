#!/usr/bin/env tclsh
# spawn.tcl --
#
#   How long it takes until a new process with some packages loaded says its
#   first line, and how much memory it needs, for four ways to make one: a fork
#   server that has forked it ahead, a fork server, a fork of this process, and a
#   new tclsh. README.md says more.

source [file join [file dirname [file normalize [info script]]] common.tcl]
package require unix_sockets
package require unix_process
package require forkserver

set usage {usage: tclsh bench/spawn.tcl ?option value ...?
    -count N      processes of each kind that are timed (200)
    -children N   processes of each kind that live at once while their memory
                  and page faults are counted (10)
    -packages L   list of the packages that each has loaded
                  ({json http snit struct})
    -quick B      a short run: 40 of each kind, except when -count is given (0)}

set defaults {-count 200 -children 10 -packages {json http snit struct} -quick 0}

# ---- the ways --------------------------------------------------------------------

# A way is a pair of procedures: start-WAY returns {pid channel}, once the child
# is asked for; end-WAY takes the two. The child says "ready", and ends when its
# channel does.

set titles [dict create spare "fork server, -spare 1" server "fork server" \
    fork "plain fork" exec "exec tclsh"]

proc start-spare {} {
    return [forkFrom $::spareServer]
}

proc end-spare {pid channel} {
    close $channel
    $::spareServer wait $pid
}

proc start-server {} {
    return [forkFrom $::server]
}

proc forkFrom {server} {
    set child [$server fork {
        puts [forkserver::child socket] ready
        flush [forkserver::child socket]
        gets [forkserver::child socket]
    }]
    return [list [dict get $child pid] [dict get $child socket]]
}

proc end-server {pid channel} {
    close $channel
    $::server wait $pid
}

proc start-fork {} {
    lassign [unix_sockets::pair] mine theirs
    set pid [unix_process::fork]
    if {$pid == 0} {
        # The other children's channels end with this child, not before.
        foreach channel $::open {
            close $channel
        }
        close $mine
        puts $theirs ready
        flush $theirs
        gets $theirs
        unix_process::exit
    }
    close $theirs
    return [list $pid $mine]
}

proc end-fork {pid channel} {
    close $channel
    unix_process::wait $pid
}

proc start-exec {} {
    set channel [open |[list [info nameofexecutable] $::program] r+]
    return [list [pid $channel] $channel]
}

proc end-exec {pid channel} {
    close $channel
}

proc writeProgram {packages} {
    set file [file tempfile path spawn.tcl]
    puts $file [loading $packages]
    puts $file {
        puts ready
        flush stdout
        gets stdin
    }
    close $file
    return $path
}

proc loading {packages} {
    return [join [lmap name $packages {list package require $name}] \n]
}

# ---- measuring -------------------------------------------------------------------

proc awaitLine {channel} {
    if {[gets $channel line] < 0 || $line ne "ready"} {
        error "a child said \"$line\", not \"ready\""
    }
}

# Milliseconds from the request to the first line.
proc timeOne {way} {
    set began [clock microseconds]
    set child [start-$way]
    awaitLine [lindex $child 1]
    set took [expr {([clock microseconds] - $began) / 1000.0}]
    end-$way {*}$child
    return $took
}

proc timeAll {ways rounds} {
    return [bench::turns $ways $rounds {
        set took [timeOne $way]
        after 5 ;# what the child leaves behind is over, and a spare one is there
        set took
    }]
}

# What each child costs, with several alive: kilobytes, where pages that several
# processes share count in parts, and page faults up to the first line.
proc costPerChild {way children} {
    set ::open {}
    set started {}
    for {set i 0} {$i < $children} {incr i} {
        set child [start-$way]
        lappend started $child
        lappend ::open [lindex $child 1]
        awaitLine [lindex $child 1]
        after 5
    }
    set kilobytes [bench::memoryOf [lmap child $started {lindex $child 0}]]
    set faults [tcl::mathop::+ {*}[lmap child $started {faults [lindex $child 0]}]]
    foreach child $started {
        end-$way {*}$child
    }
    set ::open {}
    return [dict create pss [expr {double($kilobytes) / $children}] \
        faults [expr {double($faults) / $children}]]
}

# Those that needed no disk, see proc(5).
proc faults {pid} {
    return [lindex [regsub {^.*\)} [bench::contents /proc/$pid/stat] {}] 7]
}

# ---- what came out ---------------------------------------------------------------

proc figures {ways times costs} {
    set slowest [bench::median [dict get $times exec]]
    return [lmap way $ways {
        set all [dict get $times $way]
        set median [bench::median $all]
        dict create way [dict get $::titles $way] median $median least [bench::quantile $all 0] \
            p90 [bench::quantile $all 0.9] ratio [expr {$slowest / $median}] \
            {*}[dict get $costs $way]
    }]
}

proc goals {rows} {
    set spare [lindex $rows 0]
    bench::goal "fork server, -spare 1: ms to the child's first line" \
        [dict get $spare median] <= 0.6
    bench::goal "fork server, -spare 1: times faster than exec tclsh" \
        [dict get $spare ratio] >= 100
}

# ---- the run ---------------------------------------------------------------------

proc checkNumbers {} {
    foreach name {-count -children} {
        set number $::option($name)
        if {![string is integer -strict $number] || $number < 1} {
            error "bad number \"$number\" for $name"
        }
    }
}

proc measure {} {
    global option
    set loading [loading $option(-packages)]
    # First, so that it has what it loads itself and nothing else.
    set ::server [forkserver::start -preload $loading]
    set ::spareServer [forkserver::start -preload $loading -spare 1]
    uplevel #0 $loading
    set ::program [writeProgram $option(-packages)]
    set ::open {}
    try {
        set ways [dict keys $::titles]
        timeAll $ways 3 ;# caches are warm, procedures compiled
        set times [timeAll $ways $option(-count)]
        set costs [dict create]
        foreach way $ways {
            dict set costs $way [costPerChild $way $option(-children)]
        }
    } finally {
        file delete $::program
        $::server stop -wait 1
        $::spareServer stop -wait 1
    }
    return [figures $ways $times $costs]
}

bench::run $usage $defaults {
    if {$option(-quick)} {
        array set option [dict merge {-count 40} $argv]
    }
    checkNumbers
    set rows [measure]
    bench::show spawn "first line of a new process with $option(-packages); $option(-count) of\
        each kind, in turns" {
            {way %s way} {median/ms %.2f median} {min/ms %.2f least} {p90/ms %.2f p90}
            {"times faster than exec" %.1f ratio} {PSS/kB %.0f pss} {"page faults" %.0f faults}
        } $rows
    goals $rows
}
