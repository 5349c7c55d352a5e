# The suites again and again, each time in another order, on a machine that is short of
# processor time and busy with its memory: what depends on luck fails. The logs of runs
# that failed stay in build/stress/.

# Takes a part of the memory that is free, touches all of it, gives it back, again.
set memoryPressure {
    set file [open /proc/meminfo]
    regexp {MemAvailable:\s+(\d+)} [read $file] -> kilobytes
    close $file
    while {[file exists /proc/[lindex $argv 0]]} {
        set blocks {}
        for {set taken 0} {$taken < $kilobytes / 4} {incr taken 65536} {
            lappend blocks [string repeat [expr {$taken % 10}] 67108864]
        }
    }
}

# The pids of what keeps the machine busy, while this process lives.
proc StartPressure {} {
    set pids [exec [info nameofexecutable] << "set argv [pid]\n$::memoryPressure" >& /dev/null &]
    for {set i 0} {$i < 2 * [exec nproc]} {incr i} {
        lappend pids [exec sh -c {while kill -0 $0; do :; done} [pid] >& /dev/null &]
    }
    return $pids
}

proc StopPressure {pids} {
    foreach pid $pids {
        catch {exec kill $pid}
    }
}

# A run with its output in the log: its outcome.
proc StressRun {log pattern seed} {
    set pids [StartPressure]
    try {
        set program [file join $::root tests all.tcl]
        catch {
            exec [info nameofexecutable] $program -order $seed $pattern < /dev/null > $log 2>@1
        }
    } finally {
        StopPressure $pids
    }
    return [CountsOf [lindex [split [string trimright [fileutil::cat $log]] \n] end]]
}

# What failed: tests, and suites that ended badly.
proc FailedOf {log} {
    set text [fileutil::cat $log]
    set found {}
    foreach {all id} [regexp -all -inline -line {^ {4}==== (\S+) FAILED$} $text] {
        lappend found $id
    }
    set ended {^(\S+\.test) .*\n(?:    .*\n)*?    (the suite failed: [^;]*)}
    foreach {all suite how} [regexp -all -inline -line $ended $text] {
        lappend found "$suite: $how"
    }
    return $found
}

proc Stress {runs pattern} {
    Build
    set directory [file join $::root build stress]
    file mkdir $directory
    set totals [Counts 0 0 0]
    set badly {}
    for {set run 1} {$run <= $runs} {incr run} {
        set began [clock milliseconds]
        set seed [expr {[clock microseconds] % 1000000000}]
        set log [file join $directory $seed.log]
        set counts [StressRun $log $pattern $seed]
        puts "run $run of $runs: [Summary $counts], order $seed ([Seconds $began])"
        foreach failed [FailedOf $log] {
            puts "    $failed: [fileutil::stripPath $::root $log]"
            dict incr badly $failed
        }
        flush stdout
        if {[dict get $counts failed] == 0} {
            file delete $log
        }
        set totals [AddCounts $totals $counts]
    }
    dict for {failed times} $badly {
        puts "failed in $times of $runs runs: $failed"
    }
    return $totals
}

verb stress {{runs 50} {pattern *}} "?RUNS? ?PATTERN?" \
    "suites in random orders on a busy machine, again and again" {
    Conclude stress [Stress $runs $pattern]
}
