# How a verb tells what comes of it.

# Ends a verb with a reason for the user.
proc Fail {message} {
    throw {BUILD FAILED} $message
}

# The same when the user's arguments are the reason: the verb's usage is shown as well.
proc Misuse {message} {
    throw {BUILD USAGE} $message
}

# Ends a check or a step that cannot be done here; it counts as skipped.
proc Skip {message} {
    throw {BUILD SKIPPED} $message
}

proc Tool {name} {
    set found [auto_execok $name]
    if {$found eq {}} {
        Skip "there is no $name here"
    }
    return $found
}

# Runs a command, shows its output as it comes, returns the last line of it.
proc Stream {command} {
    set channel [open |[list {*}$command < /dev/null 2>@1]]
    chan configure $channel -buffering none
    set output {}
    while {[set character [chan read $channel 1]] ne {}} {
        puts -nonewline $character
        flush stdout
        append output $character
    }
    catch {close $channel}
    return [lindex [split [string trimright $output] \n] end]
}

proc Seconds {since} {
    return [format "%.1f s" [expr {([clock milliseconds] - $since) / 1000.0}]]
}

# Outcomes are counted as {passed N failed N skipped N}.
proc Counts {passed failed skipped} {
    return [dict create passed $passed failed $failed skipped $skipped]
}

proc AddCounts {a b} {
    return [dict map {name count} $a {expr {$count + [dict get $b $name]}}]
}

# What the last line of tests/all.tcl says; anything else is a failure.
proc CountsOf {line} {
    set summary {^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$}
    if {![regexp $summary $line -> passed failed skipped]} {
        puts "the suites ended without a summary"
        return [Counts 0 1 0]
    }
    return [Counts $passed $failed [expr {$skipped eq {} ? 0 : $skipped}]]
}

proc Summary {counts} {
    dict with counts {
        return "$passed passed, $failed failed[expr {$skipped ? ", $skipped skipped" : ""}]"
    }
}

# Ends a verb that counts: the summary is the last line of the output.
proc Conclude {verbName counts} {
    set bad [expr {[dict get $counts failed] > 0 || [dict get $counts passed] == 0}]
    if {$bad} {
        set failed [dict get $counts failed]
        puts stderr "build.tcl $verbName: [expr {$failed ? "$failed failed" : "nothing ran"}]"
    }
    puts [Summary $counts]
    exit $bad
}

# One part of a verb that goes on when the part fails.
proc Step {title script} {
    set began [clock milliseconds]
    puts "== $title"
    try {
        set counts [uplevel 1 $script]
    } trap {BUILD SKIPPED} reason {
        puts "skipped: $title: $reason"
        set counts [Counts 0 0 1]
    } on error {message options} {
        puts [Reason $message $options]
        set counts [Counts 0 1 0]
    }
    puts "== $title: [Summary $counts] ([Seconds $began])\n"
    return $counts
}

# A mistake in these files shows where it is; other errors explain themselves.
proc Reason {message options} {
    if {[lindex [dict get $options -errorcode] 0] in {BUILD POSIX CHILDSTATUS CHILDKILLED}} {
        return $message
    }
    return [dict get $options -errorinfo]
}
