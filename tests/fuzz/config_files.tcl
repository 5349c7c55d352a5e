# The configuration file and the environment: any text is a layer of settings, or an error
# that names the place, soon. No command runs but those of the file.
#
# Steps: the bytes of all of them, in UTF-8, are the file; those of the odd ones, as
# NAME=VALUE, the environment.

source [file join [file dirname [file normalize [info script]]] harness.tcl]
package require socketserver
source [file join $::projectRoot socketserver program main.tcl]

set path [tempPath app.conf]

proc evaluate {bytes} {
    set file [open $::path wb]
    puts -nonewline $file $bytes
    close $file
    set began [clock milliseconds]
    try {
        set layer [socketserver::program::config::Read $::path]
        dict for {name entry} $layer {
            fuzz::require [regexp {^.*/app.conf:\d+$} [lindex $entry 1]] "a setting has a place"
        }
        socketserver::program::settings::PoolOptions $layer
    } trap {SOCKETSERVER CONFIG} {message} {
        fuzz::require [string match "*app.conf*" $message] "an error has a place: $message"
    }
    fuzz::require [expr {[clock milliseconds] - $began < $::fuzz::patience}] "it does not take long"
}

proc readEnvironment {bytes} {
    set variables [dict create]
    foreach line [split $bytes \n] {
        regexp {^([^=]*)=?(.*)$} $line -> name value
        dict set variables SOCKETSERVER_$name $value
    }
    try {
        lassign [socketserver::program::environment::Read $variables] layer warnings
        socketserver::program::settings::PoolOptions $layer
    } trap {SOCKETSERVER VALUE} {} {
        # A bad value.
    }
}

proc tryConfig {input} {
    set text ""
    foreach {kind bytes} $input {
        append text $bytes
        if {$kind % 2} {
            readEnvironment $bytes
        }
    }
    evaluate $text
    fuzz::require [expr {[surroundings] eq $::before}] "nothing is left of it"
}

proc surroundings {} {
    return [list [interp slaves] [lsort [info commands]] [lsort [namespace children]] \
        [lsort [info globals]]]
}

set before {}
set before [surroundings]
fuzz::run [list {*}[fuzz::texts {
    "workers 4\nlisten 8080\nlisten 127.0.0.1:9090 unix:/run/x.sock\n"
    "# a comment\nset base /srv/app\napp \$base/app.tcl\npidfile \$base/pid\n"
    "mode perconnection; maxchildren 100\nproxyprotocol on\n"
    "log {\n  /var/log/x.log\n}\nloglevel debug\n"
    "set a 1\nset b \$a\$a\nworkers \$b\nset c(x) 2\nworkers \$c(x)\n"
    "banner \"a\\n\\u00e9\"\n"
    "workers [set x 3]\n"
    "concurrency 10 ;# more\nrate 100\nmaxpersource 5\ntimeout 30000\nunknown 1\n"
}] [list 1 "WORKERS=4\nLISTEN=8080 9090\nLOGLEVEL=debug\nNONSENSE=1\nworkers=2\n"]] \
    {"set " "workers " "listen " "\[set x " "\$x" "unix:" "app " "\{\n" "\}\n" "env(PATH)" \
        "::x::y"} tryConfig
