# socketserver/takeover.tcl --
#
#   The upgrade: a running program starts its successor, which gets the queue and
#   the listeners, makes its own workers, and then accepts in its place. Both are
#   the standard input's two ends of a socket pair. Until the successor is ready
#   nothing changes, so it may fail.
#
# Messages, in frames of forkserver::Link:
#   old to new
#       takeover pid endpoints pidfile   with: the queue's sending and receiving end,
#                                        the sockets of the listeners, the pid file
#         endpoints: endpoint and number of sockets, of each listener
#         pidfile: its path; empty without
#       go files                         accept: the old program lets go of its sockets
#         files: endpoint and file, of each listener, to be owned from now on
#   new to old
#       ready pid | failed message

namespace eval socketserver {
    # What the successor finds in its environment.
    variable takeoverVariable SOCKETSERVER_TAKEOVER
}

# ---- the old program -------------------------------------------------------------

oo::class create socketserver::Successor {
    # readyCmd is called with nothing once it is ready; failedCmd with a message,
    # once, when it is not going to be.
    variable link pid readyCmd failedCmd

    constructor {program whenReadyCmd whenFailedCmd} {
        set readyCmd $whenReadyCmd
        set failedCmd $whenFailedCmd
        lassign [unix_sockets::pair] mine theirs
        set link ""
        try {
            set pid [my Execute $program $theirs]
            set link [::forkserver::Link new $mine]
        } finally {
            close $theirs
            if {$link eq ""} {
                close $mine
            }
        }
        catch {unix_process::onexit $pid ::forkserver::Ignore}
        chan event $mine readable [namespace code {my Readable}]
    }

    destructor {
        if {$link ne ""} {
            $link destroy
        }
    }

    method Execute {program standardInput} {
        # The watchdog of systemd was this process's.
        set program [list env -u WATCHDOG_PID $::socketserver::takeoverVariable=[pid] {*}$program]
        return [lindex [exec -ignorestderr {*}$program <@$standardInput >@stdout 2>@stderr &] 0]
    }

    method pid {} {
        return $pid
    }

    method send {message {handles {}}} {
        $link send $message 1 $handles
    }

    # It has had its time.
    method kill {} {
        catch {unix_process::kill $pid SIGKILL}
    }

    method Readable {} {
        set failed ""
        try {
            $link fill
            while {[$link next message descriptors]} {
                ::forkserver::CloseAll $descriptors
                switch -- [lindex $message 0] {
                    ready {
                        chan event [$link channel] readable {}
                        {*}$readyCmd
                        return
                    }
                    failed {
                        set failed [lindex $message 1]
                    }
                }
            }
            if {[$link ended] && $failed eq ""} {
                set failed "the new program ended before it was ready"
            }
        } on error {message} {
            set failed $message
        }
        if {$failed ne ""} {
            chan event [$link channel] readable {}
            {*}$failedCmd $failed
        }
    }
}

# ---- the new program -------------------------------------------------------------

# Whether this program was started to take over from another one.
proc socketserver::IsTakeover {} {
    variable takeoverVariable
    return [expr {[info exists ::env($takeoverVariable)] &&
        $::env($takeoverVariable) eq [ParentPid]}]
}

proc socketserver::ParentPid {} {
    if {[catch {open /proc/[pid]/stat} file]} {
        return $::env($::socketserver::takeoverVariable)
    }
    set stat [read $file]
    close $file
    return [lindex [regsub {^.*\) } $stat {}] 1]
}

oo::class create socketserver::Predecessor {
    # listeners: endpoint -> channels
    # taken: {endpoint channel ...} of all, for their files
    variable link pid sender receiver listeners taken goCmd

    # Waits for what the old program gives.
    constructor {} {
        unset ::env($::socketserver::takeoverVariable)
        set goCmd ""
        set listeners [dict create]
        set taken {}
        set link [::forkserver::Link new [my StandardInput]]
        my Take {*}[my Next 10000]
        chan event [$link channel] readable [namespace code {my Readable}]
    }

    destructor {
        $link destroy
        foreach channels [dict values $listeners] {
            foreach channel $channels {
                close $channel
            }
        }
    }

    # Standard input is nothing from now on.
    method StandardInput {} {
        set channel [unix_sockets::adopt [::forkserver::Duplicate 0]]
        close stdin
        open /dev/null
        return $channel
    }

    # The next message, with its descriptors appended as one list.
    method Next {ms} {
        set deadline [expr {[::socketserver::Now] + $ms}]
        while {1} {
            $link fill
            if {[$link next message descriptors]} {
                return [list {*}$message $descriptors]
            }
            set left [expr {$deadline - [::socketserver::Now]}]
            if {[$link ended] || $left <= 0} {
                throw {SOCKETSERVER TAKEOVER} "couldn't take over: the old program gave nothing"
            }
            $link await $left
        }
    }

    method Take {verb oldPid endpoints pidFile descriptors} {
        set pid $oldPid
        set channels [lmap fd [lrange $descriptors 0 1] {unix_sockets::adopt $fd}]
        lassign $channels sender receiver
        set descriptors [lrange $descriptors 2 end]
        foreach {endpoint count} $endpoints {
            foreach fd [lrange $descriptors 0 $count-1] {
                set listener [unix_sockets::adopt $fd]
                dict lappend listeners $endpoint $listener
                lappend taken $endpoint $listener
            }
            set descriptors [lrange $descriptors $count end]
        }
        if {$pidFile ne ""} {
            unix_process::AdoptPidFile [lindex $descriptors 0] $pidFile
            set descriptors [lrange $descriptors 1 end]
        }
        ::forkserver::CloseAll $descriptors
    }

    method pid {} {
        return $pid
    }

    method queue {} {
        return [list $sender $receiver]
    }

    # The listeners of an endpoint: the caller's from now on.
    method listeners {endpoint} {
        if {![dict exists $listeners $endpoint]} {
            return {}
        }
        set channels [dict get $listeners $endpoint]
        dict unset listeners $endpoint
        return $channels
    }

    # Calls cmd once the old program has let go, or has died.
    method ready {cmd} {
        set goCmd $cmd
        catch {$link send [list ready [pid]] 1}
        my Readable
    }

    method failed {message} {
        catch {$link send [list failed $message] 1}
    }

    # The files are this program's to remove from now on.
    method Own {files} {
        foreach {endpoint file} $files {channelEndpoint channel} $taken {
            if {$file ne "" && $channelEndpoint eq $endpoint} {
                unix_sockets::OwnFile $channel $file
            }
        }
        if {[unix_process::PidFile] ne ""} {
            unix_process::OwnPidFile
        }
    }

    method Readable {} {
        set go 0
        try {
            $link fill
            while {[$link next message descriptors]} {
                ::forkserver::CloseAll $descriptors
                my Own [lindex $message 1]
                set go 1
            }
            if {[$link ended]} {
                set go 1
            }
        } on error {} {
            set go 1
        }
        if {!$go} {
            return
        }
        chan event [$link channel] readable {}
        if {$goCmd ne ""} {
            {*}$goCmd
        }
    }
}
