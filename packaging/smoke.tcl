#!/usr/bin/env tclsh
# smoke.tcl --
#
#   Tries what a package has installed, as root in a Debian that has nothing else:
#
#     tclsh smoke.tcl VERSION
#
#   The last line is "N passed, M failed", and the exit status is 0 only if none failed.

set version [lindex $argv 0]
set package tcl-socketserver
set directory /tmp/smoke
set passed 0
set failed 0

# A script that is to return 1.
proc check {what script} {
    set code [catch {uplevel #0 $script} result options]
    set isGood [expr {$code == 0 && $result eq "1"}]
    incr ::[expr {$isGood ? "passed" : "failed"}]
    puts "[expr {$isGood ? "ok    " : "FAILED"}] $what"
    if {!$isGood} {
        puts $result
    }
}

proc installed {} {
    return [split [exec dpkg -L $::package] \n]
}

proc await {script} {
    for {set tries 0} {![uplevel 1 $script]} {incr tries} {
        if {$tries == 600} {
            error "not true after a minute: $script"
        }
        after 100
    }
    return 1
}

# One line there, and one back.
proc answer {line} {
    set server [socket localhost 8080]
    puts $server $line
    flush $server
    set answer [gets $server]
    close $server
    return $answer
}

file mkdir $directory
set shells {}
foreach shell {tclsh tclsh8.6 tclsh9.0} {
    if {[auto_execok $shell] ne ""} {
        lappend shells $shell
    }
}
foreach shell $shells {
    check "the packages load in $shell, from the architecture's folder" {
        string match /usr/lib/tcltk/*-*-*/socketserver$version/lib/tcl* [exec $shell << {
            package require socketserver
            lassign [unix_sockets::pair] left right
            puts $left "through the pair"
            close $left
            if {[gets $right] eq "through the pair"} {
                puts [file dirname [lindex [package ifneeded uds [package require uds]] 1]]
            }
        }]
    }
    check "the programs tell their version in $shell" {
        set told [lmap program {socketserver socketserverctl} {
            string match "$program $version, Tcl *" [exec $shell /usr/bin/$program --version]
        }]
        expr {$told eq {1 1}}
    }
}

check "an application is served as a daemon, asked, given new code, and stopped" {
    set file [open $directory/app.conf w]
    puts $file "app /usr/share/doc/$package/examples/app.tcl
        listen localhost:8080
        workers 2
        daemon
        user nobody
        control $directory/control
        pidfile $directory/pid
        logfile $directory/log"
    close $file
    exec socketserver --config $directory/app.conf
    set control [list socketserverctl -control $directory/control]
    set answers [list [answer hello]]
    exec {*}$control reload --wait
    lappend answers [answer again]
    set status [exec {*}$control status]
    exec {*}$control stop
    await {expr {![file exists $directory/pid]}}
    expr {[regexp {^{worker \d+: hello} {worker \d+: again}$} $answers] &&
        [string match *running* $status]}
}

foreach page {man1/socketserver.1 man1/socketserverctl.1 man3/socketserver.3tcl
    man3/socketserver_pool.3tcl man3/unix_sockets.3tcl man3/unix_process.3tcl
    man3/forkserver.3tcl} {
    check "there is a manual page $page, with the version" {
        regexp "^\\.TH \\S+ \\S+ $version " \
            [string map {\\& {}} [exec zcat /usr/share/man/$page.gz | grep {^[.]TH}]]
    }
}

check "bash completes options of the programs" {
    string match "*--workers*" [exec bash -c {
        source /usr/share/bash-completion/completions/socketserver
        COMP_WORDS=(socketserver --wor) COMP_CWORD=1
        _socketserver socketserver
        echo "${COMPREPLY[@]}"
    }]
}

check "systemd has a unit that names the program" {
    regexp -line {^ExecStart=/usr/bin/socketserver } \
        [exec cat {*}[lsearch -all -inline [installed] */socketserver@.service]]
}

check "copyright and changelog are there" {
    set here /usr/share/doc/$package
    expr {[string match "Format: *BSD-2-Clause*" [exec cat $here/copyright]] &&
        [string match "$package ($version*" [exec zcat $here/changelog.gz]]}
}

check "no file differs from what was packed" {
    expr {[exec dpkg --verify $package] eq ""}
}

check "it is removed without a trace" {
    set files [lmap path [installed] {expr {[file isdirectory $path] ? [continue] : $path}}]
    exec dpkg --purge $package
    set left [lmap path $files {expr {[file exists $path] ? $path : [continue]}}]
    expr {[llength $files] > 50 && $left eq {}}
}

file delete -force $directory
puts "$passed passed, $failed failed"
exit [expr {$failed > 0}]
