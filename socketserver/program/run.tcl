# socketserver/program/run.tcl --
#
#   Runs the pool, here or as a daemon.

oo::class create socketserver::program::Pool {
    superclass ::socketserver::pool

    # A daemon's starter waits for the workers.
    method Hook {name args} {
        if {$name eq "-onready"} {
            unix_process::ready
        }
        next $name {*}$args
    }
}

namespace eval socketserver::program::run {}

# In the process that starts the daemon: returns its process id, or throws what the
# daemon has thrown. In the daemon: returns 0.
proc socketserver::program::run::Daemonize {settings} {
    set file [::socketserver::program::settings::Value $settings logfile]
    try {
        return [unix_process::daemonize -chdir [pwd] -stdout $file -stderr $file \
            -pidfile [::socketserver::program::settings::Value $settings pidfile]]
    } trap {UNIX_PROCESS DAEMON FAILED} {message failure} {
        set told [lindex [dict get $failure -errorcode] 3]
        if {[regexp {^status (\d+): (.*)$} $told -> status reason]} {
            throw [list SOCKETSERVER STATUS $status] $reason
        }
        return -options $failure $message
    }
}

# Returns the exit status of this process.
proc socketserver::program::run::Serve {settings poolOptions warnings} {
    set status 0
    try {
        set service [OpenLog $settings]
        foreach warning $warnings {
            ::socketserver::program::log::Say warn $warning
        }
        TakePidFile $settings
        set pool [::socketserver::program::Pool new -log $service {*}$poolOptions]
        unix_process::onsignal SIGUSR1 [list ::socketserver::program::run::Reopen $pool]
        $pool run
    } on error {message failure} {
        set status [::socketserver::program::StatusOf $failure]
        set message [::socketserver::program::Worded $message $failure]
        ::socketserver::program::log::Failed $message $failure
        unix_process::ready "status $status: $message"
    }
    return $status
}

# A daemon has it already, and who takes over gets it from the other program.
proc socketserver::program::run::TakePidFile {settings} {
    set file [::socketserver::program::settings::Value $settings pidfile]
    if {$file eq "" || [unix_process::PidFile] ne "" || [::socketserver::IsTakeover]} {
        return
    }
    set holder [unix_process::TakePidFile [file normalize $file]]
    if {$holder ne ""} {
        throw [list SOCKETSERVER PIDFILE $file $holder] \
            "process $holder holds the pid file \"$file\""
    }
}

# A daemon without a log of its own writes to the system's.
proc socketserver::program::run::OpenLog {settings} {
    foreach name {daemon logfile syslog user name loglevel} {
        set $name [::socketserver::program::settings::Value $settings $name]
    }
    set system [expr {$syslog || $daemon && $logfile eq ""}]
    if {$system && $logfile eq ""} {
        set system only
    }
    return [::socketserver::program::log::Open file $logfile system $system \
        isStandard [expr {$daemon && $logfile ne ""}] user $user ident $name least $loglevel]
}

proc socketserver::program::run::Reopen {pool signal} {
    ::socketserver::program::log::Reopen $pool
}
