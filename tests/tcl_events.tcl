#!/usr/bin/env tclsh
# Tcl's own tests of channels and events, with Tcl's notifier and with ours:
#
#   tclsh tests/tcl_events.tcl ?-source DIR? ?PATTERN?
#
# What passes with the built-in notifier on this machine must pass with ours. The
# tests are those of the Tcl that runs this, from Debian's source package, which is
# kept in $XDG_CACHE_HOME (/var/cache) for the next time; -source names an unpacked
# one instead. PATTERN names files: "socket" is socket.test.
#
# Where a compiler and make are, Tcl's test shell is built there too: it has the
# commands that half of the tests need. Else tclsh runs them.
#
# The last line is "N passed, M failed, K skipped", as with tests/all.tcl: passed
# and failed are the tests that pass with the built-in notifier.

package require Tcl 8.6-
package require cmdline
package require fileutil

set root [file dirname [file dirname [file normalize [info script]]]]
set suites {
    async chanio event exec http io ioCmd ioTrans iogt main notify pid socket thread timer
    unixForkEvent unixNotfy zlib
}
# Seconds without a test's end after which the test that runs hangs.
set patience 60

# ---- the sources -------------------------------------------------------------------

proc Unavailable {reason} {
    throw {EVENTS UNAVAILABLE} $reason
}

proc CacheFolder {} {
    set cache [expr {[info exists ::env(XDG_CACHE_HOME)] ? $::env(XDG_CACHE_HOME) : "/var/cache"}]
    return [file join $cache uds-tcl[info patchlevel]]
}

# The folder of the sources: has tests/ and unix/.
proc Sources {} {
    set folder [file join [CacheFolder] source]
    if {![file exists $folder]} {
        if {[catch {Download [CacheFolder]} reason]} {
            Unavailable "couldn't get the sources of Tcl [info patchlevel]: $reason"
        }
        file rename [lindex [glob -directory [CacheFolder] -types d tcl*] 0] $folder
    }
    return $folder
}

# With lists and settings of its own: the system's apt is not touched.
proc Download {folder} {
    file mkdir $folder [file join $folder apt lists partial]
    fileutil::writeFile [file join $folder apt sources.list] [join [lmap release {
        bookworm trixie sid
    } {string cat "deb-src http://deb.debian.org/debian $release main"}] \n]
    set options [list -qq -o Dir::Etc::sourcelist=[file join $folder apt sources.list] \
        -o Dir::Etc::sourceparts=- -o Dir::State::lists=[file join $folder apt lists] \
        -o Dir::Cache=[file join $folder apt] -o APT::Sandbox::User=]
    exec -ignorestderr apt-get {*}$options update >@stdout 2>@1
    set package tcl[info tclversion]
    set versions [regexp -all -inline -line {^Version: .*$} \
        [exec apt-cache {*}$options showsrc $package]]
    set version [lindex [lsearch -inline -glob $versions "Version: [info patchlevel]*"] 1]
    if {$version eq {}} {
        error "Debian has none"
    }
    exec sh -c {cd "$1" && shift && exec "$@"} sh $folder \
        apt-get {*}$options --download-only source $package=$version 2>@1
    exec tar -x -C $folder -f [lindex [glob -directory $folder *.orig.tar.*] 0]
}

# Tcl's test shell, or this shell.
proc TestShell {sources} {
    set folder [file join [CacheFolder] shell]
    if {![file exists [file join $folder tcltest]]} {
        puts "building Tcl's test shell in $folder"
        file mkdir $folder
        if {[catch {
            exec sh -c {
                cd "$1" && "$2/unix/configure" --enable-threads && make -j "$(nproc)" tcltest
            } sh $folder $sources > [file join $folder log] 2>@1
        }]} {
            puts "couldn't build it, see [file join $folder log]: many tests will be skipped"
            return [list [info nameofexecutable]]
        }
    }
    # With the packages that this shell has: some tests need Thread.
    set paths [lmap path $::auto_path {
        expr {[file exists [file join $path init.tcl]] ? [continue] : $path}
    }]
    return [list env LD_LIBRARY_PATH=$folder TCL_LIBRARY=[file join $sources library] \
        TCLLIBPATH=$paths [file join $folder tcltest]]
}

# ---- running -----------------------------------------------------------------------

# The script that runs a test file with one of the notifiers.
proc Wrapper {work notifier} {
    set path [file join $work $notifier.tcl]
    set script {
        set argv [lassign $argv ::argv0]
        set argc [llength $argv]
    }
    if {$notifier eq "epoll"} {
        append script [list set auto_path [linsert $::auto_path 0 $::root]] \n {
            package require unix_process
            unix_process::notifier epoll
            set auto_path [lrange $auto_path 1 end]
        }
    }
    append script {
        source $::argv0
    }
    fileutil::writeFile $path $script
    return $path
}

# {test outcome ...}: passed, skipped, failed or hung. A test that hangs is left out
# the next time.
proc Outcomes {shell work notifier suite {ids *}} {
    set outcomes {}
    set hung {}
    for {set round 0} {$round < 10} {incr round} {
        set command [list {*}$shell [Wrapper $work $notifier] $suite.test -match $ids \
            -skip $hung -verbose {pass skip start error} -tmpdir [file join $work tmp]]
        lassign [RunFile [file join $work tests] $command] found last ended
        set outcomes [dict merge $outcomes $found]
        if {$ended || $last eq {}} {
            break
        }
        lappend hung $last
        dict set outcomes $last hung
    }
    return $outcomes
}

# {outcomes, the test that ran last, whether the file was done}
proc RunFile {directory command} {
    set channel [open |[list setsid sh -c {cd "$1" && shift && exec "$@"} sh $directory \
        {*}$command < /dev/null 2>@1]]
    chan configure $channel -blocking 0 -translation {auto lf} -encoding iso8859-1
    set ::run [dict create outcomes {} last {} ended 0]
    chan event $channel readable [list ReadLines $channel]
    Watch
    vwait ::finished
    after cancel $::hangs
    if {$::finished eq "hangs"} {
        catch {exec kill -KILL -- -[pid $channel]}
    }
    chan configure $channel -blocking 1
    catch {close $channel}
    return [dict values $::run]
}

proc Watch {} {
    if {[info exists ::hangs]} {
        after cancel $::hangs
    }
    set ::hangs [after [expr {$::patience * 1000}] {set ::finished hangs}]
}

proc ReadLines {channel} {
    while {[gets $channel line] >= 0} {
        if {[regexp {^---- (\S+) start} $line -> id]} {
            dict set ::run last $id
            Watch
        } elseif {[regexp {^(?:\+\+\+\+|====) (\S+) .*?(PASSED|SKIPPED|FAILED)} $line -> id \
            outcome]} {
            # A loop may use an id twice.
            if {![dict exists $::run outcomes $id] || $outcome eq "FAILED"} {
                dict set ::run outcomes $id [string tolower $outcome]
            }
        } elseif {[regexp {^\S+\.test:\tTotal\t} $line]} {
            dict set ::run ended 1
        }
    }
    if {[eof $channel]} {
        set ::finished ended
    }
}

# ---- comparing ---------------------------------------------------------------------

# The tests that pass with the one and not with the other.
proc Worse {builtin own} {
    set worse {}
    dict for {id outcome} $builtin {
        if {$outcome eq "passed" && (![dict exists $own $id] || [dict get $own $id] ne "passed")} {
            lappend worse $id
        }
    }
    return $worse
}

proc Count {outcomes outcome} {
    return [llength [lsearch -all -exact [dict values $outcomes] $outcome]]
}

# {passed failed skipped}. What is worse is tried again, alone: the load of a machine
# makes some tests fail now and then.
proc Compare {shell work suite} {
    set builtin [Outcomes $shell $work default $suite]
    set own [Outcomes $shell $work epoll $suite]
    set worse [Worse $builtin $own]
    if {$worse ne {}} {
        set worse [Worse [Outcomes $shell $work default $suite $worse] \
            [Outcomes $shell $work epoll $suite $worse]]
    }
    set notPassed [expr {[Count $builtin failed] + [Count $builtin hung]}]
    puts [format "%-16s %4d passed, %d failed, %d skipped; built-in: %d not passed" $suite.test \
        [Count $own passed] [llength $worse] [Count $own skipped] $notPassed]
    dict for {id outcome} $builtin {
        if {$outcome in {failed hung}} {
            puts "    $id: $outcome with the built-in one,\
                [expr {[dict exists $own $id] ? [dict get $own $id] : "not run"}] with ours"
        }
    }
    foreach id $worse {
        puts "    $id: passed with the built-in one,\
            [expr {[dict exists $own $id] ? [dict get $own $id] : "not run"}] with ours"
    }
    return [list [expr {[Count $builtin passed] - [llength $worse]}] [llength $worse] \
        [Count $builtin skipped]]
}

proc Main {arguments} {
    set options [cmdline::getoptions arguments {
        {source.arg {} "folder of Tcl's sources"}
    } "?-source DIR? ?PATTERN?"]
    set pattern [expr {[llength $arguments] ? [lindex $arguments 0] : "*"}]
    set sources [dict get $options source]
    if {$sources eq {}} {
        set sources [Sources]
    }
    set shell [TestShell $sources]
    set work [fileutil::maketempdir -prefix uds-events-]
    set totals {0 0 0}
    try {
        file mkdir [file join $work tmp]
        file copy [file join $sources tests] $work
        foreach suite [lsearch -all -inline -glob $::suites $pattern] {
            if {[file exists [file join $work tests $suite.test]]} {
                set totals [lmap a $totals b [Compare $shell $work $suite] {expr {$a + $b}}]
            }
        }
    } finally {
        file delete -force $work
    }
    lassign $totals passed failed skipped
    puts "$passed passed, $failed failed, $skipped skipped"
    exit [expr {$failed > 0 || $passed == 0}]
}

try {
    Main $argv
} trap {EVENTS UNAVAILABLE} reason {
    puts "skipped: $reason"
    puts "0 passed, 0 failed, 1 skipped"
    exit 1
}
