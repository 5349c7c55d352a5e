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

source [file join $root socketserver nearest.tcl]

set verbs {}
proc verb {name parameters usage summary body} {
    dict set ::verbs $name [list $parameters [string trimright "$name $usage"] $summary]
    proc Verb-$name $parameters $body
}

# In the order in which they are listed.
foreach name {
    report library suites stress lint variants valgrind tcl9 faults chaos limits fuzz soak
    manual html bench install archive deb
} {
    source [file join $root tools $name.tcl]
}

verb clean {} "" "removes lib/ and build/" {
    file delete -force [file join $::root lib] [file join $::root build]
}

verb help {{name {}}} "?VERB?" "this list, or what a verb does; so does VERB --help" {
    if {$name eq {}} {
        puts [Help]
    } elseif {[dict exists $::verbs $name]} {
        puts [VerbHelp $name]
    } else {
        Misuse "unknown verb \"$name\"[socketserver::DidYouMean $name [dict keys $::verbs]]"
    }
}

proc Help {} {
    set lines {"usage: tclsh build.tcl VERB ?ARGUMENT ...?" ""}
    dict for {name entry} $::verbs {
        lassign $entry parameters usage summary
        lappend lines [format "  %-32s %s" $usage $summary]
    }
    lappend lines "" "Exit status: 0 done, 1 failed, 2 wrong usage. --version tells the version."
    return [join $lines \n]
}

proc VerbHelp {name} {
    lassign [dict get $::verbs $name] parameters usage summary
    return "usage: tclsh build.tcl $usage\n    $summary"
}

proc Main {arguments} {
    set arguments [lassign $arguments name]
    if {$name in {{} -h -help --help}} {
        set name help
    }
    if {$name in {-version --version}} {
        puts [Version]
        return
    }
    if {![dict exists $::verbs $name]} {
        puts stderr "unknown verb \"$name\"[socketserver::DidYouMean $name [dict keys $::verbs]]"
        puts stderr [Help]
        exit 2
    }
    if {[lindex $arguments 0] in {-h -help --help}} {
        puts [VerbHelp $name]
        return
    }
    lassign [dict get $::verbs $name] parameters usage
    if {$parameters ne "args" && [llength $arguments] > [llength $parameters]} {
        puts stderr "usage: tclsh build.tcl $usage"
        exit 2
    }
    try {
        Verb-$name {*}$arguments
    } trap {BUILD USAGE} {message} {
        puts stderr "build.tcl $name: $message\nusage: tclsh build.tcl $usage"
        exit 2
    } on error {message options} {
        puts stderr "build.tcl $name: [Reason $message $options]"
        exit 1
    }
}

Main $argv
