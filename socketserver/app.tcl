# socketserver/app.tcl --
#
#   What an application tells of itself while it is loaded: its handler, and the
#   options that it wants unless the operator gave others.

namespace eval socketserver {
    # -option value ...; kept in the fork server, asked for by the pool.
    variable appOptions [dict create]
    # argv0, argv and argc as it has left them.
    variable appArguments {}
    # Scoreboards of the pools that have started in this process. No channels, so a fork
    # server inherits them.
    variable boards {}
    # What is over when it is loaded.
    variable tooLate {-preload -user -group -umask}
    # What the parent runs or opens, with rights that the application may not have.
    variable parents {
        -acceptfilter -control -health -listen -log -onoverload -onready -onreload -onspawn
        -onstart -onstop -onworkerexit -overload -status -upgradecommand
    }
}

# socketserver::configure ?-option value ...? --

proc socketserver::configure {args} {
    variable appOptions
    set appOptions [options::Merge $appOptions $args]
    return
}

proc socketserver::AppOptions {} {
    variable appOptions
    return $appOptions
}

# In the parent: what of an application's options counts. It may have been told by anything
# that runs as the user of -user and -group: so it is checked here, and what would be done
# with the parent's rights is refused.
proc socketserver::Permitted {poolOptions told} {
    variable tooLate
    variable parents
    set told [dict remove [options::Merge [dict create] $told] {*}$tooLate]
    if {[dict get $poolOptions -user] eq "" && [dict get $poolOptions -group] eq ""} {
        return $told
    }
    dict for {name value} $told {
        if {$name in $parents && ![IsHarmless $name $value]} {
            throw [list SOCKETSERVER RIGHTS $name] "the application may not set $name\
                \"$value\": it runs as another user, and this is done with the parent's rights"
        }
    }
    return $told
}

# Only words, and sockets that are no files.
proc socketserver::IsHarmless {name value} {
    switch -- $name {
        -overload {
            return [expr {[lindex $value 0] in {queue refuse}}]
        }
        -listen {
            return [expr {[lsearch -regexp $value {^unix:|/}] < 0}]
        }
        -health - -status {
            return [expr {![regexp {^unix:|/} $value]}]
        }
    }
    return [expr {$value eq ""}]
}

# In a new fork server: nothing of the application runs with more rights than
# the workers will have, or with what other pools have.
proc socketserver::LoadApp {options board} {
    variable appOptions [dict create]
    variable boards
    foreach other $boards {
        if {$other ne $board} {
            BoardClose $other
        }
    }
    set boards [list $board]
    dict with options {
        if {${-umask} ne ""} {
            unix_process::umask ${-umask}
        }
        if {${-user} ne "" || ${-group} ne ""} {
            BecomeUser ${-user} ${-group}
        }
        uplevel #0 ${-preload}
    }
    variable appArguments [lmap name {argv0 argv argc} {
        expr {[info exists ::$name] ? [set ::$name] : ""}
    }]
    CompileForWorkers
}

# What every worker runs. A procedure that is compiled before the fork is compiled
# once, and its pages stay shared.
proc socketserver::CompileForWorkers {} {
    foreach name {
        ::socketserver::worker::* ::unix_process::* ::forkserver::* ::forkserver::server::*
    } {
        foreach proc [info procs $name] {
            catch {tcl::unsupported::disassemble proc $proc}
        }
    }
    foreach method {channel send fill next ended Incomplete Descriptors} {
        catch {tcl::unsupported::disassemble method ::forkserver::Link $method}
    }
    catch {tcl::unsupported::disassemble constructor ::forkserver::Link}
}

proc socketserver::BecomeUser {user group} {
    if {$user eq ""} {
        set user [control::EffectiveUser]
    }
    unix_process::setuser $user {*}[expr {$group eq "" ? "" : [list $group]}]
}
