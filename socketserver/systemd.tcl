# socketserver/systemd.tcl --
#
#   News for systemd, or for who else has set NOTIFY_SOCKET, and its watchdog.
#   What is told is a courtesy: nothing here fails because nobody listens.

namespace eval socketserver::systemd {
    # The process that feeds the watchdog, and its timer. A forked child has a copy
    # of both, and leaves the watchdog alone.
    variable feeder 0
    variable timerId ""
}

# socketserver::systemd::Tell key value ... --
#
#   Sends what sd_notify(3) names: READY 1, STATUS text, STOPPING 1, RELOADING 1,
#   MAINPID pid and so on. Returns whether somebody was told.

proc socketserver::systemd::Tell {args} {
    set lines {}
    foreach {key value} $args {
        lappend lines $key=[string map {\n " "} $value]
        if {$key eq "RELOADING"} {
            # Rounded up: what seems to come before systemd's order does not count.
            lappend lines MONOTONIC_USEC=[expr {([socketserver::Now] + 1) * 1000}]
        }
    }
    if {[catch {unix_process::notify [join $lines \n]} sent]} {
        return 0
    }
    return $sent
}

# socketserver::systemd::StartWatchdog --
#
#   While the event loop turns, systemd hears of it twice in the time that it has
#   set, if it has set one for this process. Returns whether it has.

proc socketserver::systemd::StartWatchdog {} {
    variable feeder
    StopWatchdog
    set ms [WatchdogMs]
    if {$ms == 0} {
        return 0
    }
    set feeder [pid]
    Feed $ms
    return 1
}

proc socketserver::systemd::StopWatchdog {} {
    variable timerId
    after cancel $timerId
    set timerId ""
    return
}

# ---- private -----------------------------------------------------------------

# How often to feed; 0: never.
proc socketserver::systemd::WatchdogMs {} {
    set usec ""
    catch {set usec $::env(WATCHDOG_USEC)}
    if {![string is wideinteger -strict $usec] || $usec <= 0} {
        return 0
    }
    if {[info exists ::env(WATCHDOG_PID)] && $::env(WATCHDOG_PID) ne [pid]} {
        return 0
    }
    return [expr {max(1, $usec / 2000)}]
}

proc socketserver::systemd::Feed {ms} {
    variable feeder
    variable timerId
    if {$feeder == [pid]} {
        set timerId [after $ms [list ::socketserver::systemd::Feed $ms]]
        Tell WATCHDOG 1
    }
}
