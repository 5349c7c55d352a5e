# Chaos: a pool serves many short connections, while its processes are killed and stopped,
# their limits lowered, the application reloaded, the program upgraded, and at last the
# parent killed, again and again. What became of each connection is known on both sides.
#
#   tclsh tests/chaos/chaos.tcl CLIENTS ?-seed N? ?-connections N? ?-seconds N?
#       ?-clients N? ?-patience SECONDS? ?-save DIRECTORY?
#
# CLIENTS is what clients.cpp was compiled to. The run ends after so many connections, or
# seconds if that is not 0. What is done is decided by the seed, when by the machine as well.
# The pools' log, and all notes of the time, stay in -save when something does not add up. The
# last line is "N passed, M failed": lives of a pool, and connections whose end has no reason
# or other things that should not be.
#
#   account.tcl      what became of each connection
#   supervisor.tcl   the pool: starts it, knows its processes, ends it
#   actions.tcl      what is done to it
#   clients.cpp      the clients
#   server.tcl, app.tcl   the program with the pool, and its application

set chaosArguments $argv
set argv {} ;# or tcltest would take them for its own
set testDirectory [file dirname [file dirname [file normalize [info script]]]]
foreach part {helpers servers load chaos/account chaos/supervisor chaos/actions} {
    source [file join $testDirectory $part.tcl]
}
package require socketserver

namespace eval chaos {
    variable here [file dirname [file normalize [info script]]]
    variable patienceMs 60000
    variable option
    array set option [list -seed [expr {[clock microseconds] % 1000000}] -connections 1000000 \
        -seconds 0 -clients 64 -patience 60 -save [pwd]]
    # Their channel.
    variable clients ""
    # When all began; when it was told last how it goes; why the pool does not come to rest.
    variable began 0
    variable toldAt [clock seconds]
    variable problem ""
    # fate -> count; what should not be: list of {what detail}
    variable fates [dict create]
    variable violations {}
    # Connections of which an end is known.
    variable accounted 0
    # Open descriptors of an idle parent, without those for its workers.
    variable idleDescriptors {}
}

# ---- the clients -------------------------------------------------------------------------

proc chaos::StartClients {program} {
    variable option
    variable clients
    variable port
    variable directory
    set clients [open |[list $program $port $option(-clients) $option(-patience) \
        [file join $directory fates] 2>@stderr] r+]
    chan configure $clients -buffering line -blocking 0
}

# The number that the answer has: of connections begun.
proc chaos::Command {line} {
    variable clients
    variable patienceMs
    puts $clients $line
    set answer [lineFrom $clients [expr {2 * $patienceMs}]]
    if {$answer eq ""} {
        error "the clients have ended"
    }
    return [lindex $answer 1]
}

proc chaos::Go {total} {
    variable clients
    puts $clients "go $total"
}

# ---- a life of a pool --------------------------------------------------------------------

# {options passed}
proc chaos::DrawLife {} {
    set options [list -workers [Between 4 8] -backoff {20 500} -maxspawnfailures 0 \
        -onparentexit [OneOf {finish drain}]]
    switch -- [Random 8] {
        0 {
            lappend options -mode perconnection -maxchildren 40 -handler answer
        }
        1 - 2 - 3 {
            lappend options -concurrency 8 -handler answerLater
        }
        default {
            lappend options -handler answer
        }
    }
    if {[Random 2]} {
        lappend options -maxrequests 500 -jitter 500
    }
    lappend options {*}[OneOf {
        {} {} {} {-overload {refuse "busy\n"} -maxconnections 60}
        {-overload {refuse "busy\n"} -maxqueue 50} {-overload {refuse "busy\n"} -maxpersource 60}
    }]
    return [list $options [Random 2]]
}

# Starts a pool, does this and that to it, looks whether all adds up, and ends it in the
# midst of more. The clients go on all the time, but for that look.
proc chaos::Live {} {
    variable option
    Start {*}[DrawLife]
    Go $option(-connections)
    set hasEnded 0
    Rage [Between 1000 3000] {
        expr {[set hasEnded [HasEnded]] || [IsOver]}
    }
    if {$hasEnded} {
        return
    }
    Mend
    Check
    if {![IsOver]} {
        Go $option(-connections)
        Rage [Between 20 500] {set hasEnded [HasEnded]}
    }
    if {!$hasEnded} {
        End [OneOf {SIGKILL SIGKILL SIGKILL SIGTERM SIGTERM SIGINT}]
    }
}

proc chaos::IsOver {} {
    variable option
    variable began
    variable toldAt
    set count [Command count]
    if {[clock seconds] - $toldAt >= 10} {
        set toldAt [clock seconds]
        puts "$count connections, $::chaos::pool(life) lives, [llength $::chaos::violations]\
            without a reason"
        flush stdout
    }
    return [expr {$count >= $option(-connections) ||
        $option(-seconds) > 0 && [clock milliseconds] > $began + 1000 * $option(-seconds)}]
}

# ---- what should be, and is not ----------------------------------------------------------

# Nobody is connected meanwhile.
proc chaos::Check {} {
    variable pool
    variable patienceMs
    variable problem ""
    set begun [Command rest]
    try {
        waitFor $patienceMs {[IsReloaded]}
        waitFor $patienceMs {[IsSettled]}
    } on error {} {
        Violation "the pool does not come to rest" \
            "$problem; processes: [join [lmap pid [livingOf $pool(channel)] {Describe $pid}] {, }]"
    }
    Judge $begun
    CheckIdle
}

# For who has to find out why it is there.
proc chaos::Describe {pid} {
    catch {procFile /proc/$pid/cmdline} title
    catch {procFile /proc/$pid/stat} stat
    return "[string map {\0 " "} $title]($pid, from [lindex [regsub {^.*\) } $stat {}] 1])"
}

# What was started before has ended, then; all workers are new.
proc chaos::IsReloaded {} {
    variable problem
    return [expr {![catch {Ask "reload --wait"} problem]}]
}

proc chaos::IsSettled {} {
    variable pool
    variable problem
    set problem [Stats]
    foreach name {booting retiring queued active} {
        if {[dict get $problem $name] != 0} {
            return 0
        }
    }
    return [expr {[llength [livingOf $pool(channel)]] == 2 + [dict get $problem alive]}]
}

proc chaos::Stats {} {
    set stats [dict create]
    foreach line [split [Ask stats] \n] {
        set blank [string first " " "$line "]
        dict set stats [string range $line 0 $blank-1] [string range $line $blank+1 end]
    }
    return $stats
}

proc chaos::Violation {what detail} {
    variable violations
    variable pool
    lappend violations [list $what "life $pool(life): $detail"]
}

# All connections have ended, so many since the run began. What was written of them is of no
# more use afterwards.
proc chaos::Judge {begun} {
    variable directory
    variable fates
    variable violations
    variable pool
    set known [llength $violations]
    variable accounted
    set texts [lmap name {fates log} {viewFile [file join $directory $name]}]
    set judged [account::judge {*}$texts]
    dict for {fate count} [dict get $judged fates] {
        dict incr fates $fate $count
    }
    foreach violation [dict get $judged violations] {
        Violation {*}$violation
    }
    incr accounted [dict get $judged connections]
    if {$accounted != $begun} {
        Violation "the clients say nothing of a connection" "$accounted of $begun"
    }
    CompareSums $judged
    foreach name {fates log} {
        set path [file join $directory $name]
        if {[llength $violations] > $known} {
            file copy -force $path [file join [Kept] $name.$pool(life)]
        }
        close [open $path w]
    }
}

# Where things are kept that explain what was wrong.
proc chaos::Kept {} {
    variable option
    set kept [file join $option(-save) chaos-$option(-seed)]
    file mkdir $kept
    return $kept
}

# What the clients say of this pool, and what it says of itself, with those before an upgrade.
proc chaos::CompareSums {judged} {
    variable pool
    set clients [dict create served 0 unsaid 0 cut 0 early 0 refused 0 orphaned 0 by {}]
    if {[dict exists $judged lives $pool(life)]} {
        set clients [dict merge $clients [dict get $judged lives $pool(life)]]
    }
    set told [list [Stats]]
    if {[dict exists $judged stopped $pool(life)]} {
        lappend told {*}[dict get $judged stopped $pool(life)]
    }
    if {[llength $told] != $pool(mains)} {
        return ;# one was killed, and cannot tell
    }
    set server [dict create]
    foreach stats $told {
        dict unset clients by [dict get $stats pid]
        foreach name {accepted served cut refused} {
            dict incr server $name [dict get $stats $name]
        }
    }
    # A program that was to take over, and has ended before.
    dict set clients others [tcl::mathop::+ {*}[dict values [dict get $clients by]]]
    if {![Agree $clients $server]} {
        Violation "the sums do not agree" "clients: $clients, pool: $server"
    }
}

proc chaos::Agree {clients server} {
    variable pool
    dict with clients {}
    set lost [expr {$cut + $early}]
    # Of those that began before this pool, a worker of it may have had some.
    set older [expr {[dict get $server accepted] - $served - $lost}]
    # What the workers of others had, and a worker that was killed just when it took one,
    # of which nobody can tell where programs share a queue.
    set untold [expr {[dict get $server accepted] - [dict get $server served] -
        [dict get $server cut] - $others}]
    # A worker that was killed when it had answered has cut for the pool what its client has
    # whole.
    set extra [expr {[dict get $server cut] + $untold - $lost - $older}]
    return [expr {
        $older >= 0 && $older <= $orphaned && [dict get $server refused] == $refused &&
        $untold >= 0 && $untold <= ($pool(shares) ? $early : 0) &&
        $extra >= 0 && $extra <= $unsaid
    }]
}

# A parent at rest has no more descriptors than the first one had, and nobody uses processor
# time.
proc chaos::CheckIdle {} {
    variable pool
    variable idleDescriptors
    set workers [dict get [Stats] alive]
    set pids [livingOf $pool(channel)]
    Wait 50 ;# the question has ended
    set before [ProcessorMs $pids]
    Wait 300
    set used [expr {[ProcessorMs $pids] - $before}]
    if {$used > 150} {
        Violation "the pool is busy with nothing" "$used ms of 300"
    }
    if {$idleDescriptors eq ""} {
        set idleDescriptors [expr {[dict size [DescriptorsOf $pool(main)]] - $workers}]
    } elseif {[catch {
        waitFor 10000 {[dict size [DescriptorsOf $pool(main)]] <= $idleDescriptors + $workers}
    }]} {
        Violation "the parent has more descriptors than it had" \
            "more than $idleDescriptors and $workers: [DescriptorsOf $pool(main)]"
    }
}

# Number -> what it is.
proc chaos::DescriptorsOf {pid} {
    set open [dict create]
    foreach link [lsort -dictionary [glob -nocomplain -directory /proc/$pid/fd *]] {
        if {![catch {file readlink $link} target]} {
            dict set open [file tail $link] $target
        }
    }
    return $open
}

proc chaos::ProcessorMs {pids} {
    return [tcl::mathop::+ {*}[lmap pid $pids {cpuMs $pid}]]
}

# ---- all of it ---------------------------------------------------------------------------

proc chaos::Run {program arguments} {
    variable option
    variable began [clock milliseconds]
    variable directory [tempPath chaos]
    variable log
    variable port [freePort 127.0.0.1]
    array set option $arguments
    variable patienceMs [expr {1000 * $option(-patience)}]
    expr {srand($option(-seed))}
    puts "chaos: seed $option(-seed)"
    file mkdir $directory
    set log [open [file join $directory log] a]
    chan configure $log -buffering line
    close [open [file join $directory fates] a]
    # The pool is in a session of its own.
    foreach signal {SIGINT SIGTERM SIGHUP} {
        unix_process::onsignal $signal ::chaos::Interrupted
    }
    StartClients $program
    try {
        Begin
        while {![IsOver]} {
            Live
        }
        Finish
    } on error {message failure} {
        Violation "the run failed" [dict get $failure -errorinfo]
    } finally {
        KillAll
        reap $::chaos::clients
    }
}

proc chaos::Interrupted {signal} {
    KillAll
    file delete -force $::tempDirectory
    exit 1
}

# What a parent has to which nothing was done.
proc chaos::Begin {} {
    Start {-workers 4 -handler answer} 0
    Check
    End SIGTERM
}

# The parent dies while connections are on the way; the next pool serves the others.
proc chaos::Finish {} {
    variable patienceMs
    variable directory
    set total [expr {[Command count] + 1000}]
    Start {-workers 4 -handler answer} [Random 2]
    Go $total
    waitFor $patienceMs {[Command count] > $total - 800}
    End SIGKILL
    Start {-workers 4 -handler answer} [Random 2]
    waitFor $patienceMs {[Command count] >= $total}
    Check
    End SIGTERM
    set left [lmap path [glob -nocomplain -directory $directory *] {file tail $path}]
    if {[lsort $left] ne {fates log pool.log}} {
        Violation "files are left" $left
    }
}

proc chaos::Tell {} {
    variable fates
    variable deeds
    variable violations
    variable pool
    variable began
    puts [format "%9d connections in %.0f s, %d lives of a pool" \
        [tcl::mathop::+ {*}[dict values $fates]] \
        [expr {([clock milliseconds] - $began) / 1000.0}] $pool(life)]
    dict for {fate meaning} $account::kinds {
        puts [format "%9d %s" [expr {[dict exists $fates $fate] ? [dict get $fates $fate] : 0}] \
            $meaning]
    }
    puts [format "%9d unaccounted for, or wrong in another way" [llength $violations]]
    puts [join [lmap name [lsort [dict keys $deeds]] {
        string cat $name " " [dict get $deeds $name]
    }] {, }]
    foreach violation [lrange $violations 0 49] {
        puts [join $violation {: }]
    }
}

proc chaos::Save {} {
    variable directory
    variable violations
    if {[llength $violations] > 0} {
        file copy -force [file join $directory pool.log] [Kept]
        puts "the logs are in [Kept]"
    }
}

chaos::Run [lindex $chaosArguments 0] [lrange $chaosArguments 1 end]
chaos::Tell
chaos::Save
file delete -force $::tempDirectory
puts "$chaos::pool(life) passed, [llength $chaos::violations] failed"
exit [expr {[llength $chaos::violations] > 0}]
