# The control socket and the health answers, served in this process for a pool that only
# notes what it is told. Each line is answered, in order, or the connection is closed.
#
# Steps: an even number says these bytes on the control socket, an odd one asks for the
# health of the pool with them, on a connection of its own. 4 and more: with half a close.

source [file join [file dirname [file normalize [info script]]] harness.tcl]
source [file join $::projectRoot tests fakepool.tcl]
package require socketserver

set path [tempPath control]
set healthPath [tempPath health]
set logged {}
set pool [FakePool new]
set control [socketserver::Control new $pool $path {lappend logged}]
set health [socketserver::Health new $pool unix:$healthPath {lappend logged}]
set socketserver::farewellMs 50
interp bgerror {} [list apply {{message options} {set ::broken [dict get $options -errorinfo]}}]

proc client {path} {
    set channel [unix_sockets::connect $path]
    chan configure $channel -translation binary
    collect $channel
    return $channel
}

# In pieces, so that it does not wait for the server, which is this process.
proc tell {channel bytes} {
    catch {
        puts -nonewline $channel $bytes
        flush $channel
    }
}

proc isOver {channel} {
    return [string match *<eof> $::got($channel)]
}

# The lines that get an answer: those up to one that is too long.
proc asked {bytes} {
    set limit [dict get $socketserver::control::limits line]
    set count 0
    set lines [split $bytes \n]
    if {[lindex $lines end] eq ""} {
        set lines [lrange $lines 0 end-1]
    }
    foreach line $lines {
        incr count
        if {[string length $line] > $limit} {
            break
        }
    }
    return $count
}

# No reload takes long.
oo::objdefine $pool method Start {name arguments} {
    next $name $arguments
    if {[my pending] > 0} {
        after 0 [list [self] done 1]
    }
}

proc untilOver {channel} {
    set timer [after $::fuzz::patience [list append ::got($channel) "<hangs>"]]
    while {![isOver $channel]} {
        vwait ::got($channel)
        fuzz::require [expr {![string match *<hangs> $::got($channel)]}] "it answers or closes"
    }
    after cancel $timer
}

proc converse {bytes} {
    set channel [client $::path]
    tell $channel $bytes
    chan close $channel write
    untilOver $channel
    # An answer ends with an empty line, and has none in it; that to an empty line is empty.
    set text [string range $::got($channel) 0 end-5]
    fuzz::require [expr {$text eq "" || [string match "*\n" $text]}] "answers are whole"
    set answers [regexp -all {\n\n} $text]
    set empty [regexp -all -line {^[ \t\r\f\v]*$} $bytes]
    set most [asked $bytes]
    fuzz::require [expr {$answers <= $most && $answers >= $most - $empty - 1}] \
        "each of $most lines is answered: $answers"
    closeClient $channel
}

proc closeClient {channel} {
    close $channel
    unset ::got($channel)
}

proc askHealth {bytes halfClose} {
    set channel [client $::healthPath]
    tell $channel $bytes
    if {$halfClose} {
        chan close $channel write
    } else {
        tell $channel "\n"
    }
    untilOver $channel
    set answer [string range $::got($channel) 0 end-5]
    fuzz::require [expr {$answer eq "" || $answer in [list "up ready\n" drain\n maint\n] ||
        [regexp {^HTTP/1.\d (200|503|405) .*\r\n\r\n} $answer]}] "an answer is one of few"
    closeClient $channel
}

proc tryLines {input} {
    set ::broken ""
    foreach {kind bytes} $input {
        set bytes [string range $bytes 0 9999] ;# thousands of lines take long
        if {$kind % 2} {
            askHealth $bytes [expr {$kind >= 4}]
        } else {
            converse $bytes
        }
    }
    fuzz::require [expr {$::broken eq ""}] "no error in the background: $::broken"
    fuzz::require [expr {$::logged eq {}}] "no error is logged: $::logged"
}

proc checkLines {} {
    set channel [client $::path]
    tell $channel "version\n"
    waitFor $::fuzz::patience {[string match "*\n\n" $::got($channel)]}
    fuzz::require [string match "socketserver *" $::got($channel)] "who behaves well is served"
    closeClient $channel
    fuzz::unchanged [pid]
}

checkLines
fuzz::run [list \
    [list 0 "help\nversion\nstatus\n"] [list 0 "stats -json --indent\nworkers\n\nstats\n"] \
    [list 0 "stats --prometheus\nscale 4\nscale +1\nscale x\n"] [list 0 "drain\npause\nresume"] \
    [list 0 "reload --wait\nreload\nupgrade --wait\nstop --quick\n"] [list 0 "statsu\nhlep\n"] \
    [list 1 "GET / HTTP/1.1\r\nHost: x\r\n\r\n"] [list 1 "HEAD /\r\n"] [list 5 "POST / HTTP/1.0"] \
    [list 1 "state"] [list 0 "status\n" 1 "OPTIONS * HTTP/1.1\r\n\r\n" 0 "scale 2\n"]
] {"help\n" "reload --wait\n" "stats " "-json " "--indent" "scale " " HTTP/1.1\r\n" "GET "} \
    tryLines checkLines
