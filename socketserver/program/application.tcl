# socketserver/program/application.tcl --
#
#   In the fork server: loads the application, as the pool's -preload.

namespace eval socketserver::program::application {}

# words: the file and its arguments. handlerGiven: the operator has told the handler.
proc socketserver::program::application::Load {words preloadScript handlerGiven} {
    set ::argv [lassign $words ::argv0]
    set ::argc [llength $::argv]
    # What the parent does with errors of its own is not for the workers.
    interp bgerror {} ::tcl::Bgerror
    try {
        uplevel #0 $preloadScript
        uplevel #0 [list source $::argv0]
    } on error {message failure} {
        set stack [dict get $failure -errorinfo]
        return -code error -errorcode [list SOCKETSERVER LOAD $::argv0] -errorinfo $stack \
            "couldn't load the application: [Place $stack]$message"
    }
    if {!$handlerGiven && ![dict exists [::socketserver::AppOptions] -handler]} {
        throw [list SOCKETSERVER LOAD $::argv0] "couldn't load the application: $::argv0 tells\
            no handler: call \"socketserver::configure -handler cmd\""
    }
}

# "FILE:LINE: " of the command that failed.
proc socketserver::program::application::Place {errorInfo} {
    if {![regexp {\(file "([^\n]*)" line (\d+)\)} $errorInfo -> file line]} {
        return ""
    }
    return "$file:$line: "
}

# What of an error's stack is the application's: up to where it is sourced from here.
proc socketserver::program::application::Stack {errorInfo} {
    regexp {^(.* line \d+\))\s+invoked from within\s+"source [^\n]*"\s+\("uplevel"} \
        $errorInfo -> errorInfo
    return $errorInfo
}
