# Helpers of the suites that put a pool under load, or end its processes. Index:
#
#   startDemo SCRIPT ?-option value ...?
#                          starts a program whose event loop serves the pool `demo`; its
#                          workers have run SCRIPT. The name of its control channel, for
#                          ask of servers.tcl. Its log is in the list ::logged
#   startDemoWith PREFIX SCRIPT ...
#                          the same under another program
#   demoPort SERVER        its port
#   demo SERVER KEY ...    values of "demo stats"; of all without a key
#   demoWorkers SERVER ?STATE ...?
#                          pids of the workers that are in one of these states
#   forkServerOf SERVER    pid of the fork server that was started last
#   processesOf SERVER     {pid state ...} of all that came from it, also after its end
#   livingOf SERVER        pids of those that are no zombies: those of the processes whose
#                          parent has died are init's to bury, which may take its time
#   endDemo SERVER         kills all of them
#   untilDemo SERVER EXPR ?MS?
#                          waits until it is true; in it, $served is "demo stats" served
#
#   startLoad PORT ?-option value ...?
#                          starts a program of clients that each time connect, send
#                          a random payload, and check every byte of the answer:
#                          -clients N      so many at a time
#                          -big SHARE      of them send 100 KB, in one of 1000
#                          -slow SHARE     of them wait in the middle of the payload
#                          -total N        so many connections in all; 0: until stopLoad
#   loadCounts LOAD        how they have fared so far, a dict: ok, busy (got a banner in
#                          place of an answer), refused, reset, short, wrong, hung
#   loadConnected LOAD     how many have connected so far
#   loadGrows LOAD ?MS?    waits until 100 more have ended well
#   stopLoad LOAD          waits for those that are connected, and for the rest of -total;
#                          ends the program: the counts
#   checkedHandler         script for a worker: procedures for -handler that answer such
#                          clients
#       checked MS         serves one after the other, and rests for MS each time
#       checkedEvents MS   the same with events, for -concurrency

set ::loadProgram {
    lassign $argv port clients bigShare slowShare total
    set counts [dict create ok 0 busy 0 refused 0 reset 0 short 0 wrong 0 hung 0]
    set running 1
    set begun 0
    set connected 0
    set open 0
    set file [open /dev/urandom rb]
    set noise [read $file 300000]
    close $file

    # Share of 1000.
    proc Chance {share} {
        return [expr {int(rand() * 1000) < $share}]
    }

    proc Payload {size} {
        set from [expr {int(rand() * (300000 - $size))}]
        return [string range $::noise $from [expr {$from + $size - 1}]]
    }

    proc Client {} {
        while {$::running && ($::total == 0 || $::begun < $::total)} {
            incr ::begun
            incr ::open
            dict incr ::counts [One [Payload [expr {
                [Chance $::bigShare] ? 100000 : 1 + int(rand() * 300)}]]]
            incr ::open -1
        }
    }

    # How a connection ends, in one word.
    proc One {payload} {
        if {[catch {socket -async 127.0.0.1 $::port} channel]} {
            return refused
        }
        set timer [after 60000 [list [info coroutine] hung]]
        chan event $channel writable [list [info coroutine] connected]
        set outcome [yield]
        if {$outcome eq "connected"} {
            set outcome [Converse $channel $payload]
        }
        after cancel $timer
        catch {close $channel}
        return $outcome
    }

    proc Converse {channel payload} {
        chan event $channel writable {}
        set problem [chan configure $channel -error]
        if {$problem ne ""} {
            return [expr {[string match "*reset*" $problem] ? "reset" : "refused"}]
        }
        incr ::connected
        chan configure $channel -blocking 0 -translation binary -buffersize 100000
        try {
            Send $channel $payload
        } on error {} {
            # The answer tells.
        }
        chan event $channel readable [list [info coroutine] more]
        set answer ""
        while {![eof $channel]} {
            if {[yield] eq "hung"} {
                return hung
            }
            if {[catch {append answer [read $channel]}]} {
                return reset
            }
        }
        return [Verdict $answer $payload]
    }

    proc Send {channel payload} {
        set size [string length $payload]
        set first $size
        if {[Chance $::slowShare]} {
            set first [expr {$size / 2}]
        }
        puts -nonewline $channel "$size [zlib crc32 $payload]\n[string range $payload 0 $first-1]"
        flush $channel
        if {$first < $size} {
            after [expr {50 + int(rand() * 200)}] [list [info coroutine] go]
            yield
            puts -nonewline $channel [string range $payload $first end]
            flush $channel
        }
    }

    proc Verdict {answer payload} {
        if {$answer eq "busy\n"} {
            return busy
        }
        set expected [zlib crc32 $payload]\n$payload
        if {$answer eq $expected} {
            return ok
        }
        return [expr {[string equal -length [string length $answer] $answer $expected] ?
            "short" : "wrong"}]
    }

    proc Control {} {
        gets stdin verb
        if {[eof stdin]} {
            exit
        }
        switch -- $verb {
            stop {
                set ::running [expr {$::total > 0}]
                AnswerIfDone
            }
            counts - connected {
                puts [set ::$verb]
            }
        }
    }

    proc AnswerIfDone {} {
        if {$::open > 0 || $::total > 0 && $::begun < $::total} {
            after 10 AnswerIfDone
        } else {
            puts $::counts
        }
    }

    chan configure stdin -blocking 0
    chan configure stdout -buffering line
    chan event stdin readable Control
    for {set i 0} {$i < $clients} {incr i} {
        after 0 [list coroutine client$i Client]
    }
    vwait forever
}

set ::checkedHandler {
    # Returns the payload; empty if it is not what was sent.
    proc Checked {header payload} {
        lassign $header size sum
        if {[string length $payload] != $size || [zlib crc32 $payload] != $sum} {
            return ""
        }
        return [zlib crc32 $payload]\n$payload
    }

    proc checked {ms channel address port} {
        chan configure $channel -translation binary
        if {[gets $channel header] > 0} {
            set payload [read $channel [lindex $header 0]]
            after $ms
            puts -nonewline $channel [Checked $header $payload]
        }
        close $channel
    }

    proc checkedEvents {ms channel address port} {
        chan configure $channel -translation binary -blocking 0
        chan event $channel readable [list CheckedMore $ms $channel ""]
    }

    proc CheckedMore {ms channel text} {
        if {[catch {append text [read $channel]}] || [eof $channel]} {
            close $channel
            return
        }
        set border [string first \n $text]
        set header [string range $text 0 $border-1]
        if {$border < 0 || [string length $text] - $border - 1 < [lindex $header 0]} {
            chan event $channel readable [list CheckedMore $ms $channel $text]
            return
        }
        chan event $channel readable {}
        after $ms [list CheckedAnswer $channel $header [string range $text $border+1 end]]
    }

    proc CheckedAnswer {channel header payload} {
        puts -nonewline $channel [Checked $header $payload]
        close $channel
    }
}

# The title of a session's processes is theirs, its number is not.
set ::demoScript {
    set logged {}
    proc note {level message} {
        lappend ::logged "$level: $message"
    }
    socketserver::pool create demo -listen 127.0.0.1:0 -log note {*}%s
}

proc startDemo {script args} {
    return [startDemoWith {} $script {*}$args]
}

proc startDemoWith {prefix script args} {
    set options [list -loglevel info -preload "$::checkedHandler\n$script" {*}$args]
    set server [startServer [list setsid {*}$prefix] \
        [format $::demoScript [list $options]]]
    ask $server {demo start}
    return $server
}

proc demoPort {server} {
    return [ask $server {lindex [dict get [lindex [demo listeners] 0] address] 2}]
}

proc demo {server args} {
    set stats [ask $server {demo stats}]
    if {[llength $args] == 0} {
        return $stats
    }
    return [lmap key $args {dict get $stats $key}]
}

proc demoWorkers {server args} {
    return [lmap worker [ask $server {demo workers}] {
        if {[dict get $worker pid] == 0 ||
            [llength $args] > 0 && [dict get $worker state] ni $args} continue
        dict get $worker pid
    }]
}

proc forkServerOf {server} {
    return [lindex [workersOf $server] end]
}

proc processesOf {server} {
    set session [spawnPid $server]
    set found {}
    foreach path [glob -nocomplain /proc/\[1-9\]*/stat] {
        if {[catch {open $path} file]} {
            continue
        }
        if {![catch {read $file} text] &&
            [regexp {^(\d+) \(.*\) (\S) \d+ \d+ (\d+) } $text -> pid state its] &&
            $its == $session} {
            lappend found $pid $state
        }
        close $file
    }
    return $found
}

proc livingOf {server} {
    return [dict keys [dict filter [processesOf $server] script {pid state} {
        expr {$state ne "Z"}
    }]]
}

proc endDemo {server} {
    while {[set pids [livingOf $server]] ne ""} {
        foreach pid $pids {
            catch {unix_process::kill $pid SIGKILL}
        }
        after 5
    }
    reap $server
    return
}

proc untilDemo {server condition {ms 60000}} {
    waitFor $ms {[apply {{stats condition} {
        dict with stats {
            expr $condition
        }
    }} [demo $server] $condition]}
}

proc startLoad {port args} {
    set options [dict merge {-clients 8 -big 0 -slow 0 -total 0} $args]
    set load [spawn $::loadProgram $port {*}[dict values $options]]
    chan configure $load -buffering line
    return $load
}

proc loadCounts {load} {
    puts $load counts
    return [lineFrom $load]
}

proc loadConnected {load} {
    puts $load connected
    return [lineFrom $load]
}

proc loadGrows {load {ms 60000}} {
    set before [dict get [loadCounts $load] ok]
    waitFor $ms {[dict get [loadCounts $load] ok] >= $before + 100}
}

proc stopLoad {load} {
    puts $load stop
    set counts [lineFrom $load 100000]
    reap $load
    return $counts
}
