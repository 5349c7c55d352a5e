# Helpers of all suites. Index:
#
#   waitFor MS SCRIPT       runs the event loop until SCRIPT is true; error at the deadline
#   pollFor MS SCRIPT       the same without the event loop
#   tempPath NAME           a path in this run's temporary directory
#   descriptors             open descriptors of this process {number target ...}
#   children                pids of this process's children
#   spawn SCRIPT ?ARG ...?  starts a tclsh on SCRIPT: a channel to its stdin and stdout
#   spawnWith PREFIX SCRIPT ...
#                           the same under another program: prlimit, setpriv
#   scriptFile SCRIPT       a file with SCRIPT in it, which finds our packages: its path
#   packageRoot             where other users find our packages, too: a copy if they may not
#                           enter the project's directory
#   spawnPid CHANNEL        its pid
#   reap CHANNEL ?SIGNAL?   ends such a process and closes the channel
#   lineFrom CHANNEL ?MS?   the next line, with the event loop running meanwhile
#   program SCRIPT ?ARG ...?
#                           runs a tclsh on SCRIPT to its end: what it printed
#   programWith PREFIX SCRIPT ...
#                           the same under another program
#   exampleFile NAME        the path of a program of examples/
#   runExample NAME ?ARG ...?
#                           runs one to its end, without input: {exit status, output}
#   inChild SCRIPT          forks, runs SCRIPT in the child: {status output}
#   inBackground SCRIPT     forks and runs SCRIPT in the child, globally: its pid, to wait for
#   withLimit NAME N SCRIPT runs SCRIPT under a lowered resource limit (prlimit)
#   listening PATH          whether somebody listens on a unix path or an abstract name
#   freePort ?HOST?         a port of a host, or of all, that is free and likely to stay so
#   procFile PATH           what is in a file of /proc
#   cpuMs PID               processor time that a process has used, in milliseconds
#   captureBgerrors SCRIPT  runs SCRIPT: {message ...} of background errors meanwhile
#   startSuite, endSuite    first and last command of every test file: the second
#                           fails the file when descriptors or children are left
#   section                 between tests: what follows outside of tests needs those above to
#                           have run, or must not be seen by them. In a random order (see
#                           all.tcl) tests stay in their section

package require tcltest 2.5
namespace import -force ::tcltest::*
source [file join [file dirname [file normalize [info script]]] order.tcl]

set ::projectRoot [file dirname [file dirname [file normalize [info script]]]]
if {$::projectRoot ni $::auto_path} {
    set ::auto_path [linsert $::auto_path 0 $::projectRoot]
}
package require unix_sockets
package require unix_process

testConstraint linux [expr {$tcl_platform(os) eq "Linux"}]
testConstraint root [expr {[file attributes /proc/self/fd -owner] eq "root"}]
# The portable build has no titles.
testConstraint title [expr {![catch {unix_process::title}]}]
# AddressSanitizer and valgrind keep what is freed for a while, and look for leaks themselves.
set ::mapped [exec cat /proc/[pid]/maps]
testConstraint noSanitizer [expr {![regexp {lib[at]san|vgpreload} $::mapped]}]
# Valgrind has descriptors of its own, above the limit.
testConstraint noValgrind [expr {![regexp vgpreload $::mapped]}]
# ThreadSanitizer has a thread of its own in a program that has threads, and a signal
# waits for the end of a call that blocks.
testConstraint noThreadSanitizer [expr {![regexp libtsan $::mapped]}]

proc waitFor {ms script} {
    set deadline [expr {[clock milliseconds] + $ms}]
    while {![uplevel 1 [list expr $script]]} {
        if {[clock milliseconds] > $deadline} {
            return -code error "not true within $ms ms: $script"
        }
        set tick [after 5 {set ::waitForTick 1}]
        vwait ::waitForTick
        after cancel $tick
    }
    return
}

# A process may end between opening and reading, which is an error then.
proc procFile {path} {
    set file [open $path]
    try {
        return [read $file]
    } finally {
        close $file
    }
}

proc pollFor {ms script} {
    set deadline [expr {[clock milliseconds] + $ms}]
    while {![uplevel 1 [list expr $script]]} {
        if {[clock milliseconds] > $deadline} {
            return -code error "not true within $ms ms: $script"
        }
        after 5
    }
    return
}

proc tempPath {name} {
    if {![info exists ::tempDirectory]} {
        close [file tempfile base [file join /tmp uds-test]]
        file delete $base
        file mkdir $base.d
        set ::tempDirectory $base.d
        set ::tempOwner [pid]
    }
    return [file join $::tempDirectory $name]
}

proc descriptors {} {
    set found {}
    foreach link [lsort -dictionary [glob -nocomplain -directory /proc/self/fd *]] {
        # The descriptor that lists the directory is gone by now. Another is a sanitizer's.
        if {![catch {file readlink $link} target] && ![string match */reports/report.* $target]} {
            lappend found [file tail $link] $target
        }
    }
    return $found
}

proc children {} {
    set file [open /proc/self/task/[pid]/children]
    set pids [read $file]
    close $file
    return [lsort -integer $pids]
}

proc packageRoot {} {
    for {set path $::projectRoot} {[file attributes $path -permissions] & 1} {
        set path [file dirname $path]
    } {
        if {$path eq "/"} {
            return $::projectRoot
        }
    }
    set copy [tempPath packages]
    if {![file exists $copy]} {
        file mkdir $copy
        foreach item [glob -directory $::projectRoot *.tcl bin lib forkserver socketserver] {
            file copy $item $copy
        }
    }
    return $copy
}

proc scriptFile {script} {
    set path [tempPath spawned[incr ::spawned].tcl]
    set file [open $path w]
    puts $file [list set auto_path [linsert $::auto_path 0 [packageRoot]]]
    puts $file $script
    close $file
    return $path
}

proc spawn {script args} {
    return [spawnWith {} $script {*}$args]
}

proc spawnWith {prefix script args} {
    set command [list {*}$prefix [info nameofexecutable] [scriptFile $script] {*}$args]
    set channel [open |[list {*}$command 2>@stderr] r+]
    chan configure $channel -buffering line
    return $channel
}

proc spawnPid {channel} {
    return [lindex [pid $channel] 0]
}

proc reap {channel {signal SIGKILL}} {
    catch {unix_process::kill [spawnPid $channel] $signal}
    catch {chan configure $channel -blocking 1}
    catch {close $channel}
    return
}

proc lineFrom {channel {ms 60000}} {
    chan configure $channel -blocking 0
    waitFor $ms {[gets $channel line] >= 0 || [eof $channel]}
    return $line
}

proc program {script args} {
    return [programWith {} $script {*}$args]
}

# Ends with everything that the program started, or is killed with it.
proc programWith {prefix script args} {
    set command [list {*}$prefix [info nameofexecutable] [scriptFile $script] {*}$args]
    return [exec timeout --signal=KILL 400 {*}$command </dev/null 2>@1]
}

proc exampleFile {name} {
    return [file join $::projectRoot examples $name.tcl]
}

proc runExample {name args} {
    set code [catch {
        exec timeout --signal=KILL 300 [info nameofexecutable] [exampleFile $name] {*}$args \
            </dev/null 2>@1
    } output options]
    set status 0
    if {$code != 0} {
        set status [lindex [dict get $options -errorcode] 2]
    }
    return [list $status [regsub {\n?child process exited abnormally$} $output {}]]
}

proc inChild {script} {
    lassign [chan pipe] reader writer
    set pid [unix_process::fork]
    if {$pid == 0} {
        close $reader
        set code [catch {uplevel #0 $script} result]
        puts -nonewline $writer $result
        close $writer
        unix_process::exit $code
    }
    close $writer
    chan configure $reader -blocking 0
    set output ""
    try {
        pollFor 300000 {[append output [read $reader]; eof $reader]}
    } on error {} {
        unix_process::kill $pid SIGKILL ;# and the result tells
    }
    close $reader
    return [list [unix_process::wait $pid] $output]
}

proc inBackground {script} {
    set pid [unix_process::fork]
    if {$pid == 0} {
        set code [catch {uplevel #0 $script} result options]
        if {$code != 0} {
            puts stderr [dict get $options -errorinfo]
        }
        unix_process::exit $code
    }
    return $pid
}

proc withLimit {name limit script} {
    set before [exec prlimit --pid [pid] --$name --output SOFT --noheadings --raw]
    # What brings the limit back is started while there is still room for it.
    set restore "read line; exec prlimit --pid [pid] --$name=[string trim $before]:"
    set restorer [open |[list sh -c $restore 2>@stderr] w]
    exec prlimit --pid [pid] --$name=$limit:
    try {
        uplevel 1 $script
    } finally {
        puts $restorer now
        close $restorer
    }
}

proc listening {path} {
    set file [open /proc/net/unix]
    set lines [split [read $file] \n]
    close $file
    foreach line $lines {
        # The flag is __SO_ACCEPTCON.
        if {[lindex $line 3] eq "00010000" && [join [lrange $line 7 end]] eq $path} {
            return 1
        }
    }
    return 0
}

proc freePort {{host ""}} {
    # Below those that the system gives away by itself, of which other suites take many.
    set file [open /proc/sys/net/ipv4/ip_local_port_range]
    set end [expr {max(20000, [lindex [gets $file] 0])}]
    close $file
    while {1} {
        set port [expr {10000 + int(rand() * ($end - 10000))}]
        set endpoint [expr {$host eq "" ? $port : "$host:$port"}]
        if {![catch {unix_sockets::listener $endpoint} listener]} {
            close $listener
            return $port
        }
    }
}

proc cpuMs {pid} {
    set stat [procFile /proc/$pid/stat]
    set fields [lrange [regexp -inline -all {\S+} [regsub {^.*\)} $stat {}]] 11 12]
    return [expr {10 * ([lindex $fields 0] + [lindex $fields 1])}]
}

proc captureBgerrors {script} {
    set ::bgerrors {}
    set before [interp bgerror {}]
    interp bgerror {} [list apply {{message options} {lappend ::bgerrors $message}}]
    try {
        uplevel 1 $script
    } finally {
        interp bgerror {} $before
    }
    return $::bgerrors
}

proc startSuite {} {
    tempPath x
    # Tcl's own notifier opens a pipe at its first wait and keeps it.
    waitFor 30000 {[info exists ::waitForTick]}
    set ::descriptorsBefore [descriptors]
    set ::collected {}
    if {[info exists ::env(UDS_ORDER)]} {
        rename ::test {}
        interp alias {} ::test {} CollectTest
    }
}

# For a random order: a test, and what the top level's variables are there. A loop
# may make tests that use its variables.
proc CollectTest {args} {
    set values {}
    foreach name [info globals] {
        if {$name ne "collected" && [info exists ::$name] && ![array exists ::$name]} {
            dict set values $name [set ::$name]
        }
    }
    lappend ::collected [list $args $values]
}

proc section {} {
    set tests $::collected
    set ::collected {}
    set varying [VaryingNames $tests]
    foreach each [shuffled $tests [expr {$tests eq {} ? 0 : $::env(UDS_ORDER)}]] {
        lassign $each words values
        dict for {name value} [dict filter $values key {*}$varying] {
            set ::$name $value
        }
        uplevel #0 [list tcltest::test {*}$words]
    }
}

# But those of these helpers.
proc VaryingNames {tests} {
    set known {}
    set varying {}
    foreach each $tests {
        dict for {name value} [lindex $each 1] {
            if {[dict exists $known $name] && [dict get $known $name] ne $value} {
                dict set varying $name 1
            }
            dict set known $name $value
        }
    }
    return [dict keys [dict remove $varying spawned anotherUser waitForTick]]
}

proc endSuite {} {
    section
    tcltest::test suite-leaks.1 {no descriptor is left} -body {
        # A moment later an echo closes its channel, and Tcl 9 what a thread waited with.
        set before [dict keys $::descriptorsBefore]
        catch {waitFor 10000 {[dict size [dict remove [descriptors] {*}$before]] == 0}}
        set more [dict remove [descriptors] {*}$before]
        list [dict size $more] [lrange $more 0 9]
    } -result {0 {}}
    tcltest::test suite-leaks.2 {no child process is left} -body {
        children
    } -result {}
    if {$::tempOwner == [pid]} {
        file delete -force $::tempDirectory
    }
    cleanupTests
}
