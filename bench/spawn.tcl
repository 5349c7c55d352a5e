#!/usr/bin/env tclsh
# spawn.tcl --
#
#   How long it takes until a new process with some packages loaded says its
#   first line, and how much memory it needs, for three ways to make one: a fork
#   server, a fork of this process, and a new tclsh. README.md says more.

lappend auto_path [file dirname [file dirname [file normalize [info script]]]]
package require unix_sockets
package require unix_process
package require forkserver
package require json::write

set usage {usage: tclsh bench/spawn.tcl ?option value ...?
    -count N      processes of each kind that are timed (200)
    -children N   processes of each kind that live at once while their memory
                  and page faults are counted (10)
    -packages L   list of the packages that each has loaded
                  ({json http snit struct})
    -json FILE    writes the figures to FILE as well
    --help        shows this}

# ---- the ways --------------------------------------------------------------------

# A way is a pair of procedures: start-WAY returns {pid channel}, once the child
# is asked for; end-WAY takes the two. The child says "ready", and ends when its
# channel does.

set titles [dict create server "fork server" fork "plain fork" exec "exec tclsh"]

proc start-server {} {
    set child [$::server fork {
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

# All ways in every round, in another order each time: what disturbs the machine
# disturbs all of them alike.
proc timeAll {ways rounds} {
    set times [dict create]
    for {set round 0} {$round < $rounds} {incr round} {
        set first [expr {$round % [llength $ways]}]
        foreach way [list {*}[lrange $ways $first end] {*}[lrange $ways 0 $first-1]] {
            dict lappend times $way [timeOne $way]
            after 2 ;# what the child leaves behind is over
        }
    }
    return $times
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
    }
    set kilobytes [tcl::mathop::+ {*}[lmap child $started {pss [lindex $child 0]}]]
    set faults [tcl::mathop::+ {*}[lmap child $started {faults [lindex $child 0]}]]
    foreach child $started {
        end-$way {*}$child
    }
    set ::open {}
    return [dict create pss [expr {double($kilobytes) / $children}] \
        faults [expr {double($faults) / $children}]]
}

proc pss {pid} {
    set file [open /proc/$pid/smaps_rollup]
    set text [read $file]
    close $file
    if {![regexp -line {^Pss:\s+(\d+) kB} $text -> kilobytes]} {
        error "the system does not tell the memory of process $pid"
    }
    return $kilobytes
}

# Those that needed no disk, see proc(5).
proc faults {pid} {
    set file [open /proc/$pid/stat]
    set fields [regsub {^.*\)} [read $file] {}]
    close $file
    return [lindex $fields 7]
}

# ---- what came out ---------------------------------------------------------------

proc quantile {sorted part} {
    return [lindex $sorted [expr {int($part * ([llength $sorted] - 1) + 0.5)}]]
}

proc figures {ways times costs} {
    set figures [dict create]
    foreach way $ways {
        set sorted [lsort -real [dict get $times $way]]
        dict set figures $way [dict create median [quantile $sorted 0.5] min [lindex $sorted 0] \
            p90 [quantile $sorted 0.9] {*}[dict get $costs $way]]
    }
    set slowest [dict get $figures exec median]
    dict for {way row} $figures {
        dict set figures $way ratio [expr {$slowest / [dict get $row median]}]
    }
    return $figures
}

proc loadAverage {} {
    if {[catch {open /proc/loadavg} file]} {
        return unknown
    }
    set words [lrange [gets $file] 0 2]
    close $file
    return $words
}

proc processors {} {
    if {[catch {exec getconf _NPROCESSORS_ONLN} count]} {
        return unknown
    }
    return $count
}

proc conditions {options before} {
    return [dict create date [clock format [clock seconds] -format %Y-%m-%d] \
        tcl [info patchlevel] system "$::tcl_platform(os) $::tcl_platform(osVersion)" \
        processors [processors] load_before $before load_after [loadAverage] \
        packages [dict get $options -packages] count [dict get $options -count] \
        children [dict get $options -children]]
}

proc printTable {conditions figures} {
    dict with conditions {
        puts "$date, Tcl $tcl, $system, $processors processors"
        puts "load average before: $load_before, after: $load_after"
        puts "packages: $packages; $count of each kind timed, in turn\n"
    }
    set layout "%-12s %8s %8s %8s %13s %14s %12s"
    puts [format $layout "" median min p90 "times faster" "PSS per child" "page faults"]
    puts [format $layout "" ms ms ms "than exec" kB "per child"]
    dict for {way row} $figures {
        dict with row {
            puts [format "%-12s %8.2f %8.2f %8.2f %13.1f %14.0f %12.0f" \
                [dict get $::titles $way] $median $min $p90 $ratio $pss $faults]
        }
    }
}

proc writeJson {path conditions figures} {
    set rows [dict map {way row} $figures {
        json::write object {*}[dict map {name number} $row {format %.3f $number}]
    }]
    set strings [dict map {name value} $conditions {json::write string $value}]
    set file [open $path w]
    puts $file [json::write object {*}$strings figures [json::write object {*}$rows]]
    close $file
}

# ---- the run ---------------------------------------------------------------------

proc parse {arguments} {
    set options {-count 200 -children 10 -packages {json http snit struct} -json {}}
    if {"--help" in $arguments} {
        puts $::usage
        exit 0
    }
    foreach {name value} $arguments {
        dict set options [tcl::prefix match [dict keys $options] $name] $value
    }
    foreach name {-count -children} {
        set number [dict get $options $name]
        if {![string is integer -strict $number] || $number < 1} {
            error "bad number \"$number\" for $name"
        }
    }
    return $options
}

proc main {arguments} {
    set options [parse $arguments]
    set before [loadAverage]
    set loading [loading [dict get $options -packages]]
    # First, so that it has what it loads itself and nothing else.
    set ::server [forkserver::start -preload $loading]
    uplevel #0 $loading
    set ::program [writeProgram [dict get $options -packages]]
    set ::open {}
    try {
        set ways [dict keys $::titles]
        timeAll $ways 3 ;# caches are warm, procedures compiled
        set times [timeAll $ways [dict get $options -count]]
        set costs [dict create]
        foreach way $ways {
            dict set costs $way [costPerChild $way [dict get $options -children]]
        }
    } finally {
        file delete $::program
        $::server stop -wait 1
    }
    set conditions [conditions $options $before]
    set figures [figures $ways $times $costs]
    printTable $conditions $figures
    if {[dict get $options -json] ne ""} {
        writeJson [dict get $options -json] $conditions $figures
    }
}

try {
    main $argv
} on error {message failure} {
    puts stderr "spawn.tcl: $message"
    exit 1
}
