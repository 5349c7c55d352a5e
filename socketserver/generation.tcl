# socketserver/generation.tcl --
#
#   A fork server that has loaded the application, and the workers that come from
#   it. A reload makes a new one. The parent never waits for it.

namespace eval socketserver {
    # Forks that a fork server is asked for at a time.
    variable mostAsked 16
}

# The real user of a process; empty where the system does not tell, or when it has ended.
proc socketserver::UserOf {pid} {
    set user ""
    catch {
        set file [open /proc/$pid/status]
        regexp {\nUid:\s+(\d+)} [read $file] -> user ;# fails when it ends now
    }
    if {[info exists file]} {
        close $file
    }
    return $user
}

oo::class create socketserver::Generation {
    # number    1, 2, ...
    # options   of the pool, for the workers that come from it
    # server    forkserver::Connection; empty once it is lost
    # readyCmd  called once: with nothing when the application is loaded, with
    #           message and options when it could not be
    # lostCmd   called when the fork server has died later
    # readyAt   when the application was loaded
    # asked     workers that it was asked for and that are not born yet
    # waiting   what it is to be asked for then: its socket has room for some
    # user      real user of the fork server, where that is not the parent's; else empty
    variable number options server state readyCmd lostCmd timer readyAt asked waiting user

    # keep: channels that the workers inherit; board: the pool's scoreboard
    constructor {generationNumber poolOptions keep board whenReadyCmd whenLostCmd} {
        set number $generationNumber
        set options $poolOptions
        set readyCmd $whenReadyCmd
        set lostCmd $whenLostCmd
        set state loading
        set server ""
        set timer ""
        set asked 0
        set waiting {}
        set user ""
        set server [forkserver::start -name "[dict get $options -name]: fork server" \
            -keep $keep -preload [list ::socketserver::LoadApp $options $board] \
            -onready [namespace code {my Loaded}] -onlost [namespace code {my Lost}]]
        set limit [dict get $options -boottimeout]
        if {$limit > 0} {
            set timer [after $limit [namespace code [list my TooSlow $limit]]]
        }
    }

    # The fork server ends by itself once its children have ended. While it loads
    # it may be stuck.
    destructor {
        after cancel $timer
        if {$state eq "loading"} {
            my Discard
        } elseif {$server ne ""} {
            catch {$server destroy}
        }
    }

    method number {} {
        return $number
    }

    # What the application wanted is known.
    method configure {poolOptions} {
        set options $poolOptions
    }

    method option {name} {
        return [dict get $options $name]
    }

    # loading, ready, failed or lost
    method state {} {
        return $state
    }

    # How long it has been ready, or was until it died.
    method age {} {
        return [expr {[::socketserver::Now] - $readyAt}]
    }

    # Whether a process may be one of its children. They could have taken it over, to have
    # the parent end somebody else's.
    method mayHave {pid} {
        return [expr {[regexp {^[1-9]\d{0,9}$} $pid] &&
            ($user eq "" || [::socketserver::UserOf $pid] in [list "" $user])}]
    }

    # It does not answer; that it has died is told to lostCmd.
    method kill {} {
        if {$server ne ""} {
            catch {unix_process::kill [$server pid] SIGKILL}
        }
    }

    # Calls cmd with {pid P socket S}, or with {} message options.
    method spawn {title config exitCmd cmd} {
        if {$asked >= $::socketserver::mostAsked} {
            lappend waiting [list $title $config $exitCmd $cmd]
        } else {
            my Ask $title $config $exitCmd $cmd
        }
        return
    }

    method Ask {title config exitCmd cmd} {
        $server fork -name $title -args $config -onexit $exitCmd -onerror ::forkserver::Ignore \
            -command [list ::socketserver::CallIfAlive [self namespace] Answered $cmd] \
            ::socketserver::worker::Main
        incr asked
    }

    method Answered {cmd args} {
        incr asked -1
        if {$server ne "" && [llength $waiting] > 0} {
            set waiting [lassign $waiting next]
            try {
                my Ask {*}$next
            } on error {message failure} {
                {*}[lindex $next end] {} $message $failure
            }
        }
        {*}$cmd {*}$args
    }

    # Standard output and error of the fork server are another file now.
    method reopen {file} {
        if {$state eq "ready"} {
            $server eval [list unix_process::Redirect $file]
        }
    }

    # What the application wants.
    method appOptions {} {
        return [::socketserver::Permitted $options [$server eval ::socketserver::AppOptions]]
    }

    method Loaded {connection args} {
        after cancel $timer
        if {[llength $args] > 0} {
            set state failed
            set server ""
        } else {
            set state ready
            set readyAt [::socketserver::Now]
            set user [::socketserver::UserOf [$server pid]]
            if {$user eq [::socketserver::UserOf [pid]]} {
                set user ""
            }
        }
        {*}$readyCmd {*}$args
    }

    method TooSlow {limit} {
        set state failed
        my Discard
        {*}$readyCmd "couldn't load the application: it took more than $limit ms\
            (-boottimeout)" [list -errorcode TIMEOUT -errorinfo {}]
    }

    method Discard {} {
        if {$server ne ""} {
            my kill
            set lost $server
            set server ""
            $lost destroy
        }
    }

    method Lost {} {
        set state lost
        set lost $server
        set server ""
        foreach each $waiting {
            {*}[lindex $each end] {} "the fork server has ended" {-errorcode {FORKSERVER LOST}}
        }
        {*}$lostCmd
        $lost destroy
    }
}
