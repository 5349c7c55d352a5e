# socketserver/proxy.tcl --
#
#   The header of the PROXY protocol, with which a proxy begins a connection to
#   tell whose it is. It is awaited here with events, and taken from the channel
#   before its handler sees it; nothing else is. cpp/posix_proxy.cpp reads it.

namespace eval socketserver::proxy {
    # Connections whose header is awaited, in the process that awaits them:
    #   number -> {channel C mode M doneCmd D timeoutId T lookId L delay MS}
    # Names of channels are used again, numbers are not.
    variable waiting [dict create]
    variable last 0

    # While a part of a header waits the channel is readable and stays so. It is
    # looked at by a timer then: after so long at first, later after twice the time.
    variable firstMs 5
    variable longestMs 200
}

# socketserver::proxy::Read channel mode timeoutMs doneCmd --
#
#   Calls once, from the event loop, `doneCmd ok address port` (both empty: the
#   header does not tell, or there is none), or `doneCmd bad reason`. The reason
#   is "timeout", "closed" (by the client, before a header), "missing" (mode
#   "require" and there is none) or what is wrong with the header. In mode "on"
#   there may be none. No time limit if timeoutMs is 0. Nothing is called once the
#   channel is closed. The channel is new: nothing was read from it.

proc socketserver::proxy::Read {channel mode timeoutMs doneCmd} {
    variable waiting
    variable last
    variable firstMs
    set number [incr last]
    socketserver::OnClose $channel [list ::socketserver::proxy::Forget $number]
    set timeoutId ""
    if {$timeoutMs > 0} {
        set timeoutId [after $timeoutMs [list ::socketserver::proxy::Finish $number bad timeout]]
    }
    dict set waiting $number [dict create channel $channel mode $mode doneCmd $doneCmd \
        timeoutId $timeoutId lookId "" delay $firstMs]
    chan event $channel readable [list ::socketserver::proxy::Look $number]
    return
}

# ---- private -----------------------------------------------------------------

proc socketserver::proxy::Look {number} {
    variable waiting
    set channel [dict get $waiting $number channel]
    try {
        set words [lassign [socketserver::ReadProxy $channel] kind]
    } on error {message} {
        set kind bad
        set words [list $message]
    }
    switch -- $kind {
        more {
            LookAgain $number
        }
        header {
            Finish $number ok {*}[expr {$words eq {} ? {{} {}} : $words}]
        }
        none {
            set required [expr {[dict get $waiting $number mode] eq "require"}]
            Finish $number {*}[expr {$required ? {bad missing} : {ok {} {}}}]
        }
        bad {
            Finish $number bad {*}$words
        }
        eof {
            Finish $number bad closed
        }
    }
}

proc socketserver::proxy::LookAgain {number} {
    variable waiting
    variable longestMs
    dict with waiting $number {
        chan event $channel readable {}
        set lookId [after $delay [list ::socketserver::proxy::Look $number]]
        set delay [expr {min(2 * $delay, $longestMs)}]
    }
}

proc socketserver::proxy::Finish {number args} {
    variable waiting
    dict with waiting $number {}
    chan event $channel readable {}
    Forget $number
    uplevel #0 [list {*}$doneCmd {*}$args]
}

proc socketserver::proxy::Forget {number} {
    variable waiting
    if {[dict exists $waiting $number]} {
        after cancel [dict get $waiting $number timeoutId]
        after cancel [dict get $waiting $number lookId]
        dict unset waiting $number
    }
}

# The connections of a process are not its forked child's.
proc socketserver::proxy::ForgetAll {} {
    variable waiting
    foreach number [dict keys $waiting] {
        catch {chan event [dict get $waiting $number channel] readable {}} ;# kept by -events
        Forget $number
    }
}

lappend ::unix_process::childHooks ::socketserver::proxy::ForgetAll
