#!/usr/bin/env tclsh
# passing.tcl --
#
#   How many open files a second go from one process to another over a unix-domain
#   socket: with sendfd and recvfd, in Python, and without any script language.
#   README.md says more.

source [file join [file dirname [file normalize [info script]]] common.tcl]

set usage {usage: tclsh bench/passing.tcl ?option value ...?
    -batches L    numbers of descriptors in a message ({1 8 64})
    -rounds N     how often each way has its turn (5)
    -seconds S    how long a turn takes (1)
    -quick B      a short run (0)}
set defaults {-batches {1 8 64} -rounds 5 -seconds 1 -quick 0}

# way -> command; the first is what the others are compared with
proc ways {} {
    set tcl [list [info nameofexecutable] [bench::server passing.tcl]]
    set ways [dict create "raw C" [list [bench::program passing]] \
        "recvfd -raw" [list {*}$tcl raw] "recvfd, channels" [list {*}$tcl channels]]
    bench::addIfHas ways Python python3 [list python3 [bench::server passing.py]]
    return $ways
}

proc turn {command mode batch} {
    set said [exec {*}$command $mode $batch $::option(-seconds) 2>@stderr]
    dict with said {
        return [dict create rate [expr {$descriptors / $seconds}] \
            cpu [expr {$cpu * 1e6 / $descriptors}]]
    }
}

proc rows {mode batch turns} {
    return [lmap {way results} $turns {
        dict merge [dict create mode $mode batch $batch way $way] \
            [bench::summary $results [dict get $turns "raw C"]]
    }]
}

proc goals {rows} {
    foreach row $rows {
        dict with row {
            if {$mode eq "flood" && $batch == 1} {
                set wanted [dict create "recvfd -raw" 0.6 "recvfd, channels" 0.3]
                if {[dict exists $wanted $way]} {
                    bench::goal "descriptors/s, flood, $way / raw C" $ratio >= \
                        [dict get $wanted $way]
                }
            }
        }
    }
}

bench::run $usage $defaults {
    if {$option(-quick)} {
        array set option {-rounds 2 -seconds 0.2}
    }
    set ways [ways]
    set rows {}
    foreach mode {flood pingpong} {
        foreach batch $option(-batches) {
            set turns [bench::turns [dict keys $ways] $option(-rounds) {
                turn [dict get $ways $way] $mode $batch
            }]
            lappend rows {*}[rows $mode $batch $turns]
        }
    }
    bench::show passing "descriptors from one process to another; both processes' processor\
        time for a descriptor" {{"" %s mode} {"in a message" %.0f batch} {"" %s way}
        {descriptors/s %.0f rate} {min %.0f min} {max %.0f max} {"/ raw C" %.2f ratio}
        {"µs" %.2f cpu}} $rows
    goals $rows
}
