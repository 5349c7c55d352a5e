# What is done to a pool at random.

namespace eval chaos {
    # How often each of these is done, in comparison.
    variable weights {
        KillWorker 8 TerminateWorker 3 KillServer 2 TerminateServer 1 KillSuccessor 1
        StopWorker 4 StopServer 1 StopParent 2 StopSuccessor 1
        LimitWorker 3 LimitServer 1 LimitParent 3
        Reload 4 Scale 4 Upgrade 2
    }
    # What ends a worker at once. AddressSanitizer would report the one.
    variable endings [list SIGKILL SIGKILL SIGABRT \
        [expr {[testConstraint noSanitizer] ? "SIGSEGV" : "SIGABRT"}]]
    # process -> id of the timer after which it goes on
    variable stopped [dict create]
    # process -> until when it has fewer descriptors
    variable limited [dict create]
}

# ---- chance, which the seed decides ------------------------------------------------------

proc chaos::Random {n} {
    return [expr {int(rand() * $n)}]
}

proc chaos::Between {least most} {
    return [expr {$least + [Random [expr {$most - $least + 1}]]}]
}

proc chaos::OneOf {list} {
    return [lindex $list [Random [llength $list]]]
}

# ---- actions -----------------------------------------------------------------------------

# For so many milliseconds, or until the script is true.
proc chaos::Rage {ms script} {
    set until [expr {[clock milliseconds] + $ms}]
    while {[clock milliseconds] < $until && ![uplevel 1 $script]} {
        Act
        Wait [Between 5 60]
        Unlimit
    }
}

proc chaos::Wait {ms} {
    after $ms {set ::chaos::waited 1}
    vwait ::chaos::waited
}

# One of them. What there is nobody for is not done.
proc chaos::Act {} {
    variable weights
    set at [Random [tcl::mathop::+ {*}[dict values $weights]]]
    dict for {name weight} $weights {
        if {[incr at -$weight] < 0} {
            # As many numbers whatever there is.
            set draw [list [Random 1000000] [Random 1000000]]
            do::$name {*}$draw
            return
        }
    }
}

proc chaos::Victim {role draw} {
    set pids [Cast $role]
    return [expr {[llength $pids] ? [lindex $pids [expr {$draw % [llength $pids]}]] : ""}]
}

proc chaos::SignalOne {role signal draw} {
    set pid [Victim $role $draw]
    if {$pid ne ""} {
        Signal $role $pid $signal
    }
}

namespace eval chaos::do {}

proc chaos::do::KillWorker {draw how} {
    variable ::chaos::endings
    ::chaos::SignalOne worker [lindex $endings [expr {$how % [llength $endings]}]] $draw
}

proc chaos::do::TerminateWorker {draw how} {
    ::chaos::SignalOne worker SIGTERM $draw
}

proc chaos::do::KillServer {draw how} {
    ::chaos::SignalOne server SIGKILL $draw
}

proc chaos::do::TerminateServer {draw how} {
    ::chaos::SignalOne server SIGTERM $draw
}

proc chaos::do::KillSuccessor {draw how} {
    if {[::chaos::Cast successor] ne ""} {
        set ::chaos::pool(riskSince) [::socketserver::Now]
    }
    ::chaos::SignalOne successor SIGKILL $draw
}

proc chaos::do::Reload {draw how} {
    ::chaos::SignalOne parent SIGHUP $draw
}

proc chaos::do::Upgrade {draw how} {
    set ::chaos::pool(shares) 1
    ::chaos::SignalOne parent SIGUSR2 $draw
}

# Between 3 and 9 workers, or so many more in a pool with a process for each connection.
proc chaos::do::Scale {draw how} {
    set count [llength [::chaos::Cast worker]]
    set up [expr {$count < 4 || $count < 9 && $how % 2}]
    ::chaos::SignalOne parent [expr {$up ? "SIGTTIN" : "SIGTTOU"}] $draw
}

foreach {name role} {
    StopWorker worker StopServer server StopParent parent StopSuccessor successor
} {
    proc chaos::do::$name {draw how} [format {
        ::chaos::Stop %1$s [::chaos::Victim %1$s $draw] [expr {10 + $how %% 300}]
    } $role]
}

foreach {name role} {LimitWorker worker LimitServer server LimitParent parent} {
    proc chaos::do::$name {draw how} [format {
        ::chaos::Limit %1$s [::chaos::Victim %1$s $draw] [expr {10 + $how %% 300}] \
            [expr {$how %% 7}]
    } $role]
}

# ---- stopped for a while -----------------------------------------------------------------

proc chaos::Stop {role pid ms} {
    variable stopped
    set process [Identity $pid]
    if {$process eq "" || [dict exists $stopped $process]} {
        return
    }
    Signal $role $pid SIGSTOP
    dict set stopped $process [after $ms [list ::chaos::Continue $process]]
}

proc chaos::Continue {process} {
    variable stopped
    dict unset stopped $process
    set pid [lindex [split $process :] 0]
    if {[Identity $pid] eq $process} {
        catch {unix_process::kill $pid SIGCONT}
    }
}

# ---- limits ------------------------------------------------------------------------------

# Room for a few descriptors more than are open, or less.
proc chaos::Limit {role pid ms room} {
    variable limited
    set process [Identity $pid]
    if {$process eq "" || [catch {glob -directory /proc/$pid/fd *} open]} {
        return
    }
    set limit [expr {[llength $open] + $room - 2}]
    if {![catch {exec prlimit --pid $pid --nofile=$limit:}]} {
        Deed "limit $role"
        dict set limited $process [expr {[::socketserver::Now] + $ms}]
    }
}

# Gives back limits whose time is over, also to those who have inherited them.
proc chaos::Unlimit {} {
    variable limited
    set own [OpenFiles [pid]]
    set now [::socketserver::Now]
    set limited [dict filter $limited script {process until} {expr {$until > $now}}]
    foreach role {parent successor server worker} {
        foreach pid [Cast $role] {
            if {![catch {OpenFiles $pid} limit] && $limit < $own &&
                ![dict exists $limited [Identity $pid]]} {
                catch {exec prlimit --pid $pid --nofile=$own:}
            }
        }
    }
}

# The soft limit.
proc chaos::OpenFiles {pid} {
    regexp {Max open files\s+(\d+)} [procFile /proc/$pid/limits] -> limit
    return $limit
}

# ---- all as it was -----------------------------------------------------------------------

proc chaos::Mend {} {
    variable stopped
    variable limited
    foreach process [dict keys $stopped] {
        after cancel [dict get $stopped $process]
        Continue $process
    }
    set limited [dict create]
    Unlimit
}
