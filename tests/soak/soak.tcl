# A soak: a server with pools of all kinds under mixed traffic for long. Its clients check
# every byte; its memory, descriptors and processes are looked at, and must not grow.
#
#   tclsh tests/soak/soak.tcl ?-seconds N? ?-out DIR? ?-pace N?
#
# The time consists of rounds. In each there is traffic (clients.py), and now and then an
# operation: a reload, more workers and fewer, one that is told to end. At the end of a round
# all clients rest. The server must have come to rest then, with the same processes and
# descriptors each time; and its memory of the last quarter of the time is compared with that
# of the second (judge.tcl).
#
# -pace is how many clients there are, 1 being 40. Writes DIR/soak.json and DIR/soak.svg. The
# last line is "N passed, M failed".

set soakArguments $argv
set argv {} ;# or tcltest would take them for its own
set soakHome [file dirname [file normalize [info script]]]
foreach name {helpers.tcl servers.tcl load.tcl} {
    source [file join [file dirname $soakHome] $name]
}
foreach name {samples.tcl judge.tcl show.tcl} {
    source [file join $soakHome $name]
}
package require json

namespace eval soak {
    variable home $::soakHome
    variable option
    array set option [list -seconds 1800 -out [file join $::projectRoot build soak] -pace 1]

    # Seconds of a round.
    variable round
    # Milliseconds of silence that the pools allow: less than a round, but more than a busy
    # machine may have a process wait.
    variable idleMs
    # Milliseconds in which the server must come to rest.
    variable restMs 120000
    # Milliseconds of processor time that a process may use in a second of rest.
    variable restCpuMs 100
    # Kind of traffic -> clients. The first is measured, by a process of its own.
    variable crew {ordinary 6 keep 4 slow 8 silent 6 half 3 big 3 broken 5 passing 4 hand 2}
    # Processes at rest, with two of `each` and one `job` that are forked ahead.
    variable expected {parent 1 "fork server" 4 steady 2 events 2 web 4 each 2 jobs 1 job 1}
    # Operations, one after the other: words for socketserverctl, or a script for the server.
    variable operations {
        {ctl reload --wait} {ctl scale 6} {ctl status} {tell soak::retire} {ctl scale 4}
        {ctl stats -json} {tell {each reload}} {ctl workers}
    }
    # Ends of workers that are nobody's fault.
    variable fineExits {recycled reload done scaled terminated stop}

    variable directory
    variable server ""
    # Channels of the programs of clients.
    variable clients {}
    variable began
    # Their last reports.
    variable counts [dict create]
    variable details {}
    # {time S quiet B kinds D ...}, see Sample
    variable samples {}
    # Descriptors of each kind at rest, from the first time on.
    variable base ""
    # Kind of check -> what was wrong.
    variable findings [dict create bytes {} rest {} growth {} end {}]
    variable operationsDone 0
    variable lastState
}

# ---- the run -------------------------------------------------------------------------

proc soak::main {arguments} {
    variable option
    variable round
    variable idleMs
    array set option $arguments
    set round [expr {max(7, min(60, $option(-seconds) / 30.0))}]
    set idleMs [expr {int(max(4000, 500 * $round))}]
    file mkdir $option(-out)
    try {
        Begin
        Run
        End
    } on error {message failure} {
        Find end "the soak itself failed: [dict get $failure -errorinfo]"
    } finally {
        CleanUp
    }
    Judge
    exit [expr {[Conclude] > 0}]
}

proc soak::Begin {} {
    variable home
    variable directory [tempPath soak]
    variable server
    variable idleMs
    variable began
    variable crew
    file mkdir $directory
    set noise [file join $directory noise]
    exec head -c 16000000 /dev/urandom >$noise
    set server [startServer setsid [list source [file join $home server.tcl]]]
    ask $server [list soak::begin $directory $noise $idleMs]
    set began [clock milliseconds]
    set targets [join [lmap {name address} [ask $server soak::addresses] {
        string cat $name = $address
    }] ,]
    foreach kinds [list [lrange $crew 0 1] [lrange $crew 2 end]] {
        StartClients $noise $targets $kinds
    }
}

proc soak::StartClients {noise targets kinds} {
    variable home
    variable idleMs
    variable clients
    variable option
    set threads [lmap {kind number} $kinds {
        string cat $kind = [expr {max(1, int($number * $option(-pace)))}]
    }]
    lappend clients [open |[list python3 [file join $home clients.py] --noise $noise \
        --idle [expr {$idleMs / 1000.0}] --targets $targets --kinds [join $threads ,] \
        2>@stderr] r+]
    chan configure [lindex $clients end] -buffering line
}

proc soak::Run {} {
    variable option
    variable round
    Busy [expr {min(20, $option(-seconds) / 8.0)}]
    Lull
    while {[Elapsed] < $option(-seconds)} {
        Busy [expr {min($round, $option(-seconds) - [Elapsed])}]
        Lull
    }
}

proc soak::Elapsed {} {
    variable began
    return [expr {([clock milliseconds] - $began) / 1000.0}]
}

proc soak::Busy {seconds} {
    set until [expr {[Elapsed] + $seconds}]
    set pause [expr {max(0.5, min(5.0, $seconds / 4.0))}]
    ask $::soak::server soak::resumeJobs
    TellClients resume
    while {[Elapsed] < $until} {
        after [expr {int(1000 * min($pause, max(0.0, $until - [Elapsed])))}]
        Operate
        Sample 0
    }
}

# One client after the other says that it is done.
proc soak::Lull {} {
    ask $::soak::server {soak::pauseJobs; web scale 4}
    TellClients pause
    ComeToRest
    Spin
    Sample 1
}

proc soak::TellClients {verb} {
    variable clients
    return [lmap client $clients {
        puts $client $verb
        set line [lineFrom $client 300000]
        if {$line eq ""} {
            error "the clients have gone"
        }
        json::json2dict $line
    }]
}

proc soak::Operate {} {
    variable operations
    variable operationsDone
    variable server
    variable directory
    set operation [lindex $operations [expr {$operationsDone % [llength $operations]}]]
    set words [lassign $operation how]
    if {$how eq "tell"} {
        ask $server {*}$words
    } else {
        exec [info nameofexecutable] [file join $::projectRoot bin socketserverctl] \
            -control [file join $directory control] {*}$words
    }
    incr operationsDone
}

# ---- looking -------------------------------------------------------------------------

proc soak::Find {check text} {
    variable findings
    dict lappend findings $check $text
}

proc soak::State {} {
    variable server
    variable lastState [ask $server soak::state]
    return $lastState
}

proc soak::Sample {quiet} {
    variable server
    variable samples
    variable counts
    variable details {}
    set times {}
    foreach report [TellClients report] {
        set counts [dict merge $counts [dict get $report counts]]
        lappend details {*}[dict get $report errors]
        lappend times {*}[dict get $report times]
    }
    set sample [dict create time [Elapsed] quiet $quiet requests [llength $times] \
        kinds [sizes [processes $server [State]]]]
    if {[llength $times] > 0} {
        dict set sample p50 [percentile $times 0.5]
        dict set sample p99 [percentile $times 0.99]
    }
    lappend samples $sample
    Progress $sample
}

# Waits until nothing is under way in the server; what it is that does not end is a finding.
proc soak::ComeToRest {} {
    variable restMs
    set deadline [expr {[clock milliseconds] + $restMs}]
    while {[set unrest [Unrest]] ne ""} {
        if {[clock milliseconds] > $deadline} {
            Find rest "[format %.0f [Elapsed]] s: [join $unrest {; }]"
            return
        }
        after 100
    }
}

proc soak::Unrest {} {
    variable server
    variable expected
    variable base
    set state [State]
    set sizes [sizes [processes $server $state]]
    set unrest [UnrestOfPools $state]
    set counts [dict map {kind size} $sizes {dict get $size count}]
    if {[lsort -stride 2 $counts] ne [lsort -stride 2 $expected]} {
        lappend unrest "there are the processes $counts"
    }
    set fds [dict map {kind size} $sizes {dict get $size fds}]
    if {$unrest eq "" && $base eq ""} {
        set base $fds
    }
    dict for {kind count} $fds {
        if {[dict exists $base $kind] && [dict get $base $kind] != $count} {
            lappend unrest "$kind: $count descriptors, and [dict get $base $kind] at first"
        }
    }
    return $unrest
}

proc soak::UnrestOfPools {state} {
    set unrest {}
    dict for {name stats} [dict get $state pools] {
        foreach key {active queued booting retiring} {
            if {[dict get $stats $key] != 0} {
                lappend unrest "$name: $key [dict get $stats $key]"
            }
        }
        if {[dict get $stats accepted] != [dict get $stats served]} {
            lappend unrest "$name: accepted [dict get $stats accepted],\
                served [dict get $stats served]"
        }
    }
    if {[dict get $state jobs begun] != [dict get $state jobs done]} {
        lappend unrest "jobs: [dict get $state jobs]"
    }
    return $unrest
}

# A second without clients must cost nothing.
proc soak::Spin {} {
    variable server
    variable restCpuMs
    set kindOf [processes $server [State]]
    set before [ProcessorTimes $kindOf]
    after 1000
    dict for {pid ms} [ProcessorTimes $kindOf] {
        if {[dict exists $before $pid] && $ms - [dict get $before $pid] > $restCpuMs} {
            Find rest "[format %.0f [Elapsed]] s: [dict get $kindOf $pid] (pid $pid) has used\
                [expr {$ms - [dict get $before $pid]}] ms of a second at rest"
        }
    }
}

proc soak::ProcessorTimes {kindOf} {
    set times [dict create]
    foreach pid [dict keys $kindOf] {
        catch {dict set times $pid [cpuMs $pid]}
    }
    return $times
}

# ---- the end -------------------------------------------------------------------------

proc soak::End {} {
    variable server
    variable directory
    variable clients
    TellClients stop
    foreach client $clients {
        close $client
    }
    set clients {}
    State
    ask $server soak::finish
    if {[catch {waitFor 10000 {[livingOf $server] eq [spawnPid $server]}}]} {
        Find end "processes are left: [livingOf $server]"
    }
    set files [lsearch -all -inline -not -exact \
        [glob -nocomplain -tails -directory $directory *] noise]
    if {$files ne ""} {
        Find end "files are left: $files"
    }
    close $server write
    waitFor 60000 {[livingOf $server] eq ""}
    if {[catch {close $server} message]} {
        Find end "the server's end: $message"
    }
    set server ""
}

proc soak::CleanUp {} {
    variable server
    variable clients
    foreach client $clients {
        reap $client
    }
    if {$server ne ""} {
        endDemo $server
    }
    file delete -force $::tempDirectory
}

proc soak::Judge {} {
    variable samples
    variable lastState
    variable counts
    variable details
    dict for {key count} $counts {
        if {[lindex $key end] ni {ok left}} {
            Find bytes "$key: $count times"
        }
    }
    foreach detail $details {
        Find bytes $detail
    }
    if {[info exists lastState]} {
        JudgeState $lastState
    }
    foreach sentence [growth $samples] {
        Find growth $sentence
    }
}

proc soak::JudgeState {state} {
    variable fineExits
    foreach text [list {*}[dict get $state complaints] {*}[dict get $state errors]] {
        Find bytes $text
    }
    dict for {name stats} [dict get $state pools] {
        foreach key {refused cut accepterrors} {
            if {[dict get $stats $key] != 0} {
                Find bytes "$name: $key [dict get $stats $key]"
            }
        }
        foreach reason [dict keys [dict get $stats exits]] {
            if {$reason ni $fineExits} {
                Find rest "$name: workers ended: $reason"
            }
        }
    }
}

soak::main $soakArguments
