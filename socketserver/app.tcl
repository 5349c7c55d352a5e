# socketserver/app.tcl --
#
#   What an application tells of itself while it is loaded: its handler, and the
#   options that it wants unless the operator gave others.

namespace eval socketserver {
    # -option value ...; kept in the fork server, asked for by the pool.
    variable appOptions [dict create]
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
}

proc socketserver::BecomeUser {user group} {
    if {$user eq ""} {
        set user [exec id -u]
    }
    unix_process::setuser $user {*}[expr {$group eq "" ? "" : [list $group]}]
}
