#!/usr/bin/env tclsh
# Runs the suites, each in a process of its own, with the tclsh that runs this:
#
#   tclsh tests/all.tcl ?-deadline SECONDS? ?-jobs N? ?-order longest|random|SEED?
#       ?-under COMMAND? ?PATTERN ...?
#
# So many run at a time; the default is two a processor, since they mostly wait.
# In a random order so are the tests of each suite; its seed is shown, and gives
# the same order again.
# COMMAND is what each suite is run under, such as valgrind.
# PATTERN names suites: "unix_sockets" is unix_sockets.test, "unix_*" is two.
# A suite that crashes, hangs or ends without tcltest's summary is a failure.
# The last line is "N passed, M failed" or "N passed, M failed, K skipped", and
# the exit status is 0 only if something ran and nothing failed.

package require cmdline

set testDirectory [file dirname [file normalize [info script]]]
source [file join $testDirectory order.tcl]

# A suite's outcome is a dict: passed, failed, skipped (numbers), notes (lines for
# the user) and skips (which tests were skipped, and why).

# ---- running one -----------------------------------------------------------------

# timeout(1) gives the suite a process group: at the deadline all of it is killed,
# with whatever the suite has started.
proc StartSuite {file deadline} {
    close [file tempfile logFile]
    # What a suite leaves running may hold its output open, but not this pipe.
    set script {log=$1; shift; "$@" > "$log" 2>&1 < /dev/null; echo $?}
    set channel [open |[list sh -c $script sh $logFile timeout --kill-after=5 $deadline \
        {*}$::under [info nameofexecutable] $file -verbose {body error skip}] r]
    chan configure $channel -blocking 0
    chan event $channel readable [list SuiteEnded $channel $file $deadline $logFile \
        [clock milliseconds]]
    incr ::running
}

proc SuiteEnded {channel file deadline logFile began} {
    set status [gets $channel]
    if {$status eq "" && ![eof $channel]} {
        return
    }
    incr ::running -1
    close $channel
    set seconds [expr {([clock milliseconds] - $began) / 1000.0}]
    set outcome [Outcome [ReadLog $logFile] [HowItEnded $status $deadline]]
    file delete $logFile
    Show $file $outcome $seconds
    set ::ended 1
}

# Empty when the process ended well.
proc HowItEnded {status deadline} {
    switch -- $status {
        0 { return {} }
        124 - 137 { return "not done after $deadline s" }
        default {
            return [expr {$status > 128 ? "killed by signal [expr {$status - 128}]" :
                "exit status $status"}]
        }
    }
}

proc ReadLog {logFile} {
    set channel [open $logFile]
    # A crashing suite may write anything.
    chan configure $channel -translation {auto lf} -encoding iso8859-1
    set text [encoding convertfrom utf-8 [read $channel]]
    close $channel
    return $text
}

# ---- what a log says ---------------------------------------------------------------

proc Outcome {log ended} {
    set outcome [dict create passed 0 failed 0 skipped 0 notes {} skips {}]
    set summary {\S+:\tTotal\t(\d+)\tPassed\t(\d+)\tSkipped\t(\d+)\tFailed\t(\d+)}
    set found [lindex [regexp -all -inline -indices $summary $log] end-4]
    if {$found ne {}} {
        regexp $summary [string range $log {*}$found] -> total passed skipped failed
        dict set outcome passed $passed
        dict set outcome failed $failed
        dict set outcome skipped $skipped
        dict set outcome notes [Failures $log]
    } elseif {$ended eq {}} {
        set ended "ended without a summary"
    }
    if {$ended ne {}} {
        dict incr outcome failed
        dict lappend outcome notes "the suite failed: $ended; its last lines:" \
            {*}[lrange [split [string trimright $log] \n] end-30 end]
    }
    dict set outcome skips [Skips $log]
    return $outcome
}

# tcltest writes "==== ID DESCRIPTION FAILED", the details, "==== ID FAILED".
proc Failures {log} {
    set lines {}
    set inside 0
    foreach line [split $log \n] {
        set border [regexp {^==== .* FAILED$} $line]
        if {$border || $inside} {
            lappend lines $line
        }
        set inside [expr {$inside != $border}]
    }
    return $lines
}

proc Skips {log} {
    set skips {}
    foreach {all id reason} [regexp -all -inline -line {^\+\+\+\+ (\S+) SKIPPED: (.*)$} $log] {
        lappend skips "$id ($reason)"
    }
    return $skips
}

# ---- all of them -----------------------------------------------------------------

proc Suites {patterns} {
    set files [lsort [glob -nocomplain -directory $::testDirectory *.test]]
    set found {}
    foreach pattern $patterns {
        set named [lsearch -all -inline -glob $files */[file rootname $pattern].test]
        if {$named eq {}} {
            puts stderr "no suite is called \"$pattern\" in $::testDirectory"
            exit 1
        }
        lappend found {*}$named
    }
    return [lsort -unique $found]
}

set running 0
set totals [dict create passed 0 failed 0 skipped 0]
set allSkips {}

proc Show {file outcome seconds} {
    dict with outcome {
        puts [format "%-28s %4d passed, %d failed, %d skipped  (%.1f s)" [file tail $file] \
            $passed $failed $skipped $seconds]
        puts -nonewline [join [lmap note $notes {string cat "    " $note \n}] {}]
    }
    flush stdout
    foreach name {passed failed skipped} {
        dict incr ::totals $name [dict get $outcome $name]
    }
    lappend ::allSkips {*}[dict get $outcome skips]
}

# The suites that take longest first, or one of them would run alone at the end.
proc LongestFirst {files} {
    return [lsort -decreasing -command {apply {{a b} {
        expr {[file size $a] - [file size $b]}
    }}} $files]
}

# UDS_ORDER tells the suites, see helpers.tcl.
proc InOrder {files order} {
    unset -nocomplain ::env(UDS_ORDER)
    if {$order eq "longest"} {
        return [LongestFirst $files]
    }
    set seed [expr {$order eq "random" ? [clock microseconds] % 1000000000 : $order}]
    puts "in random order, again with: -order $seed"
    set ::env(UDS_ORDER) $seed
    return [shuffled $files $seed]
}

proc RunAll {files deadline jobs} {
    foreach file $files {
        while {$::running >= $jobs} {
            vwait ::ended
        }
        StartSuite $file $deadline
    }
    while {$::running > 0} {
        vwait ::ended
    }
    foreach skip [lsort $::allSkips] {
        puts "skipped: $skip"
    }
    return $::totals
}

proc Processors {} {
    return [expr {[catch {exec nproc} count] ? 1 : $count}]
}

proc Summary {totals} {
    dict with totals {
        set line "$passed passed, $failed failed"
        if {$skipped > 0} {
            append line ", $skipped skipped"
        }
    }
    return $line
}

proc Main {arguments} {
    set usage "?-deadline SECONDS? ?-jobs N? ?-order ORDER? ?-under COMMAND? ?PATTERN ...?"
    set declared {{deadline.arg 900 "seconds that a suite may take"}}
    lappend declared [list jobs.arg [expr {2 * [Processors]}] "suites at a time"]
    lappend declared {order.arg longest "of the suites and, if random, of their tests"}
    lappend declared {under.arg {} "what each suite is run under"}
    set options [cmdline::getoptions arguments $declared $usage]
    set order [dict get $options order]
    if {$order ni {longest random} && ![string is wideinteger -strict $order]} {
        puts stderr "bad order \"$order\": must be longest, random, or a seed"
        exit 2
    }
    set ::under [dict get $options under]
    set files [Suites [expr {$arguments eq {} ? "*" : $arguments}]]
    set files [InOrder $files $order]
    set totals [RunAll $files [dict get $options deadline] [dict get $options jobs]]
    puts [Summary $totals]
    exit [expr {[dict get $totals failed] > 0 || [dict get $totals passed] == 0}]
}

Main $argv
