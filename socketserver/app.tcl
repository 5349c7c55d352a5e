# socketserver/app.tcl --
#
#   What an application tells of itself while it is loaded: its handler, and the
#   options that it wants unless the operator gave others.

namespace eval socketserver {
    # -option value ...; kept in the fork server, asked for by the pool.
    variable appOptions [dict create]
    # argv0, argv and argc as it has left them.
    variable appArguments {}
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

# In a new fork server: nothing of the application runs with more rights than
# the workers will have.
proc socketserver::LoadApp {options} {
    variable appOptions [dict create]
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
        set user [exec id -u]
    }
    unix_process::setuser $user {*}[expr {$group eq "" ? "" : [list $group]}]
}
