#!/usr/bin/env tclsh
# Runs the suites, each in a process of its own, with the tclsh that runs this:
#
#   tclsh tests/all.tcl ?-deadline SECONDS? ?PATTERN?
#
# PATTERN names suites: "unix_sockets" is unix_sockets.test, "unix_*" is two.
# A suite that crashes, hangs or ends without tcltest's summary is a failure.
# The last line is "N passed, M failed" or "N passed, M failed, K skipped", and
# the exit status is 0 only if something ran and nothing failed.

package require cmdline

set testDirectory [file dirname [file normalize [info script]]]

# A suite's outcome is a dict: passed, failed, skipped (numbers), notes (lines for
# the user) and skips (which tests were skipped, and why).

# ---- running one -----------------------------------------------------------------

# timeout(1) gives the suite a process group: at the deadline all of it is killed,
# with whatever the suite has started.
proc RunSuite {file deadline logFile} {
    set began [clock milliseconds]
    set status [catch {
        exec -ignorestderr timeout --kill-after=5 $deadline [info nameofexecutable] $file \
            -verbose {body error skip} < /dev/null > $logFile 2>@1
    } message options]
    set seconds [expr {([clock milliseconds] - $began) / 1000.0}]
    return [list [HowItEnded $status $options $deadline] $seconds]
}

# Empty when the process ended well.
proc HowItEnded {status options deadline} {
    if {$status == 0} {
        return {}
    }
    lassign [dict get $options -errorcode] kind pid code
    switch -- $kind {
        CHILDKILLED { return "killed by $code" }
        CHILDSTATUS {
            if {$code in {124 137}} {
                return "not done after $deadline s"
            }
            return "exit status $code"
        }
        default { return [dict get $options -errorinfo] }
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

proc Suites {pattern} {
    set files [lsort [glob -nocomplain -directory $::testDirectory *.test]]
    return [lsearch -all -inline -glob $files */[file rootname $pattern].test]
}

proc RunAll {files deadline} {
    set totals [dict create passed 0 failed 0 skipped 0]
    set allSkips {}
    close [file tempfile logFile]
    foreach file $files {
        puts -nonewline [format "%-28s " [file tail $file]]
        flush stdout
        lassign [RunSuite $file $deadline $logFile] ended seconds
        set outcome [Outcome [ReadLog $logFile] $ended]
        dict with outcome {
            puts [format "%4d passed, %d failed, %d skipped  (%.1f s)" \
                $passed $failed $skipped $seconds]
            puts -nonewline [join [lmap note $notes {string cat "    " $note \n}] {}]
        }
        foreach name {passed failed skipped} {
            dict incr totals $name [dict get $outcome $name]
        }
        lappend allSkips {*}[dict get $outcome skips]
    }
    file delete $logFile
    foreach skip $allSkips {
        puts "skipped: $skip"
    }
    return $totals
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
    set usage "?-deadline SECONDS? ?PATTERN?"
    set options [cmdline::getoptions arguments {
        {deadline.arg 300 "seconds that a suite may take"}
    } $usage]
    set pattern [expr {[llength $arguments] ? [lindex $arguments 0] : "*"}]
    set files [Suites $pattern]
    if {$files eq {}} {
        puts stderr "no suite is called \"$pattern\" in $::testDirectory"
        exit 1
    }
    set totals [RunAll $files [dict get $options deadline]]
    puts [Summary $totals]
    exit [expr {[dict get $totals failed] > 0 || [dict get $totals passed] == 0}]
}

Main $argv
