# What the soak looks at: the processes of its server, by their kinds.
#
#   parent        with the four pools
#   fork server   of a pool
#   steady, events, web, each
#                 workers of the pool with this name
#   jobs, job     the fork server of the jobs, and its children with its spare one
#   zombie        one that has ended, and that nobody has waited for
#   other         one that nobody knows of

namespace eval soak {
    variable kinds {parent "fork server" steady events web each jobs job}
}

# Pid -> kind of all processes of a server (of servers.tcl), whose state is that of server.tcl.
proc soak::processes {server state} {
    set kindOf [dict create]
    foreach {pid letter} [processesOf $server] {
        dict set kindOf $pid [expr {$letter eq "Z" ? "zombie" : "other"}]
    }
    dict for {pid kind} [KnownProcesses $server $state] {
        if {[dict exists $kindOf $pid] && [dict get $kindOf $pid] ne "zombie"} {
            dict set kindOf $pid $kind
        }
    }
    return $kindOf
}

proc soak::KnownProcesses {server state} {
    set jobServer [dict get $state jobserver]
    set known [dict create]
    foreach pid [workersOf $server] {
        dict set known $pid "fork server"
    }
    if {![catch {procFile /proc/$jobServer/task/$jobServer/children} pids]} {
        foreach pid $pids {
            dict set known $pid job
        }
    }
    dict for {name stats} [dict get $state pools] {
        foreach worker [dict get $stats workers] {
            dict set known [dict get $worker pid] $name
        }
    }
    return [dict replace $known [spawnPid $server] parent $jobServer jobs]
}

# Kind -> {count N fds N rss N pss N}: processes, their descriptors, and kilobytes of memory,
# with shared pages counted for each process, and in parts.
proc soak::sizes {kindOf} {
    set sizes [dict create]
    dict for {pid kind} $kindOf {
        if {[catch {SizeOf $pid} size]} {
            if {$kind ne "zombie"} {
                continue ;# it has ended meanwhile
            }
            set size [dict create fds 0 rss 0 pss 0]
        }
        if {![dict exists $sizes $kind]} {
            dict set sizes $kind [dict create count 0 fds 0 rss 0 pss 0]
        }
        dict for {what amount} [dict replace $size count 1] {
            dict set sizes $kind $what [expr {[dict get $sizes $kind $what] + $amount}]
        }
    }
    return $sizes
}

proc soak::SizeOf {pid} {
    set text [procFile /proc/$pid/smaps_rollup]
    if {![regexp {\nRss:\s+(\d+).*?\nPss:\s+(\d+)} $text -> rss pss]} {
        error "$pid has no memory any more"
    }
    return [dict create fds [llength [glob -tails -directory /proc/$pid/fd *]] \
        rss $rss pss $pss]
}
