# socketserver/program/main.tcl --
#
#   The program socketserver; its manual is man/socketserver-program.man.
#
#     settings.tcl      what may be set: the table, layers of settings
#     flags.tcl config.tcl environment.tcl
#                       where the settings come from
#     help.tcl          the text of --help
#     application.tcl   loads the application, in the fork server
#     check.tcl         --check
#     run.tcl           the pool, here or as a daemon
#     log.tcl           where the log goes

package require Tcl 8.6-
package require cmdline
package require logger
package require textutil::adjust
package require socketserver

namespace eval socketserver::program {
    # Exit statuses; an error of any other kind is 1.
    variable statuses {
        {SOCKETSERVER USAGE}  2
        {SOCKETSERVER CONFIG} 2
        {SOCKETSERVER VALUE}  2
        {SOCKETSERVER BOOT}   3
        {SOCKETSERVER LOAD}   4
    }
}

foreach part {settings flags config environment help application check log run} {
    source [file join [file dirname [info script]] $part.tcl]
}
unset part

# Ends the process.
proc socketserver::program::Main {arguments} {
    try {
        lassign [flags::Parse $arguments] flagLayer words
        set status [Act $flagLayer $words]
    } trap {SOCKETSERVER USAGE} {message} {
        Complain "$message\n$help::usage\nsee --help"
        set status 2
    } on error {message failure} {
        Complain [Worded $message $failure]
        if {[info exists flagLayer] && [settings::Value $flagLayer verbose]} {
            Complain [application::Stack [dict get $failure -errorinfo]]
        }
        set status [StatusOf $failure]
    }
    exit $status
}

# Returns the exit status.
proc socketserver::program::Act {flagLayer words} {
    if {[settings::Value $flagLayer help] || $words eq "help" && ![file exists help]} {
        return [Print [help::Text [Columns]]]
    }
    if {[settings::Value $flagLayer version]} {
        return [Print "socketserver [package present socketserver], Tcl [info patchlevel]"]
    }
    lassign [Collect $flagLayer $words] settings warnings
    set upgradeCommand [UpgradeCommand]
    set directory [settings::Value $settings chdir]
    if {$directory ne ""} {
        cd $directory
    }
    set poolOptions [dict merge [list -upgradecommand $upgradeCommand] [PoolOptions $settings]]
    if {[settings::Value $settings check]} {
        return [Check $settings $poolOptions $warnings]
    }
    # Who takes over from a daemon is one already.
    set toDaemon [expr {[settings::Value $settings daemon] && ![::socketserver::IsTakeover]}]
    if {$toDaemon && [run::Daemonize $settings] != 0} {
        return 0
    }
    return [run::Serve $settings $poolOptions $warnings]
}

# Returns {settings warnings}: the layers, each over those that are weaker.
proc socketserver::program::Collect {flagLayer words} {
    lassign [environment::Read [array get ::env]] environmentLayer warnings
    set file [settings::Value [dict merge $environmentLayer $flagLayer] config]
    set fileLayer [expr {$file eq "" ? "" : [config::Read $file]}]
    set settings [dict merge $fileLayer $environmentLayer $flagLayer]
    if {[llength $words] > 0} {
        dict set settings app [list $words "command line"]
    }
    if {[settings::Value $settings app] eq ""} {
        throw {SOCKETSERVER USAGE} "no application given"
    }
    if {![dict exists $settings notify] && [info exists ::env(NOTIFY_SOCKET)]} {
        dict set settings notify {1 NOTIFY_SOCKET}
    }
    return [list $settings $warnings]
}

# This program again, from the directory in which it was started. systemd's watchdog
# is then that of another process.
proc socketserver::program::UpgradeCommand {} {
    return [list sh -c {unset WATCHDOG_PID; cd "$1" && shift && exec "$@"} sh [pwd] \
        [info nameofexecutable] $::argv0 {*}$::argv]
}

# What the operator wants of the pool. -preload loads the application.
proc socketserver::program::PoolOptions {settings} {
    set options [settings::PoolOptions $settings]
    set preloadScript [settings::Value $settings preload]
    set handlerGiven [expr {[settings::Value $settings handler] ne ""}]
    dict set options -preload [list ::socketserver::program::application::Load \
        [settings::Value $settings app] $preloadScript $handlerGiven]
    return $options
}

proc socketserver::program::Check {settings poolOptions warnings} {
    foreach warning $warnings {
        Complain $warning
    }
    set effective [check::Effective $settings $poolOptions]
    set text ok
    if {[settings::Value $settings verbose]} {
        append text \n [check::Text $effective]
    }
    return [Print $text]
}

# ---- the terminal ----------------------------------------------------------------

proc socketserver::program::StatusOf {failure} {
    variable statuses
    set code [dict get $failure -errorcode]
    if {[lrange $code 0 1] eq {SOCKETSERVER STATUS}} {
        return [lindex $code 2] ;# of a daemon
    }
    set kind [lrange $code 0 1]
    return [expr {[dict exists $statuses $kind] ? [dict get $statuses $kind] : 1}]
}

# The pool calls its options "-name".
proc socketserver::program::Worded {message failure} {
    if {[lrange [dict get $failure -errorcode] 0 1] eq {SOCKETSERVER VALUE}} {
        return [help::WithFlags $message]
    }
    return $message
}

# Whoever reads the output may be gone.
proc socketserver::program::Print {text} {
    return [catch {
        puts $text
        flush stdout
    }]
}

proc socketserver::program::Complain {message} {
    catch {puts stderr "socketserver: $message"}
}

proc socketserver::program::Columns {} {
    if {[info exists ::env(COLUMNS)] && [string is integer -strict $::env(COLUMNS)]} {
        return $::env(COLUMNS)
    }
    if {[log::IsTerminal stdout] && ![catch {exec stty size </dev/tty} size]} {
        return [lindex $size 1]
    }
    return 80
}
