# unix_process --
#
#   fork, wait, signals and exits of children, safe with Tcl's event loop;
#   daemons, users, limits and the system's log. Most commands are written in
#   C++, see cpp/cmd_process.cpp and cpp/cmd_identity.cpp; the manual is
#   man/unix_process.man.

package require Tcl 8.6-
package require uds

namespace eval unix_process {
    namespace export {[a-z]*}
    namespace ensemble create

    # Channels that this process got from its parent by fork. They are the
    # parent's to flush: name -> number for IsOpen. Known for the process `forked`.
    variable inherited [dict create]
    variable forked [pid]

    # Command prefixes that packages want to be called in every forked child.
    variable childHooks {}
}

# unix_process::exit ?code? --
#
#   Ends a forked child: flushes and closes what it opened itself and flushes
#   its standard output and error; leaves everything inherited alone.

proc unix_process::exit {{code 0}} {
    NoteInherited
    if {![string is integer -strict $code]} {
        throw [list UNIX_PROCESS CODE $code] "bad exit code \"$code\": must be an integer"
    }
    foreach channel [chan names] {
        if {$channel in {stdout stderr}} {
            catch {FlushAll $channel}
        } elseif {![IsInherited $channel]} {
            catch {chan configure $channel -blocking 1}
            catch {close $channel}
        }
    }
    Exit $code
}

# unix_process::daemonize ?-option value ...? --
#
#   Makes a daemon: 0 there, and its pid in the process that calls this once
#   the daemon has called `ready`.

proc unix_process::daemonize {args} {
    lassign [ParseOptions "unix_process::daemonize ?-chdir dir? ?-umask mode? ?-pidfile file?\
        ?-stdout file? ?-stderr file?" \
        {-chdir / -umask {} -pidfile {} -stdout {} -stderr {}} 0 $args] options
    foreach name {-chdir -pidfile -stdout -stderr} {
        if {[dict get $options $name] ne ""} {
            dict set options $name [file normalize [dict get $options $name]]
        }
    }
    set outcome [Daemonize {*}[dict values $options]]
    if {$outcome eq "daemon"} {
        ResetStandardChannels
        return 0
    }
    return [DaemonPid $outcome [dict get $options -pidfile]]
}

# unix_process::syslog ?-ident name? ?-facility name? level message --
#
#   Writes a message to the system's log.

proc unix_process::syslog {args} {
    lassign [ParseOptions "unix_process::syslog ?-ident name? ?-facility name? level message" \
        [LogDefaults] 2 $args] options level message
    Syslog [dict get $options -ident] [dict get $options -facility] $level $message
}

# unix_process::syslogger service ?-ident name? ?-facility name? --
#
#   Has a service of tcllib's logger write to the system's log.

proc unix_process::syslogger {service args} {
    lassign [ParseOptions "unix_process::syslogger service ?-ident name? ?-facility name?" \
        [LogDefaults] 0 $args] options
    dict with options {
        Syslog ${-ident} ${-facility} debug ;# only checks the names
        set log [LoggerCommand $service]
        foreach level [logger::levels] {
            ${log}::logproc $level message "[list ::unix_process::Syslog \
                ${-ident} ${-facility} $level] \$message"
        }
        ${log}::logproc trace message "[list ::unix_process::Syslog \
            ${-ident} ${-facility} debug] \$message"
    }
    return
}

# ---- private -----------------------------------------------------------------

# unix_process::BecomeChild --
#
#   Called by fork in the child, once its notifier is in place.

proc unix_process::BecomeChild {{seedCmd ::tcl::mathfunc::srand}} {
    variable childHooks
    NoteInherited
    SeedRandom {} $seedCmd
    foreach hookCmd $childHooks {
        uplevel #0 $hookCmd
    }
}

# The first call in a process decides; a fork that is not ours (TclX) is only
# noticed when somebody asks.
proc unix_process::NoteInherited {} {
    variable inherited
    variable forked
    if {$forked != [pid]} {
        set forked [pid]
        set inherited [dict create]
        foreach channel [chan names] {
            dict set inherited $channel [Track $channel]
        }
    }
}

proc unix_process::IsInherited {channel} {
    variable inherited
    expr {[dict exists $inherited $channel] && [IsOpen [dict get $inherited $channel]]}
}

# A flush of a channel that does not block leaves the rest to the event loop,
# which there will be none of. The mode is one with the parent's: it is brought
# back.
proc unix_process::FlushAll {channel} {
    set blocking [chan configure $channel -blocking]
    chan configure $channel -blocking 1
    try {
        flush $channel
    } finally {
        chan configure $channel -blocking $blocking
    }
}

# Without this, every child of one parent would draw the same numbers. Each
# interpreter has a generator of its own.
proc unix_process::SeedRandom {path seedCmd} {
    set seed [expr {([clock microseconds] ^ ([pid] * 2654435761)) & 0x7fffffff}]
    interp eval $path [list {*}$seedCmd $seed]
    foreach child [interp slaves $path] {
        SeedRandom [list {*}$path $child] $seedCmd
    }
}

# Has these procedures compiled, and changes nothing. In a child the first call
# of each would take longer than the fork: the compiler touches many pages, and
# the child gets its copy of each by a page fault.
catch {unix_process::BecomeChild list}

# What the standard channels have buffered or remember belongs to what was
# there before. A log file shows each line at once.
proc unix_process::ResetStandardChannels {} {
    catch {
        chan configure stdin -blocking 1
        chan read stdin
    }
    catch {chan configure stdout -buffering line}
}

# Turns what Daemonize answered its caller into a pid or an error.
proc unix_process::DaemonPid {outcome pidFile} {
    lassign $outcome kind value
    set code [list [string toupper $kind] $value]
    switch -- $kind {
        ready {
            return $value
        }
        failed {
            set reason $value
        }
        exit {
            set reason "it ended with exit code $value before it was ready"
        }
        signal {
            set reason "it was killed by $value before it was ready"
        }
        held {
            set who [expr {$value > 0 ? "process $value" : "a process that is starting"}]
            set reason "$who holds the pid file \"$pidFile\""
            set code [list PIDFILE $pidFile $value]
        }
        lost {
            set reason "nothing is known of it, its watcher was killed"
            set code LOST
        }
    }
    throw [list UNIX_PROCESS DAEMON {*}$code] "couldn't start the daemon: $reason"
}

proc unix_process::LogDefaults {} {
    set program [expr {[info exists ::argv0] ? $::argv0 : [info nameofexecutable]}]
    return [list -ident [file tail $program] -facility user]
}

# A service is given by its name, or by what logger::init has returned.
proc unix_process::LoggerCommand {service} {
    package require logger
    set name [regsub {^::logger::tree::} $service {}]
    if {$name ni [logger::services]} {
        throw [list UNIX_PROCESS SERVICE $service] \
            "couldn't find logger service \"$service\": must be [OneOf [logger::services]]"
    }
    return ::logger::tree::$name
}

proc unix_process::OneOf {names} {
    if {$names eq {}} {
        return "made by logger::init first"
    }
    return [regsub {, ([^,]*)$} [join $names {, }] { or \1}]
}

# For all packages that have this one. Options come first, then `count`
# arguments: returns {options argument ...}. Usage begins with the command.
proc unix_process::ParseOptions {usage defaults count words} {
    set options $defaults
    while {[string match -* [lindex $words 0]] && [llength $words] > $count} {
        set words [lassign $words name]
        if {$name eq "--"} break
        set name [tcl::prefix match -message option [dict keys $defaults] $name]
        if {[llength $words] == 0} {
            WrongArguments $usage
        }
        set words [lassign $words value]
        dict set options $name $value
    }
    if {[llength $words] != $count} {
        WrongArguments $usage
    }
    return [list $options {*}$words]
}

proc unix_process::WrongArguments {usage} {
    throw {TCL WRONGARGS} "wrong # args: should be \"$usage\""
}
