# A pool that runs, with hostile clients, operators and workers. Whoever behaves well is
# served all the time, and the parent keeps nothing of the others.
#
# Steps: 0 a client sends these bytes, where a header of the PROXY protocol is allowed;
# 1 an operator's lines, without those that are meant to end the pool; 2 asks for its
# health; 3 a worker sends them to the parent, 4 to 8 in a frame with so many descriptors
# less four.

source [file join [file dirname [file normalize [info script]]] harness.tcl]
source [file join $::projectRoot tests servers.tcl]
source [file join $::projectRoot tests load.tcl]

set control [tempPath control]
set health [tempPath health]
# Workers that may have said anything.
set liars {}

# In a worker. A request is a line: echo TEXT, or send KIND BASE64 to the parent.
set handler {
    package require socketserver
    proc serve {channel address port} {
        chan configure $channel -translation lf -blocking 1
        # Any other client has nothing to say to it.
        if {[catch {gets $channel line} size] || $size < 0 || ![string is list $line]} {
            close $channel
            return
        }
        switch -- [lindex $line 0] {
            echo {
                catch {puts $channel "$address [lindex $line 1]"}
            }
            send {
                catch {sendRaw {*}[lrange $line 1 2]}
                catch {puts $channel "sent [pid]"}
            }
        }
        catch {close $channel}
    }

    # The link blocks only meanwhile: reading from it would never end.
    proc sendRaw {kind text} {
        set link [$socketserver::worker::link channel]
        chan configure $link -blocking 1
        try {
            SendRaw $link $kind [binary decode base64 $text]
        } finally {
            chan configure $link -blocking 0
        }
    }

    proc SendRaw {link kind bytes} {
        if {$kind > 0} {
            set bytes [binary format IS [string length $bytes] [expr {$kind - 1}]]$bytes
        }
        if {$kind > 1} {
            set ends [unix_sockets::pair]
            unix_sockets::sendfd $link [lrange [list {*}$ends stdin stdout] 0 $kind-2] \
                [string range $bytes 0 1999]
            foreach end $ends {
                close $end
            }
            set bytes [string range $bytes 2000 end]
        }
        puts -nonewline $link $bytes
        flush $link
    }
}

proc startPool {} {
    global server port parent control health handler
    set server [startDemo $handler -handler serve -workers 3 -proxyprotocol on -control $control \
        -health unix:$health -proxytimeout 2000 -backoff {1 5} -maxspawnfailures 0 \
        -timeout [expr {$::fuzz::patience / 2}] -loglevel debug]
    set port [demoPort $server]
    set parent [ask $server pid]
    # A line of its log for each that is turned away would be all that grows.
    ask $server {trace add variable ::logged write {apply {args {
        set ::logged [lrange $::logged end-99 end]
    }}}; list}
    checkPool
}

# The whole answer to some bytes; empty if there is none in time.
proc answerOf {channel bytes} {
    chan configure $channel -blocking 0 -translation binary
    set text ""
    set until [expr {[clock milliseconds] + $::fuzz::patience}]
    catch {
        puts -nonewline $channel $bytes
        flush $channel
        catch {chan close $channel write}
        while {[clock milliseconds] < $until} {
            append text [read $channel]
            if {[eof $channel]} {
                break
            }
            after 1
        }
    }
    catch {close $channel}
    fuzz::require [expr {[clock milliseconds] < $until}] "a connection is answered or closed"
    return $text
}

proc clientSays {bytes} {
    return [answerOf [socket 127.0.0.1 $::port] $bytes]
}

proc checkPool {} {
    global server control health parent liars
    # On a busy machine its header may come too late.
    waitFor $::fuzz::patience {"192.0.2.7 hello\n" eq
        [clientSays "PROXY TCP4 192.0.2.7 192.0.2.1 5 80\r\necho hello\n"]}
    fuzz::require [string match "*running*" [answerOf [unix_sockets::connect $control] status\n]] \
        "operators are answered"
    fuzz::require [expr {[answerOf [unix_sockets::connect $health] \n] eq "up ready\n"}] \
        "it is well"
    set errors [ask $server {set errors}]
    fuzz::require [expr {$errors eq {}}] "no error in the background: $errors"
    # The pool ends them, too, but not those that only say that they retire, nor soon.
    foreach pid $liars {
        catch {unix_process::kill $pid SIGKILL}
    }
    set liars {}
    untilDemo $server {$ready == 3 && $alive == 3 && $queued == 0} $::fuzz::patience
    fuzz::unchanged $parent
}

proc operatorSays {bytes} {
    set lines [lmap line [split [string range $bytes 0 1999] \n] {
        expr {[regexp {^\s*(stop|drain|pause|upgrade|reload|scale)\M} $line] ? "status" : $line}
    }]
    answerOf [unix_sockets::connect $::control] [join $lines \n]
}

proc workerSays {kind bytes} {
    regexp {^sent (\d+)} [clientSays "PROXY UNKNOWN\r\nsend $kind [binary encode base64 \
        -maxlen 0 $bytes]\n"] -> pid
    if {[info exists pid] && $pid ni $::liars} {
        lappend ::liars $pid
    }
}

proc tryPool {input} {
    foreach {kind bytes} $input {
        set bytes [string range $bytes 0 9999]
        switch -- [expr {$kind % 9}] {
            0 { clientSays $bytes }
            1 { operatorSays $bytes }
            2 { answerOf [unix_sockets::connect $::health] $bytes }
            default { workerSays [expr {$kind % 9 - 3}] $bytes }
        }
    }
}

startPool
fuzz::run [list \
    [list 0 "PROXY TCP6 ::1 ::1 1 2\r\necho x\n" 0 "echo y\n" 0 "PROXY TCP4 1.2.3.4"] \
    [list 0 "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\1\2\3\4\5\6\7\x08\0\1\0\2echo z\n"] \
    [list 1 "status\nworkers\n" 2 "GET / HTTP/1.0\r\n\r\n" 1 "stats -json\n"] \
    [list 4 ready 4 {log info hello} 4 {refused proxy}] [list 4 {claimed 1} 4 {released 1}] \
    [list 4 {retiring done}] [list 4 {cut 1}] [list 5 redeliver 4 {log debug x}] \
    [list 4 {failed {no database}}] [list 3 abc] [list 7 {redeliver}] [list 4 {log error "x\ny"}] \
    [list 4 "\{"] [list 4 {cut x}]
] {redeliver "log " ready "claimed " "cut " "refused " "PROXY " "echo "} tryPool checkPool 20
