#!/usr/bin/env tclsh
# zygote.tcl --
#
#   A fork server that has packages loaded, and workers that it forks on demand:
#   each does a job that needs the packages, and is there in about a millisecond
#   instead of the time that a new tclsh takes to load them. Shows both times.
#   The exit status is 0 only if all that it shows did happen.
#
#     tclsh examples/zygote.tcl ?-workers N? ?--help?

lappend auto_path [file dirname [file dirname [file normalize [info script]]]]
package require forkserver
package require cmdline

set loading {
    package require json
    package require http
    package require snit
    package require struct
}
# How long the program waits for something that should happen.
set patienceMs 10000
set failures 0

# ---- telling and checking ------------------------------------------------------

proc check {what condition} {
    if {![uplevel 1 [list expr $condition]]} {
        incr ::failures
        puts "FAILED: $what"
    }
}

# Milliseconds that a script takes.
proc timed {script} {
    set began [clock microseconds]
    uplevel 1 $script
    return [expr {([clock microseconds] - $began) / 1000.0}]
}

proc median {times} {
    return [lindex [lsort -real $times] [expr {[llength $times] / 2}]]
}

# ---- the workers -----------------------------------------------------------------

# Runs in each worker. What it defines is not seen by the others.
set work {
    set socket [forkserver::child socket]
    puts $socket "worker [pid] is ready"
    flush $socket
    # A job: numbers in JSON. Its answer: their sum, and the packages here.
    set numbers [json::json2dict [gets $socket]]
    set loaded [lmap name {json http snit struct} {package present $name}]
    puts $socket "[tcl::mathop::+ {*}$numbers] [llength $loaded]"
}

# Forks one and waits for its first line. Returns {pid socket line}.
proc forkWorker {} {
    set child [$::server fork -onexit workerEnded $::work]
    return [list {*}[dict values $child] [gets [dict get $child socket]]]
}

proc workerEnded {pid status} {
    dict set ::ended $pid $status
}

# Gives the worker its job. Returns its answer.
proc askWorker {socket numbers} {
    puts $socket "\[[join $numbers {, }]\]"
    flush $socket
    set answer [gets $socket]
    close $socket
    return $answer
}

# ---- the same with a new tclsh -----------------------------------------------------

# Starts one, and waits for its first line and its end.
proc runTclsh {} {
    return [exec [info nameofexecutable] << "$::loading; puts ready"]
}

# ---- the story -----------------------------------------------------------------------

proc story {count} {
    set took [timed {set ::server [forkserver::start -preload $::loading -name zygote]}]
    puts [format "the fork server is process %d; it loaded its packages in %.1f ms" \
        [$::server pid] $took]

    set ::ended [dict create]
    set times {}
    set pids {}
    for {set i 1} {$i <= $count} {incr i} {
        lappend times [timed {lassign [forkWorker] pid socket line}]
        check "worker $i is ready" {$line eq "worker $pid is ready"}
        check "worker $i has the packages and adds up" {
            [askWorker $socket [list $i 20 22]] eq "[expr {$i + 42}] 4"
        }
        lappend pids $pid
    }
    puts "$count workers were forked, and each did its job with the packages"

    set timer [after $::patienceMs {dict set ::ended timeout 1}]
    while {[dict size $::ended] < $count && ![dict exists $::ended timeout]} {
        vwait ::ended
    }
    after cancel $timer
    check "each worker's end was told, once" {[lsort [dict keys $::ended]] eq [lsort $pids]}
    check "each ended well" {[lsort -unique [dict values $::ended]] eq {{exit 0}}}
    puts "all of them have ended, and this program was told"

    set slow {}
    for {set i 0} {$i < 5} {incr i} {
        lappend slow [timed {check "a new tclsh says its line" {[runTclsh] eq "ready"}}]
    }
    puts "milliseconds from the request to the first line, median:"
    puts [format "  %7.2f  a worker of the fork server (of %d)" [median $times] $count]
    puts [format "  %7.2f  a new tclsh with the same packages (of %d)" [median $slow] \
        [llength $slow]]
    check "a fork is faster than a new tclsh" {[median $times] < [median $slow]}
}

proc parseArguments {arguments} {
    set declared {{workers.arg 20 "how many workers to fork"}}
    try {
        set options [cmdline::getoptions arguments $declared "?options?"]
    } trap {CMDLINE USAGE} usage {
        if {[lindex $::argv 0] in {--help -help -?}} {
            puts $usage
            exit
        }
        puts stderr $usage
        exit 1
    }
    set workers [dict get $options workers]
    if {![string is integer -strict $workers] || $workers < 1} {
        puts stderr "zygote: bad number of workers \"$workers\""
        exit 1
    }
    return $workers
}

set count [parseArguments $argv]
try {
    story $count
} on error {message} {
    incr failures
    puts "FAILED: $message"
} finally {
    if {[info exists server]} {
        set process [$server pid]
        $server stop -wait 1 -timeout $patienceMs
        check "the fork server has ended" {[catch {unix_process::kill $process 0}]}
    }
}
if {$failures > 0} {
    puts "\n$failures of the things above did not happen as they should."
    exit 1
}
puts "\nAll of this did happen."
