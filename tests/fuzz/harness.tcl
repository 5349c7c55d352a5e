# What the fuzzers in Tcl have in common. Each is a program:
#
#   tclsh tests/fuzz/NAME.tcl ?-seconds N? ?-seed N? ?-case N? ?-input FILE? ?-save DIR?
#
# It makes inputs of its seeds until the time is over, and ends with 1 at the first one
# for which a property does not hold, whose file it names. -case tries the one with this
# number of the seed, -input that of a file.
#
# An input is a list of steps, each a number from 0 to 255 and bytes; what a step does is
# the fuzzer's business. It decides everything: the same input does the same again.
#
#   fuzz::run SEEDS TOKENS TRYCMD ?CHECKCMD? ?EVERY?
#                       TRYCMD is called with an input; CHECKCMD after so many of them, and
#                       at the end: errors of both are what is looked for
#   fuzz::require BOOL PROPERTY
#   fuzz::texts SEEDS   inputs of one step 0 for each of these texts
#   fuzz::frame MESSAGE ?N?
#                       the bytes of a message with N descriptors, see forkserver/link.tcl
#   fuzz::handles N     so many channels of different kinds, always the same
#   fuzz::unchanged PID the process has no more open files than at the first call, and not
#                       much more memory
#   $fuzz::patience     milliseconds until something hangs; a busy machine is only slow

set fuzzArguments $argv
set argv {} ;# or tcltest would take them for its own
source [file join [file dirname [file dirname [file normalize [info script]]]] helpers.tcl]
package require forkserver

namespace eval fuzz {
    variable name [file rootname [file tail $::argv0]]
    # Of the command line, by their names.
    variable option
    array set option [list -seconds 10 -seed [expr {[clock microseconds] % 1000000000}] \
        -case {} -input {} -save .]
    variable patience 120000
    variable tokens {}
    variable seeds {}
    # The number of the case.
    variable case 0
}

# ---- running -------------------------------------------------------------------------

proc fuzz::run {inputs words tryCmd {checkCmd {}} {every 100}} {
    variable name
    variable option
    variable seeds [list {*}$inputs {*}[Kept]]
    variable tokens [list {*}$words {*}[CommonTokens]]
    array set option $::fuzzArguments
    set ended 0
    puts "$name: seed $option(-seed)"
    if {$option(-input) ne ""} {
        set ended [Try [Load $option(-input)] $tryCmd $checkCmd]
    } elseif {$option(-case) ne ""} {
        set ended [Try [Make $option(-case)] $tryCmd $checkCmd]
    } else {
        set ended [RunAll $tryCmd $checkCmd $every]
    }
    file delete -force $::tempDirectory
    exit $ended
}

# The seeds as they are come first.
proc fuzz::RunAll {tryCmd checkCmd every} {
    variable name
    variable option
    variable case
    set deadline [expr {[clock milliseconds] + 1000 * $option(-seconds)}]
    set told [clock seconds]
    for {set case 0} {[clock milliseconds] < $deadline} {incr case} {
        set last [expr {$case % $every == $every - 1}]
        if {[Try [Make $case] $tryCmd [expr {$last ? $checkCmd : ""}]]} {
            return 1
        }
        if {[clock seconds] - $told >= 10} {
            set told [clock seconds]
            puts "$name: $case inputs"
            flush stdout
        }
    }
    if {[Try {} {} $checkCmd]} {
        return 1
    }
    puts "$name: done, $case inputs"
    return 0
}

# 1 if a property does not hold. The input lies in a file meanwhile, for the case that
# this process does not survive it.
proc fuzz::Try {input tryCmd checkCmd} {
    variable name
    variable option
    variable case
    set path [file join $option(-save) $name-[pid].input]
    Save $path $input
    try {
        if {$tryCmd ne ""} {
            {*}$tryCmd $input
        }
        if {$checkCmd ne ""} {
            {*}$checkCmd
        }
    } on error {message failure} {
        set kept [file join $option(-save) $name-$option(-seed)-$case.input]
        file rename -force $path $kept
        puts "$name: ERROR: case $case of seed $option(-seed): $message"
        puts [dict get $failure -errorinfo]
        puts "$name: the input is $kept; again: tclsh tests/fuzz/$name.tcl -input $kept"
        flush stdout
        return 1
    }
    file delete $path
    return 0
}

proc fuzz::require {holds property} {
    if {!$holds} {
        throw {FUZZ PROPERTY} "not true: $property"
    }
}

proc fuzz::Save {path input} {
    set file [open $path wb]
    foreach {kind bytes} $input {
        puts -nonewline $file [binary format cI $kind [string length $bytes]]$bytes
    }
    close $file
}

proc fuzz::Load {path} {
    set file [open $path rb]
    set bytes [read $file]
    close $file
    return [Decode $bytes]
}

proc fuzz::Decode {bytes} {
    set input {}
    for {set at 0} {[binary scan $bytes @${at}cuIu kind size] == 2} {incr at [expr {5 + $size}]} {
        lappend input $kind [string range $bytes $at+5 [expr {$at + 4 + $size}]]
    }
    return $input
}

# Inputs that found something once: corpus/NAME.txt, one a line, in base64.
proc fuzz::Kept {} {
    variable name
    set path [file join $::projectRoot tests fuzz corpus $name.txt]
    if {![file exists $path]} {
        return {}
    }
    set file [open $path]
    set lines [split [string trim [read $file]] \n]
    close $file
    return [lmap line $lines {Decode [binary decode base64 $line]}]
}

# ---- making inputs -------------------------------------------------------------------

proc fuzz::Make {number} {
    variable option
    variable seeds
    if {$number < [llength $seeds]} {
        return [lindex $seeds $number]
    }
    expr {srand(($option(-seed) + $number * 7919) % 2147483646 + 1)}
    set input [Any $seeds]
    for {set count [Below 5]} {$count >= 0} {incr count -1} {
        set input [Mutate $input]
    }
    return $input
}

proc fuzz::Below {limit} {
    return [expr {int(rand() * $limit)}]
}

proc fuzz::Any {list} {
    return [lindex $list [Below [llength $list]]]
}

# Mostly in the bytes of a step, sometimes in the order of the steps.
proc fuzz::Mutate {input} {
    variable seeds
    set at [expr {2 * [Below [expr {max(1, [llength $input] / 2)}]]}]
    set step [lrange $input $at $at+1]
    switch -- [Below 12] {
        0 {
            return [lreplace $input $at $at+1]
        }
        1 {
            return [linsert $input $at {*}[lrepeat [expr {1 + [Below [Any {2 2 2 40}]]}] {*}$step]]
        }
        2 {
            return [list {*}[lrange $input 0 $at+1] {*}[lrange [Any $seeds] $at end]]
        }
        3 {
            return [linsert $input [expr {2 * [Below [expr {[llength $input] / 2 + 1}]]}] {*}$step]
        }
        4 {
            return [lreplace $input $at $at+1 [Below 256] [lindex $step 1]]
        }
    }
    if {$step eq {}} {
        return [list [Below 256] [Any $::fuzz::tokens]]
    }
    return [lreplace $input $at+1 $at+1 [string range [MutateBytes [lindex $step 1]] 0 299999]]
}

proc fuzz::MutateBytes {bytes} {
    variable tokens
    set size [string length $bytes]
    set from [Below [expr {$size + 1}]]
    set to [expr {min($size, $from + [Below [Any {2 5 20 1000}]])}]
    set before [string range $bytes 0 $from-1]
    set part [string range $bytes $from $to-1]
    set after [string range $bytes $to end]
    switch -- [Below 8] {
        0 { return $before$after }
        1 { return $before$part$part$after }
        2 { return $before[Any $tokens]$after }
        3 { return $before[Any $tokens]$part$after }
        4 { return $before[binary format c [Below 256]]$part$after }
        5 { return $before[string repeat $part [Below [Any {3 3 30 1000}]]]$after }
        6 { return $before[Flipped $part]$after }
    }
    return [regsub {\d+} $bytes [Any {
        0 -1 1 65535 65536 2147483647 4294967296 1e9 99999999999999999999
    }]]
}

proc fuzz::Flipped {bytes} {
    if {![binary scan $bytes cu code]} {
        return [binary format c [Below 256]]
    }
    return [binary format c [expr {$code ^ 1 << [Below 8]}]][string range $bytes 1 end]
}

# What upsets parsers of lines, of lists, of lengths and of UTF-8.
proc fuzz::CommonTokens {} {
    return [list "" " " "\n" "\r\n" "\0" "\{" "\}" "\"" "\\" "\[" "\$" ";" "#" "-" "--" "%s" "*" \
        \xff \xc0\x80 \xed\xa0\x80 \xf4\x90\x80\x80 \xe2\x82 \xef\xbb\xbf "\u00a0" "\x1b\[2J" \
        [binary format I 0] [binary format I 0xffffffff] [binary format I 0x7fffffff] \
        [binary format I 0x04000001] [binary format S 0xffff] [string repeat A 5000] \
        [string repeat \{ 500] [string repeat "a " 3000]]
}

proc fuzz::texts {texts} {
    return [lmap text $texts {list 0 $text}]
}

# ---- of what is tried ----------------------------------------------------------------

proc fuzz::frame {message {count 0}} {
    set payload [encoding convertto {*}$::forkserver::encoding $message]
    return [binary format IS [string length $payload] $count]$payload
}

proc fuzz::handles {count} {
    variable kinds
    if {![info exists kinds]} {
        set path [tempPath handle]
        set kinds [list [open $path w] [open $path] {*}[unix_sockets::pair] {*}[chan pipe] \
            [unix_sockets::listener $path.socket]]
    }
    for {set i 0} {$i < $count} {incr i} {
        lappend handles [lindex $kinds [expr {$i % [llength $kinds]}]]
    }
    return $handles
}

# Callers that have gone are noticed in their turn.
proc fuzz::unchanged {pid} {
    variable first
    lassign [Held $pid] rss files
    if {![info exists first($pid)]} {
        set first($pid) [list $rss $files]
        return
    }
    lassign $first($pid) firstRss firstFiles
    waitFor $::fuzz::patience {[lindex [fuzz::Held $pid] 1] <= $firstFiles}
    require [expr {$rss < $firstRss + 80000}] "memory does not grow: $firstRss to $rss KiB"
}

proc fuzz::Held {pid} {
    set file [open /proc/$pid/status]
    regexp {VmRSS:\s+(\d+)} [read $file] -> rss
    close $file
    return [list $rss [llength [glob -nocomplain -directory /proc/$pid/fd *]]]
}
