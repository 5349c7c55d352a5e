# socketserver/program/log.tcl --
#
#   Where the log goes: standard error or a file, and the system's log. Behind it
#   is the service "socketserver" of tcllib's logger, which the pool writes to.

namespace eval socketserver::program::log {
    # file        path; empty: the log goes to standard error
    # channel     of the file
    # system      1: to the system's log as well; "only": nowhere else
    # isStandard  1: standard output and error are the file, too, as in a daemon
    # user        to whom a new file is given: who runs the workers; empty: nobody
    # ident       name in the system's log
    # least       level below which the program itself says nothing
    # owner       process whose log this is
    # last        message that was written last
    variable state [dict create file {} channel stderr system 0 isStandard 0 user {} \
        ident socketserver least warn owner 0 last {}]
    variable colours {debug 2 warn 33 error 31 critical 31 alert 31 emergency 31}
}

# Returns the name of the service.
proc socketserver::program::log::Open {args} {
    variable state
    set state [dict merge $state [dict create owner [pid]] $args]
    set file [dict get $state file]
    if {$file ne ""} {
        dict set state file [file normalize $file]
        dict set state channel [OpenFile]
    }
    set service [logger::init socketserver]
    foreach level [logger::levels] {
        ${service}::logproc $level text "::socketserver::program::log::Write [list $level] \$text"
    }
    ${service}::setlevel debug ;# the pool has chosen already
    interp bgerror {} ::socketserver::program::log::BackgroundError
    return socketserver
}

# The workers are to open it, too: a new one becomes theirs.
proc socketserver::program::log::OpenFile {} {
    variable state
    set user [dict get $state user]
    set channel [unix_process::OpenOutput [dict get $state file] \
        {*}[expr {$user eq "" ? "" : [list $user]}]]
    chan configure $channel -buffering line
    return $channel
}

# ---- writing ---------------------------------------------------------------------

# What the program itself has to say.
proc socketserver::program::log::Say {level text} {
    variable state
    if {[::socketserver::log::Wanted $level [dict get $state least]]} {
        Write $level $text
    }
}

# A log that cannot be written is no reason to stop serving.
proc socketserver::program::log::Write {level text} {
    variable state
    dict set state last $text
    if {[dict get $state system] ne "0"} {
        catch {
            unix_process::syslog -ident [dict get $state ident] -facility daemon $level \
                [::socketserver::log::Shown $text]
        }
    }
    if {[dict get $state system] ne "only"} {
        # In a worker, the file is behind standard error, or nowhere.
        set channel [expr {[dict get $state owner] == [pid] ? [dict get $state channel] : "stderr"}]
        catch {puts $channel [Coloured $channel $level [Line $level $text]]}
    }
}

proc socketserver::program::log::Line {level text} {
    set ms [clock milliseconds]
    set time [clock format [expr {$ms / 1000}] -gmt 1 -format %Y-%m-%dT%H:%M:%S]
    return [format "%s.%03dZ %-6s %d %s" $time [expr {$ms % 1000}] $level [pid] \
        [::socketserver::log::Shown $text]]
}

proc socketserver::program::log::Coloured {channel level line} {
    variable colours
    if {![dict exists $colours $level] || [info exists ::env(NO_COLOR)] || ![IsTerminal $channel]} {
        return $line
    }
    return "\033\[[dict get $colours $level]m$line\033\[0m"
}

proc socketserver::program::log::IsTerminal {channel} {
    return [expr {![catch {chan configure $channel} options] && [dict exists $options -mode]}]
}

proc socketserver::program::log::BackgroundError {message failure} {
    Say error [dict get $failure -errorinfo]
}

# The end, with a reason; once, though the pool may have logged it already. Where
# nobody would read it in the log, the terminal shows it.
proc socketserver::program::log::Failed {message failure} {
    variable state
    if {[dict get $state last] ne $message} {
        Write critical $message
    }
    Say info [::socketserver::program::application::Stack [dict get $failure -errorinfo]]
    set inFile [expr {[dict get $state file] ne "" && ![dict get $state isStandard]}]
    if {$inFile || [dict get $state system] eq "only"} {
        catch {puts stderr "socketserver: $message"}
    }
}

# ---- another file under the same name --------------------------------------------

# The pool tells the workers.
proc socketserver::program::log::Reopen {pool} {
    variable state
    set file [dict get $state file]
    if {$file eq ""} {
        return
    }
    try {
        set opened [OpenFile]
        close [dict get $state channel]
        dict set state channel $opened
        if {[dict get $state isStandard]} {
            unix_process::Redirect $file
            $pool reopen $file
        }
    } on error {message} {
        Say error "couldn't reopen the log: $message"
        return
    }
    Say notice "log reopened"
}
