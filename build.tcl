#!/usr/bin/env tclsh
# Builds, checks and installs the project: `tclsh build.tcl help` lists the verbs,
# which are in tools/, a file for each kind of work.
#
# All output goes to lib/ (what `package require` loads) and build/ (the rest).

package require Tcl 8.6-
package require fileutil

set root [file dirname [file normalize [info script]]]
set major [lindex [split [info tclversion] .] 0]
set library [file join lib tcl$major uds[info sharedlibextension]]

set verbs {}
proc verb {name parameters usage summary body} {
    dict set ::verbs $name [list $parameters [string trimright "$name $usage"] $summary]
    proc Verb-$name $parameters $body
}

# In the order in which they are listed.
foreach name {
    report library suites lint variants tcl9 faults fuzz manual bench install
} {
    source [file join $root tools $name.tcl]
}

verb clean {} "" "removes lib/ and build/" {
    file delete -force [file join $::root lib] [file join $::root build]
}

verb help {} "" "this list" {
    puts [Help]
}

proc Help {} {
    set lines {"usage: tclsh build.tcl VERB ?ARGUMENT ...?" ""}
    dict for {name entry} $::verbs {
        lassign $entry parameters usage summary
        lappend lines [format "  %-32s %s" $usage $summary]
    }
    return [join $lines \n]
}

proc Main {arguments} {
    set arguments [lassign $arguments name]
    if {$name eq {}} {
        set name help
    }
    if {![dict exists $::verbs $name]} {
        puts stderr "unknown verb \"$name\"\n[Help]"
        exit 2
    }
    lassign [dict get $::verbs $name] parameters usage
    if {$parameters ne "args" && [llength $arguments] > [llength $parameters]} {
        puts stderr "usage: tclsh build.tcl $usage"
        exit 2
    }
    try {
        Verb-$name {*}$arguments
    } on error {message options} {
        puts stderr "build.tcl $name: [Reason $message $options]"
        exit 1
    }
}

Main $argv
