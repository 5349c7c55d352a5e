#!/usr/bin/env tclsh
# jobs.tcl --
#
#   Runs scripts that nobody has looked at: each in a child of a fork server, as
#   another user if started by root, in a safe interpreter, with limits for processor
#   time, memory and files, and a time after which it is killed. The result comes back
#   over the child's socket.
#
#     tclsh examples/jobs.tcl ?--user NAME? ?--seconds N? ?SCRIPT ...?
#
#   Without scripts it runs some that behave well and some that do not.

lappend auto_path [file dirname [file dirname [file normalize [info script]]]]
package require forkserver
package require cmdline

set samples {
    {expr {6 * 7}}
    {lindex [lsort -unique {pear apple pear fig}] 0}
    {while 1 {}}
    {string length [string repeat x 2000000000]}
    {open /etc/passwd}
    {exec rm -rf /tmp/important}
    {error "my own mistake"}
}

# ---- in the child ----------------------------------------------------------------

# Before anything of the job is evaluated: what is given up cannot be had again.
set jobScript {
    lassign [forkserver::child args] user seconds job
    foreach {limit most} [list cpu $seconds as 268435456 fsize 0 nproc 0 core 0] {
        unix_process::rlimit $limit $most $most
    }
    if {$user ne ""} {
        unix_process::setuser $user
    }
    set socket [forkserver::child socket]
    set box [interp create -safe]
    # A script that holds the processor sees its end in any case.
    set code [catch {interp eval $box $job} result]
    puts -nonewline $socket [encoding convertto utf-8 [list $code [string range $result 0 999]]]
}

# ---- in the caller -----------------------------------------------------------------

# {outcome result} of a job.
proc runJob {server user seconds job} {
    set child [$server fork -name job -args [list $user $seconds $job] $::jobScript]
    set socket [dict get $child socket]
    chan configure $socket -blocking 0 -translation binary
    set ::ended 0
    set answer ""
    chan event $socket readable {set ::ended 1}
    set timer [after [expr {$seconds * 1000 + 500}] {set ::ended late}]
    while {$::ended ne "late" && ![eof $socket]} {
        vwait ::ended
        append answer [read $socket 2000]
    }
    after cancel $timer
    close $socket
    if {$::ended eq "late"} {
        $server kill [dict get $child pid] SIGKILL
    }
    return [outcome [$server wait [dict get $child pid]] \
        [encoding convertfrom utf-8 $answer] [expr {$::ended eq "late"}]]
}

proc outcome {status answer isLate} {
    if {$isLate || [lindex $status 1] in {SIGKILL SIGXCPU}} {
        return {killed "it took too long"}
    }
    if {[lindex $status 0] ne "exit"} {
        return [list killed [join $status " "]]
    }
    if {[catch {lassign $answer code result}] || $answer eq ""} {
        return {failed "it could not begin: see above"}
    }
    return [list [expr {$code ? "error" : "ok"}] $result]
}

proc options {} {
    global argv
    set asked [lindex $argv 0]
    set declared [list \
        [list user.arg [expr {[exec id -u] == 0 ? "nobody" : ""}] "run jobs as this user"] \
        {seconds.arg 2 "processor time of a job, and a limit for its time"}]
    try {
        return [cmdline::getoptions argv $declared "?options? ?SCRIPT ...?"]
    } trap {CMDLINE USAGE} usage {
        puts $usage
        exit [expr {$asked ni {--help -help -?}}]
    }
}

set argv [lmap word $argv {regsub {^--} $word -}]
set options [options]
set server [forkserver::start -name jobs]
foreach job [expr {$argv eq "" ? $samples : $argv}] {
    lassign [runJob $server [dict get $options user] [dict get $options seconds] $job] how what
    puts [format "%-45s %-7s %s" [string range $job 0 44] $how $what]
}
$server stop -wait 1
